/**
 * Goal: a node goes in bounded time without anybody being told nonsense: streams end at once with UNAVAILABLE, calls
 * that are under way finish, what hangs is cut off at the end of the grace, and connections that grow old lose no call.
 * Method: real servers and clients over loopback sockets, with handlers that are quick, slow, deaf or hung.
 */
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../logger.ts';
import { createGrpcClient, type GrpcClient } from './client.ts';
import { createGrpcServer, type GrpcServer, type Handlers } from './server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function host(
  handlers: Handlers<typeof LogService>,
  connectionAgeMs?: number,
): Promise<{ client: GrpcClient<typeof LogService>; server: GrpcServer }> {
  const server = createGrpcServer({ log: silentLogger, connectionAgeMs }).add(LogService, handlers);
  const { address } = await server.listen('127.0.0.1:0');
  const client = createGrpcClient(LogService, address);
  closers.push(
    () => server.drain(50),
    () => client.close(),
  );
  return { client, server };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the server has taken the call. */
function gate(): { taken: Promise<void>; take: () => void } {
  const { promise: taken, resolve: take } = Promise.withResolvers<void>();
  return { taken, take };
}

describe('drain', () => {
  it('lets calls that are under way finish, also when they look at their signal', async () => {
    const { taken, take } = gate();
    const { client, server } = await host({
      describeLog: async (_, { signal }) => {
        take();
        await sleep(200);
        signal.throwIfAborted();
        return { logId: new Uint8Array([7]) };
      },
    });
    const call = client.describeLog({});
    await taken;
    const drained = server.drain(5_000);
    expect([...(await call).logId]).toEqual([7]);
    await drained;
    await expect(client.describeLog({})).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  });

  it('tells a call that hangs when its grace is over, and cuts off one that does not look', async () => {
    let seen: unknown;
    const { taken, take } = gate();
    const { client, server } = await host({
      describeLog: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          take();
          signal.addEventListener('abort', () => {
            seen = signal.reason;
            reject(signal.reason as Error);
          });
        }),
    });
    const call = client.describeLog({}).catch((error: unknown) => error);
    await taken;
    await server.drain(300);
    expect(seen).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await call).toMatchObject({ code: 'UNAVAILABLE', message: 'the node is shutting down' });

    const deaf = gate();
    const other = await host({
      describeLog: () => {
        deaf.take();
        return new Promise(() => {});
      },
    });
    const hung = other.client.describeLog({}).catch((error: unknown) => error);
    await deaf.taken;
    await other.server.drain(100);
    expect(await hung).toMatchObject({ code: expect.stringMatching(/^(UNAVAILABLE|CANCELLED)$/) });
  });

  it('ends a stream at once with UNAVAILABLE, also when its handler does not look at its signal', async () => {
    const { taken, take } = gate();
    const { client, server } = await host({
      readLog: async function* () {
        yield { firstOffset: 1n };
        take();
        await new Promise(() => {});
      },
    });
    const following = (async () => {
      for await (const _ of client.readLog({})) void _;
    })().catch((error: unknown) => error);
    await taken;
    // The grace is far longer than the test: the stream does not wait for it.
    const drained = server.drain(30_000);
    expect(await following).toMatchObject({ code: 'UNAVAILABLE', message: 'the node is shutting down' });
    await drained;
  });

  it('refuses a stream that comes while a call is still waited for', async () => {
    const { taken, take } = gate();
    const over = gate();
    const { client, server } = await host({
      describeLog: async () => {
        take();
        await over.taken;
        return {};
      },
      readLog: async function* () {
        yield { firstOffset: 1n };
        await new Promise(() => {});
      },
    });
    const call = client.describeLog({});
    await taken;
    const drained = server.drain(5_000);
    const late = (async () => {
      for await (const _ of client.readLog({})) void _;
    })();
    await expect(late).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    over.take();
    await call;
    await drained;
  });
});

it('a connection that grows old loses no call, and its streams go on', async () => {
  const peers = new Set<string>();
  let frames = 0n;
  const { client } = await host(
    {
      describeLog: async (_, { peer }) => {
        peers.add(peer);
        await sleep(1);
        return {};
      },
      readLog: async function* (_, { signal }) {
        while (!signal.aborted) {
          yield { firstOffset: frames++ };
          await sleep(5);
        }
      },
    },
    40,
  );
  const stop = new AbortController();
  let read = 0;
  const following = (async () => {
    for await (const _ of client.readLog({}, { signal: stop.signal })) read += 1;
  })().catch((error: unknown) => error);
  // Until calls went over eight connections, of which seven grew old; none of them fails.
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      while (peers.size < 8) await client.describeLog({});
    }),
  );
  const before = read;
  await expect.poll(() => read, { timeout: 10_000 }).toBeGreaterThan(before);
  stop.abort();
  expect(await following).toMatchObject({ code: 'CANCELLED' });
}, 20_000);
