/**
 * The HTTP port: Connect, gRPC-Web and JSON over HTTP/1.1 with @connectrpc/connect-node, for browsers and curl, plus
 * plain paths (/metrics). Owns the port, its drain and the error mapping; handlers and the check of requests are those
 * of the gRPC port.
 */

import { setMaxListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  create,
  type DescMessage,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { type Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { ErrorDetailSchema } from '@freshet/gen/freshet/type/v1/error_pb.ts';
import { ERROR_CODES, GrpcStatus } from '../error-codes.ts';
import { FreshetError, isAbort } from '../errors.ts';
import { toErrorDetail, toFreshetError } from '../grpc/error-mapping.ts';
import type { CallContext, Handlers } from '../grpc/server.ts';
import { validateRequest } from '../grpc/validate.ts';
import type { Logger } from '../logger.ts';
import { CallCounts, type MethodCalls } from '../metrics/call-counts.ts';

export interface HttpHostOptions {
  readonly log: Logger;
  /** Registers what is served. `stopping` aborts when the port begins to close: streams end by it. */
  readonly routes: (router: ConnectRouter, stopping: AbortSignal) => void;
  /** Answers a plain path; returns false when it is not one of its own. */
  readonly extra?: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** The largest request, in bytes. */
  readonly maxReceiveBytes?: number | undefined;
}

export interface HttpHost {
  /** Binds "host:port" (port 0: any free one). Throws INVALID_CONFIG when it cannot be bound. */
  listen(address: string): Promise<{ address: string }>;
  /** Takes no more connections, ends streams, lets requests finish for graceMs (default 1 s), then ends everything. */
  close(graceMs?: number): Promise<void>;
}

const GRACE_MS = 1_000;

export function createHttpHost(options: HttpHostOptions): HttpHost {
  const stopping = new AbortController();
  // One for the process: each request that listens leaves it when it ends, and there may be many at once.
  setMaxListeners(0, stopping.signal);
  const adapter = connectNodeAdapter({
    routes: (router) => options.routes(router, stopping.signal),
    readMaxBytes: options.maxReceiveBytes ?? 1024 * 1024,
  });
  const server: Server = createServer((request, response) => {
    if (options.extra?.(request, response) !== true) adapter(request, response);
  });
  return {
    listen: (address) => listen(server, address),
    close: async (graceMs = GRACE_MS) => {
      stopping.abort(new FreshetError('UNAVAILABLE', 'the node is shutting down'));
      // Also ends connections that carry no request now, and each other one after its request.
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const late = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(late);
    },
  };
}

/** Registers handlers written for the gRPC port with a Connect router; `stopping` ends their streams, `counts` has their calls. */
export function connectHandlers<S extends DescService>(
  router: ConnectRouter,
  service: S,
  handlers: Handlers<S>,
  log: Logger,
  stopping?: AbortSignal,
  counts = new CallCounts(),
): void {
  const wrapped: Record<string, unknown> = {};
  for (const method of service.methods) {
    const handler = (handlers as Record<string, unknown>)[method.localName];
    if (handler === undefined) continue;
    const calls = counts.of(method);
    if (method.methodKind === 'unary') {
      const unary = handler as (request: unknown, context: CallContext) => Promise<MessageInitShape<DescMessage>>;
      wrapped[method.localName] = async (request: MessageShape<DescMessage>, context: HandlerContext) => {
        try {
          validateRequest(method.input, request);
          const response = create(method.output, await unary(request, callContext(context)));
          calls.ok += 1;
          return response;
        } catch (thrown) {
          throw failed(thrown, log, calls);
        }
      };
    } else {
      const stream = handler as (
        request: unknown,
        context: CallContext,
      ) => AsyncIterable<MessageInitShape<DescMessage>>;
      wrapped[method.localName] = async function* (request: MessageShape<DescMessage>, context: HandlerContext) {
        try {
          validateRequest(method.input, request);
          const call = callContext(context, stopping);
          for await (const response of untilAborted(stream(request, call), call.signal))
            yield create(method.output, response);
          // A handler that ends quietly by its signal has not ended by itself.
          stopping?.throwIfAborted();
          calls.ok += 1;
        } catch (thrown) {
          throw failed(stopping?.aborted === true && isAbort(thrown) ? stopping.reason : thrown, log, calls);
        }
      };
    }
  }
  router.service(service, wrapped as Parameters<typeof router.service<S>>[1]);
}

/** What the source gives, until the signal: then it throws its reason, whether the source looks at its signal or not. */
async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  let giveUp: ((reason: unknown) => void) | undefined;
  const onAbort = (): void => giveUp?.(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const result = await new Promise<IteratorResult<T>>((resolve, reject) => {
        giveUp = reject;
        iterator.next().then(resolve, reject);
      });
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Not waited for: it may be in the middle of something that does not end.
    iterator.return?.().catch(() => undefined);
  }
}

function callContext(context: HandlerContext, stopping?: AbortSignal): CallContext {
  const signal = stopping === undefined ? context.signal : AbortSignal.any([context.signal, stopping]);
  const header = (name: string): string => context.requestHeader.get(name) ?? '';
  return { signal, peer: header('x-forwarded-for') || 'http', header };
}

function failed(thrown: unknown, log: Logger, calls: MethodCalls): ConnectError {
  calls.fail(toFreshetError(thrown).code);
  return toConnectError(thrown, log);
}

export function toConnectError(thrown: unknown, log: Logger): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = toFreshetError(thrown);
  if (error.code === 'INTERNAL') log.error('a call failed', { error: error.cause ?? error });
  const detail = { desc: ErrorDetailSchema, value: toErrorDetail(error) };
  const text = error.remedy === '' ? error.message : `${error.message}. ${error.remedy}`;
  return new ConnectError(text.toWellFormed(), GrpcStatus[ERROR_CODES[error.code].grpc] as Code, undefined, [detail]);
}

async function listen(server: Server, address: string): Promise<{ address: string }> {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[|\]$/g, '');
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(address.slice(at + 1)), host, () => {
      server.off('error', reject);
      resolve();
    });
  }).catch((cause: unknown) => {
    throw new FreshetError('INVALID_CONFIG', `cannot listen on ${address}: ${(cause as Error).message}`, {
      remedy: 'stop what uses that address, or choose another with --http-listen',
      cause,
    });
  });
  return { address: `${address.slice(0, at)}:${(server.address() as AddressInfo).port}` };
}
