/**
 * Hosts services on @grpc/grpc-js from protobuf-es descriptors, so that no second set of message types exists.
 *
 * Owns: decoding, error mapping, flow control of streams, health, reflection, drain.
 * Does not own: what a handler does, what a valid request is (validate.ts).
 * R4: of a stream, one message is made while the one before waits for the socket; no more are.
 *
 *     drain:  not serving ─▶ GOAWAY, no new connections ─▶ streams end with UNAVAILABLE at once, so that followers turn
 *             to another upstream; unary calls go on ─▶ the grace is over: their signals abort, everything is closed
 */

import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { assert, must } from '../assert.ts';
import { FreshetError, isAbort } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { CallCounts, type MethodCalls } from '../metrics/call-counts.ts';
import { toFreshetError, toGrpcError } from './error-mapping.ts';
import { addReflection } from './reflection.ts';
import { validateRequest } from './validate.ts';

export interface CallContext {
  /**
   * Aborts when the caller cancels, its deadline passes, or the call ends; of a stream also when the server begins to
   * drain, of a unary call when the grace of that is over.
   */
  readonly signal: AbortSignal;
  /** The caller's address. */
  readonly peer: string;
  /** What the caller sent beside the message under that name; empty: nothing, or no text. Left out: there is no wire. */
  header?(name: string): string;
}

type InputOf<M extends DescMethod> = MessageShape<M['input']>;
type OutputOf<M extends DescMethod> = MessageInitShape<M['output']>;
type HandlerOf<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: InputOf<M>, context: CallContext) => Promise<OutputOf<M>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: InputOf<M>, context: CallContext) => AsyncIterable<OutputOf<M>>
    : never;

/** A handler per method, by the method's camelCase name; a method left out answers UNIMPLEMENTED. */
export type Handlers<S extends DescService> = { readonly [K in keyof S['method']]?: HandlerOf<S['method'][K]> };

/** Answers a request's bytes with a response's bytes: for hot paths that encode by hand. */
export type RawUnaryHandler = (request: Buffer, context: CallContext) => Uint8Array | Promise<Uint8Array>;

export interface GrpcServerOptions {
  readonly log: Logger;
  /** The largest request, in bytes. */
  readonly maxReceiveBytes?: number | undefined;
  /**
   * How long a connection takes new calls, in milliseconds, less or more a tenth. Then it is told to go away: its calls
   * and streams end in their own time, and new ones come over a new connection, which is how a client that balances by
   * DNS finds nodes that were added since. Default 5 minutes.
   */
  readonly connectionAgeMs?: number | undefined;
  /** Where calls are counted. */
  readonly calls?: CallCounts | undefined;
}

const CONNECTION_AGE_MS = 300_000;
const LAST_MS = 100;

type AnyStream = ServerWritableStream<Buffer, Uint8Array>;
interface Cancellable {
  on(event: 'cancelled', listener: () => void): unknown;
  getPeer(): string;
  readonly metadata: Metadata;
}

export class GrpcServer {
  readonly #log: Logger;
  readonly #counts: CallCounts;
  readonly #server: Server;
  readonly #health = new HealthImplementation({ '': 'NOT_SERVING' });
  readonly #implementations = new Map<string, { desc: DescService; methods: Map<string, unknown> }>();
  /** Unary calls whose handler asked for the signal. */
  readonly #calls = new Set<AbortController>();
  readonly #streams = new Set<AbortController>();
  #draining: FreshetError | undefined;
  #address = '';

  constructor(options: GrpcServerOptions) {
    this.#log = options.log;
    this.#counts = options.calls ?? new CallCounts();
    this.#server = new Server({
      'grpc.max_receive_message_length': options.maxReceiveBytes ?? 4 * 1024 * 1024,
      'grpc.max_send_message_length': 64 * 1024 * 1024,
      'grpc.max_concurrent_streams': 1000,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      // Without a grace of its own: it would cut streams off that live longer.
      'grpc.max_connection_age_ms': options.connectionAgeMs ?? CONNECTION_AGE_MS,
      'grpc.enable_channelz': 0,
    });
  }

  /** Where the server is reached, once it listens. */
  get address(): string {
    return this.#address;
  }

  add<S extends DescService>(service: S, handlers: Handlers<S>): this {
    for (const method of service.methods) {
      const handler = (handlers as Record<string, unknown>)[method.localName];
      if (handler === undefined) continue;
      if (method.methodKind === 'unary') {
        const unary = handler as (request: unknown, context: CallContext) => Promise<MessageInitShape<DescMessage>>;
        this.#set(
          service,
          method,
          this.#unary(method, async (bytes, context) => {
            const response = await unary(decode(method.input, bytes), context);
            return toBinary(method.output, create(method.output, response));
          }),
        );
      } else {
        assert(method.methodKind === 'server_streaming', `${method.name}: only unary and server-streaming are hosted`);
        const stream = handler as (
          request: unknown,
          context: CallContext,
        ) => AsyncIterable<MessageInitShape<DescMessage>>;
        this.#set(service, method, this.#streaming(method, stream));
      }
    }
    return this;
  }

  addRawUnary<S extends DescService>(service: S, method: keyof S['method'] & string, handler: RawUnaryHandler): this {
    const described = must(service.method[method], `${service.typeName} has no ${method}`);
    this.#set(service, described, this.#unary(described, handler));
    return this;
  }

  /** Says whether the node can do its work; orchestrators and clients ask for it. Services: "" and "ready". */
  setReady(ready: boolean): void {
    this.#health.setStatus('ready', ready ? 'SERVING' : 'NOT_SERVING');
  }

  /** Binds "host:port" (port 0: any free one) and starts to answer. Throws INVALID_CONFIG when it cannot be bound. */
  async listen(address: string): Promise<{ address: string }> {
    for (const { desc, methods } of this.#implementations.values()) {
      const definition: Record<string, unknown> = {};
      const implementation: Record<string, unknown> = {};
      for (const method of desc.methods) {
        const handler = methods.get(method.localName);
        definition[method.localName] = wireDefinition(desc, method);
        if (handler !== undefined) implementation[method.localName] = handler;
      }
      this.#server.addService(definition as ServiceDefinition, implementation as UntypedServiceImplementation);
    }
    this.#health.addToServer(this.#server);
    addReflection(
      this.#server,
      [...this.#implementations.values()].map((i) => i.desc),
    );
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    }).catch((cause: unknown) => {
      throw new FreshetError('INVALID_CONFIG', `cannot listen on ${address}: ${(cause as Error).message}`, {
        remedy: 'stop what uses that address, or choose another with --listen',
        cause,
      });
    });
    this.#address = `${address.slice(0, address.lastIndexOf(':'))}:${port}`;
    this.#health.setStatus('', 'SERVING');
    return { address: this.#address };
  }

  /** Stops taking calls, ends streams, lets unary calls finish for graceMs, then ends everything. Never takes longer. */
  async drain(graceMs: number): Promise<void> {
    this.#health.setStatus('', 'NOT_SERVING');
    this.setReady(false);
    this.#draining = new FreshetError('UNAVAILABLE', 'the node is shutting down');
    for (const stream of this.#streams) stream.abort(this.#draining);
    if (this.#address !== '') this.#server.drain(this.#address, graceMs);
    await new Promise<void>((resolve) => {
      // A moment before the end, so that whoever looks at his signal can still tell his caller.
      const last = setTimeout(
        () => {
          for (const call of this.#calls) call.abort(this.#draining);
        },
        Math.max(graceMs - LAST_MS, graceMs / 2),
      );
      const timer = setTimeout(() => {
        this.#server.forceShutdown();
        resolve();
      }, graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(last);
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #set(desc: DescService, method: DescMethod, handler: unknown): void {
    const entry = this.#implementations.get(desc.typeName) ?? { desc, methods: new Map<string, unknown>() };
    entry.methods.set(method.localName, handler);
    this.#implementations.set(desc.typeName, entry);
  }

  /** A context whose signal lives exactly as long as the call. */
  #open(call: Cancellable): { context: CallContext; close: () => void } {
    const controller = new AbortController();
    this.#streams.add(controller);
    call.on('cancelled', () => controller.abort(new FreshetError('CANCELLED', 'the caller cancelled')));
    if (this.#draining !== undefined) controller.abort(this.#draining);
    return {
      context: { signal: controller.signal, peer: call.getPeer(), header: (name) => headerOf(call, name) },
      close: () => {
        this.#streams.delete(controller);
        controller.abort();
      },
    };
  }

  #unary(method: DescMethod, handler: RawUnaryHandler): handleUnaryCall<Buffer, Uint8Array> {
    const counts = this.#counts.of(method);
    return (call, callback) => {
      // Its caller is gone, or its deadline passed while it was received: nobody hears the answer.
      if (call.cancelled) return;
      // A synchronous answer pays for no AbortController and no promise.
      const lazy = new LazyContext(call, this.#calls);
      const fail = (thrown: unknown): void => {
        lazy.close();
        callback(toGrpcError(this.#report(thrown, counts)));
      };
      try {
        const answer = handler(call.request, lazy);
        if (!(answer instanceof Promise)) {
          lazy.close();
          counts.ok += 1;
          callback(null, answer);
          return;
        }
        answer.then((bytes) => {
          lazy.close();
          counts.ok += 1;
          callback(null, bytes);
        }, fail);
      } catch (thrown) {
        fail(thrown);
      }
    };
  }

  #streaming(
    method: DescMethod,
    handler: (request: unknown, context: CallContext) => AsyncIterable<MessageInitShape<DescMessage>>,
  ): handleServerStreamingCall<Buffer, Uint8Array> {
    const counts = this.#counts.of(method);
    return (call) => {
      const { context, close } = this.#open(call);
      const { signal } = context;
      let ended = false;
      const fail = (thrown: unknown): void => {
        if (ended) return;
        ended = true;
        const error = toFreshetError(signal.aborted && isAbort(thrown) ? signal.reason : thrown);
        call.emit('error', toGrpcError(this.#report(error, counts)));
      };
      // The caller is told at once, also when the handler does not look at its signal.
      signal.addEventListener('abort', () => fail(signal.reason), { once: true });
      if (signal.aborted) {
        fail(signal.reason);
        close();
        return;
      }
      void this.#pump(call, method, () => handler(decode(method.input, call.request), context), signal)
        .then(
          () => {
            ended = true;
            counts.ok += 1;
          },
          (thrown: unknown) => fail(thrown),
        )
        .finally(close);
    };
  }

  async #pump(
    call: AnyStream,
    method: DescMethod,
    start: () => AsyncIterable<MessageInitShape<DescMessage>>,
    signal: AbortSignal,
  ): Promise<void> {
    let sent = Promise.resolve();
    for await (const response of start()) {
      if (signal.aborted) throw signal.reason;
      const bytes = toBinary(method.output, create(method.output, response));
      await sent;
      if (signal.aborted) throw signal.reason;
      sent = send(call, bytes, signal);
    }
    await sent;
    if (signal.aborted) throw signal.reason;
    call.end();
  }

  #report(thrown: unknown, counts: MethodCalls): FreshetError {
    const error = toFreshetError(thrown);
    counts.fail(error.code);
    if (error.code === 'INTERNAL') this.#log.error('a call failed', { error: error.cause ?? error });
    return error;
  }
}

/** Resolves when the socket took the message, or the signal aborts. The stream's own buffer would take 16 of them. */
function send(call: AnyStream, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done, { once: true });
    call.write(bytes, done);
  });
}

function decode(schema: DescMessage, bytes: Buffer): MessageShape<DescMessage> {
  let message: MessageShape<DescMessage>;
  try {
    message = fromBinary(schema, bytes);
  } catch (cause) {
    throw new FreshetError('INVALID_REQUEST', `the request is not a ${schema.typeName}`, { cause });
  }
  validateRequest(schema, message);
  return message;
}

/** Makes its AbortController only if somebody asks for the signal. */
class LazyContext implements CallContext {
  readonly #call: Cancellable;
  readonly #calls: Set<AbortController>;
  #controller: AbortController | undefined;

  constructor(call: Cancellable, calls: Set<AbortController>) {
    this.#call = call;
    this.#calls = calls;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      this.#calls.add(controller);
      this.#call.on('cancelled', () => controller.abort(new FreshetError('CANCELLED', 'the caller cancelled')));
    }
    return this.#controller.signal;
  }

  get peer(): string {
    return this.#call.getPeer();
  }

  header(name: string): string {
    return headerOf(this.#call, name);
  }

  close(): void {
    if (this.#controller === undefined) return;
    this.#calls.delete(this.#controller);
    this.#controller.abort();
  }
}

function headerOf({ metadata }: Cancellable, name: string): string {
  const [value] = metadata.get(name);
  return typeof value === 'string' ? value : '';
}

/** A method for grpc-js with bytes passed through on both sides. */
function wireDefinition(service: DescService, method: DescMethod): ServiceDefinition[string] {
  const pass = (bytes: Uint8Array): Buffer =>
    Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    path: `/${service.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === 'server_streaming',
    requestSerialize: pass,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: pass,
    responseDeserialize: (bytes: Buffer) => bytes,
  };
}

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  return new GrpcServer(options);
}
