/**
 * Goal: a log read over gRPC keeps the log's contract, bytes checked end to end, and a reader never mixes two logs.
 * Method: the contract suite on a real server, over both logs; then answers that are not as they should be.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { FRAME_HEADER_BYTES } from '@freshet/log/frame.ts';
import { createGrpcLogReader, type GrpcLogReader } from '@freshet/log/grpc-log-reader.ts';
import type { FrameBatch, FrameReader, Log, LogReader } from '@freshet/log/log.ts';
import { bytesOf, readSome, runLogContractSuite } from '@freshet/log/log-contract-suite.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { describeLog } from './describe-log.ts';
import { readLog } from './read-log.ts';

type Served = Pick<LogReader, 'describe'> & FrameReader & { readonly logId: string };

async function serve(log: Served, logId?: string): Promise<{ server: GrpcServer; reader: GrpcLogReader }> {
  const server = createGrpcServer({ log: silentLogger });
  server.add(LogService, { describeLog: describeLog(log), readLog: readLog(log) });
  const { address } = await server.listen('127.0.0.1:0');
  return { server, reader: createGrpcLogReader({ address, logId }) };
}

async function opened(log: Log, cleanUp: () => Promise<void>) {
  const { server, reader } = await serve(log);
  const close = async (): Promise<void> => {
    reader.close();
    await log.close();
    await server.drain(1_000);
    await cleanUp();
  };
  return { log, reader, close };
}

runLogContractSuite('a log in memory, read over gRPC,', ({ partitions, clock }) =>
  opened(createMemoryLog({ partitions, clock }), () => Promise.resolve()),
);

for (const tailBytes of [undefined, 0]) {
  const name = `a log in segment files, ${tailBytes === 0 ? 'read from disk' : 'read'} over gRPC,`;
  runLogContractSuite(name, async ({ partitions, clock }) => {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-log-'));
    const log = await openSegmentLog({ directory, partitions, clock, tailBytes, segmentBytes: 100_000 });
    return opened(log, () => rm(directory, { recursive: true }));
  });
}

describe('a log read over gRPC', () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });

  async function start(log: Served, logId?: string): Promise<GrpcLogReader> {
    const { server, reader } = await serve(log, logId);
    open.push({ close: () => server.drain(1_000) }, { close: () => Promise.resolve(reader.close()) });
    return reader;
  }

  /** A log whose batches are changed on the way. */
  function changing(log: Log, change: (batch: FrameBatch) => FrameBatch): Served {
    return {
      logId: log.logId,
      describe: () => log.describe(),
      readFrames: async function* (partition, from, signal) {
        for await (const batch of log.readFrames(partition, from, signal)) yield change(batch);
      },
    };
  }

  async function twoRecords(): Promise<Log> {
    const log = createMemoryLog({ partitions: 1, clock: new VirtualClock() });
    await log.append(0, [bytesOf('one'), bytesOf('two')]);
    return log;
  }

  it('R3: refuses another log than the one expected, or than the one that answered first', async () => {
    const log = await twoRecords();
    const expecting = await start(log, 'ab'.repeat(16));
    await expect(expecting.describe()).rejects.toMatchObject({ code: 'WRONG_LOG' });
    await expect(readSome(expecting, 0, 0, 1)).rejects.toMatchObject({ code: 'WRONG_LOG', place: 'log_id' });
    let logId = log.logId;
    const replaced = await start({
      describe: async () => ({ ...(await log.describe()), logId }),
      readFrames: log.readFrames.bind(log),
      get logId() {
        return logId;
      },
    });
    await replaced.describe();
    expect((await readSome(replaced, 0, 0, 1))[0]?.text).toBe('one');
    logId = 'cd'.repeat(16);
    await expect(replaced.describe()).rejects.toMatchObject({ code: 'WRONG_LOG' });
    await expect(readSome(replaced, 0, 0, 1)).rejects.toMatchObject({ code: 'WRONG_LOG' });
  });

  it('refuses damaged bytes, whichever byte it is, and names the record', async () => {
    const log = await twoRecords();
    const frameBytes = FRAME_HEADER_BYTES + 'one'.length;
    const length = 2 * frameBytes;
    for (let at = 0; at < length; at++) {
      const reader = await start(
        changing(log, (batch) => {
          const frames = batch.frames.slice();
          frames[at]! ^= 0x10;
          return { ...batch, frames };
        }),
      );
      await expect(readSome(reader, 0, 0, 2)).rejects.toMatchObject({
        code: 'DATA_DAMAGED',
        place: `partition 0, offset ${at < frameBytes ? 0 : 1}`,
      });
      for (const each of open.splice(0).reverse()) await each.close();
    }
  });

  it('F3: refuses batches that do not follow one another, and counts that are not true', async () => {
    const log = await twoRecords();
    const changes: ((batch: FrameBatch) => FrameBatch)[] = [
      (batch) => ({ ...batch, firstOffset: batch.firstOffset + 1 }),
      (batch) => ({ ...batch, count: batch.count + 1 }),
      (batch) => ({ ...batch, count: 1 }),
      (batch) => ({ ...batch, count: 0, frames: new Uint8Array(0) }),
    ];
    for (const change of changes) {
      const reader = await start(changing(log, change));
      await expect(readSome(reader, 0, 0, 3)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    }
  });

  it('tells a server that is going away, and one that is not there, as UNAVAILABLE', async () => {
    const log = await twoRecords();
    const { server, reader } = await serve(log);
    const waiting = readSome(reader, 0, 2, 1).catch((error: unknown) => error);
    await reader.describe();
    await server.drain(1_000);
    expect(await waiting).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    await expect(reader.describe()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(readSome(reader, 0, 0, 1)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    reader.close();
  });
});
