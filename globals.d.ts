// @connectrpc/connect's declarations name HeadersInit, which the DOM library has and Node's does not.
type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;
