/**
 * Goal: what a handler throws is what the client catches, streams are flow-controlled and cancelled, bad input gets a
 * typed error. Method: a real server and client over a loopback socket, with services of the contract.
 */

import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../errors.ts';
import { silentLogger } from '../logger.ts';
import { createGrpcClient, type GrpcClient } from './client.ts';
import { createGrpcServer, type GrpcServer, type Handlers } from './server.ts';

const servers: GrpcServer[] = [];
const closers: (() => void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await Promise.all(servers.splice(0).map((server) => server.drain(100)));
});

async function host(
  handlers: Handlers<typeof LogService>,
): Promise<{ client: GrpcClient<typeof LogService>; address: string }> {
  const server = createGrpcServer({ log: silentLogger }).add(LogService, handlers);
  servers.push(server);
  const { address } = await server.listen('127.0.0.1:0');
  const client = createGrpcClient(LogService, address);
  closers.push(() => client.close());
  return { client, address };
}

describe('calls that share a connection', () => {
  it('come to their turn when the earlier streams have more to say than it takes', async () => {
    const frames = new Uint8Array(128 * 1024);
    const { client } = await host({
      describeLog: async () => ({ partitions: [{ end: 5n }] }),
      async *readLog(_, { signal }) {
        while (!signal.aborted) yield { frames };
      },
    });
    const ended = new AbortController();
    closers.push(() => ended.abort());
    const taken = new Array<number>(8).fill(0);
    const all = taken.map(async (_, i) => {
      for await (const _answer of client.readLog({ partition: i }, { signal: ended.signal })) {
        taken[i] = (taken[i] ?? 0) + 1;
        // One that went before the others for as long as it has something to say never lets this happen.
        if (taken.every((count) => count >= 20)) return;
      }
    });
    await Promise.race(all);
    expect((await client.describeLog({})).partitions[0]?.end).toBe(5n);
    ended.abort();
    await Promise.allSettled(all);
    expect(Math.max(...taken)).toBeLessThan(20 * Math.min(...taken));
  });
});

describe('unary calls', () => {
  it('carry messages both ways', async () => {
    const { client } = await host({
      describeLog: async () => ({ logId: new Uint8Array([7]), partitions: [{ end: 2n ** 60n }] }),
    });
    const answer = await client.describeLog({});
    expect(answer.partitions[0]?.end).toBe(2n ** 60n);
  });

  it('carry a FreshetError with everything but its cause', async () => {
    const { client } = await host({
      describeLog: async () => {
        throw new FreshetError('SOURCE_NOT_READY', 'wal_level is replica', {
          remedy: 'ALTER SYSTEM SET wal_level = logical',
          place: 'default',
          cause: new Error('secret'),
          also: [new FreshetError('SLOT_LOST', 'the slot is lost')],
        });
      },
    });
    const error = await client.describeLog({}).catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'SOURCE_NOT_READY',
      message: 'wal_level is replica',
      remedy: 'ALTER SYSTEM SET wal_level = logical',
      place: 'default',
    });
    expect((error as FreshetError).also[0]?.code).toBe('SLOT_LOST');
  });

  it('carry texts of any characters and length, cut where they are too long, and survive it', async () => {
    const texts = ['x'.repeat(1_999), 'x'.repeat(2_000), ''].flatMap((start) =>
      ['😀'.repeat(1_500), '\u20ac'.repeat(3_000), '\ud800 and half', '\udc00'].map((rest) => start + rest),
    );
    let text = '';
    const { client } = await host({
      describeLog: async () => {
        throw new FreshetError('WRONG_KEY', text, { remedy: text, place: text });
      },
    });
    for (text of texts) {
      const cut = text.slice(0, 2_000).toWellFormed();
      await expect(client.describeLog({})).rejects.toMatchObject({
        code: 'WRONG_KEY',
        message: cut,
        remedy: cut,
        place: cut,
      });
    }
  });

  it('hide the text of a fault of ours', async () => {
    const { client } = await host({
      describeLog: async () => {
        throw new Error('the password is x');
      },
    });
    await expect(client.describeLog({})).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.not.stringContaining('password'),
    });
  });

  it('answer UNIMPLEMENTED for a method that is not hosted, DEADLINE_EXCEEDED for one that is late', async () => {
    const { client } = await host({
      describeLog: (_, { signal }) =>
        new Promise((_r, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    });
    await expect(client.describeLog({}, { deadlineMs: 50 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const other = await host({});
    await expect(other.client.describeLog({})).rejects.toMatchObject({ code: 'UNIMPLEMENTED' });
  });

  it('refuse what protovalidate refuses, and bytes that are no message', async () => {
    const server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
      announceNode: async () => ({ leaseUs: 1n }),
    });
    servers.push(server);
    const { address } = await server.listen('127.0.0.1:0');
    const client = createGrpcClient(RegistryService, address);
    closers.push(() => client.close());
    await expect(client.announceNode({})).rejects.toMatchObject({ code: 'INVALID_REQUEST', place: 'node' });
    const raw = new Client(address, credentials.createInsecure());
    closers.push(() => raw.close());
    const error = await new Promise<unknown>((resolve) => {
      raw.makeUnaryRequest(
        '/freshet.registry.v1.RegistryService/AnnounceNode',
        (b: Buffer) => b,
        (b: Buffer) => b,
        Buffer.from([0xff, 0xff, 0xff]),
        (e) => resolve(e),
      );
    });
    expect(error).toMatchObject({ code: 3 });
  });
});

describe('streams', () => {
  // Ahead of the reader lie one message in the client, two in the server, and what fits into the 64 KiB of HTTP/2's
  // window, of which the socket's reader may have taken a part already.
  it.each([
    { bytes: 1024 * 1024, messages: 60, ahead: 4 },
    { bytes: 64 * 1024, messages: 500, ahead: 6 },
    { bytes: 1024, messages: 2000, ahead: 160 },
  ])('R4: are read ahead by at most $ahead messages of $bytes bytes', async ({ bytes, messages, ahead }) => {
    let produced = 0;
    const { client } = await host({
      async *readLog() {
        for (; produced < messages; produced++) yield { firstOffset: BigInt(produced), frames: new Uint8Array(bytes) };
      },
    });
    const iterator = client.readLog({})[Symbol.asyncIterator]();
    await iterator.next();
    let before = -1;
    while (before !== produced) {
      before = produced;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(produced).toBeLessThanOrEqual(1 + ahead);
    let read = 1;
    while (!(await iterator.next()).done) read += 1;
    expect(read).toBe(messages);
  });

  it('end their handler when the client breaks off, and when the server drains', async () => {
    let ended = 0;
    const { client } = await host({
      async *readLog(_, { signal }) {
        try {
          for (let i = 0n; ; i++) {
            yield { firstOffset: i };
            await new Promise((resolve, reject) => {
              const timer = setTimeout(resolve, 5);
              signal.addEventListener(
                'abort',
                () => {
                  clearTimeout(timer);
                  reject(signal.reason as Error);
                },
                { once: true },
              );
            });
          }
        } finally {
          ended += 1;
        }
      },
    });
    for await (const response of client.readLog({})) if (response.firstOffset === 3n) break;
    await expect.poll(() => ended).toBe(1);
    const following = (async () => {
      for await (const _ of client.readLog({})) void _;
    })();
    const outcome = following.catch((e: unknown) => e);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await servers.splice(0)[0]?.drain(500);
    expect(await outcome).toMatchObject({ code: 'UNAVAILABLE' });
    expect(ended).toBe(2);
  });
});
