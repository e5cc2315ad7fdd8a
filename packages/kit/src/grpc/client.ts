/**
 * Calls services over @grpc/grpc-js from protobuf-es descriptors. Every unary call has a deadline. Errors arrive as the
 * FreshetError that the server threw.
 *
 * R4: streams are pulled, and flow control reaches back to the server. Ahead of who reads lie one message here, one or
 * two in the server (server.ts), and between them HTTP/2's window of 64 KiB, whatever the messages' size.
 */

import { getDefaultHighWaterMark, setDefaultHighWaterMark } from 'node:stream';
import {
  create,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { FreshetError } from '../errors.ts';
import { fromGrpcError } from './error-mapping.ts';

/**
 * How the server shares a connection among its calls when it is full (RFC 9218). Left out, an earlier stream goes before
 * every later one for as long as it has anything to say: one shard's rows would keep the other shards', and every answer, waiting.
 */
const STREAM_PRIORITY = 'u=3, i';
/** An answer goes before what streams. */
const UNARY_PRIORITY = 'u=2, i';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Unary calls: how long to wait, in milliseconds. */
  readonly deadlineMs?: number | undefined;
}

type RequestOf<M extends DescMethod> = MessageInitShape<M['input']>;
type ResponseOf<M extends DescMethod> = MessageShape<M['output']>;
type CallOf<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: RequestOf<M>, options?: CallOptions) => Promise<ResponseOf<M>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: RequestOf<M>, options?: CallOptions) => AsyncIterable<ResponseOf<M>>
    : never;

export type GrpcClient<S extends DescService> = { readonly [K in keyof S['method']]: CallOf<S['method'][K]> } & {
  close(): void;
};

export interface GrpcClientOptions {
  /** The deadline of unary calls that name none, in milliseconds. */
  readonly deadlineMs?: number | undefined;
  /** Sent beside each unary call: names in small letters, texts in ASCII. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A client of one service at "host:port" or "dns:///name:port". It connects when first used, and again when it must. */
export function createGrpcClient<S extends DescService>(
  service: S,
  address: string,
  options: GrpcClientOptions = {},
): GrpcClient<S> {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': 64 * 1024 * 1024,
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_channelz': 0,
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });
  const calls: Record<string, unknown> = { close: () => client.close() };
  for (const method of service.methods) {
    calls[method.localName] =
      method.methodKind === 'unary'
        ? (request: MessageInitShape<typeof method.input>, call: CallOptions = {}) =>
            unary(client, service, method, request, { ...options, ...call }, address)
        : (request: MessageInitShape<typeof method.input>, call: CallOptions = {}) =>
            stream(client, service, method, request, call, address);
  }
  return calls as GrpcClient<S>;
}

function unary(
  client: Client,
  service: DescService,
  method: DescMethod,
  request: MessageInitShape<DescMethod['input']>,
  options: CallOptions & GrpcClientOptions,
  address: string,
): Promise<MessageShape<DescMethod['output']>> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      reject(new FreshetError('CANCELLED', 'the call was cancelled', { cause: options.signal.reason }));
      return;
    }
    const metadata = metadataOf({ ...options.headers, priority: UNARY_PRIORITY });
    const cancel = (): void => call.cancel();
    const call = client.makeUnaryRequest(
      `/${service.typeName}/${method.name}`,
      (message: Buffer) => message,
      (bytes: Buffer) => fromBinary(method.output, bytes),
      Buffer.from(toBinary(method.input, create(method.input, request))),
      metadata,
      { deadline: Date.now() + (options.deadlineMs ?? 10_000) },
      (error: ServiceError | null, response) => {
        options.signal?.removeEventListener('abort', cancel);
        if (error !== null) reject(fromGrpcError(error, `${method.name} at ${address}`));
        else if (response === undefined)
          reject(new FreshetError('INTERNAL', `${method.name}: an answer without a message`));
        else resolve(response);
      },
    );
    options.signal?.addEventListener('abort', cancel, { once: true });
  });
}

async function* stream(
  client: Client,
  service: DescService,
  method: DescMethod,
  request: MessageInitShape<DescMethod['input']>,
  options: CallOptions,
  address: string,
): AsyncGenerator<MessageShape<DescMethod['output']>> {
  if (options.signal?.aborted)
    throw new FreshetError('CANCELLED', 'the call was cancelled', { cause: options.signal.reason });
  const bytes = Buffer.from(toBinary(method.input, create(method.input, request)));
  const call = withShortBuffer(() =>
    client.makeServerStreamRequest(
      `/${service.typeName}/${method.name}`,
      (message: Buffer) => message,
      (answer: Buffer) => fromBinary(method.output, answer),
      bytes,
      metadataOf({ priority: STREAM_PRIORITY }),
    ),
  );
  const cancel = (): void => call.cancel();
  options.signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const response of call) yield response as MessageShape<DescMethod['output']>;
  } catch (error) {
    throw fromGrpcError(error as ServiceError, `${method.name} at ${address}`);
  } finally {
    options.signal?.removeEventListener('abort', cancel);
    call.cancel();
    // A cancelled call may still report its end; nobody is left to hear it.
    call.on('error', ignore);
  }
}

/**
 * Makes a stream that buffers one message, not sixteen: a message may be megabytes. grpc-js has no option for it, so
 * Node's default is another one for as long as it makes the stream, which is synchronous.
 */
function withShortBuffer<T>(make: () => ClientReadableStream<T>): ClientReadableStream<T> {
  const usual = getDefaultHighWaterMark(true);
  setDefaultHighWaterMark(true, 1);
  try {
    return make();
  } finally {
    setDefaultHighWaterMark(true, usual);
  }
}

function metadataOf(headers: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, text] of Object.entries(headers)) metadata.set(name, text);
  return metadata;
}

function ignore(): void {}
