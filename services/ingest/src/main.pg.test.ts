/**
 * Goal: the whole process keeps its promises over SIGKILL, answers over gRPC, starts without a registry, and refuses
 * what cannot work with exit code 78.
 * Method: the real process on a real Postgres, killed again and again under load; its log read over gRPC as compute does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import { IngestService, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { createGrpcLogReader } from '@freshet/log/grpc-log-reader.ts';
import { freePort, type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { NodeFiles } from './io/node-files.ts';
import { createDatabase, define, type TestDatabase, temporaryDirectory } from './testing/capture.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const PARTITIONS = 3;

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let child: ChildProcess | undefined;

beforeAll(async () => {
  server = await startPostgres({ settings: { wal_sender_timeout: '3s' } });
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
});
afterEach(async () => {
  child?.kill('SIGKILL');
  await database.drop();
  directory.remove();
});

function launch(port: number, ...more: readonly string[]): ChildProcess {
  const args = [
    '--data-dir',
    directory.path,
    '--listen',
    `127.0.0.1:${port}`,
    '--http-listen',
    '127.0.0.1:0',
    '--partitions',
    String(PARTITIONS),
    ...more,
  ];
  child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], FRESHET_POSTGRES: `shop=${database.url}`, FRESHET_LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  return child;
}

/** The first column of every change that a shard would take, by gRPC. */
async function idsInLog(address: string): Promise<number[]> {
  const reader = createGrpcLogReader({ address });
  const ids: number[] = [];
  try {
    const { partitions } = await reader.describe();
    for (const [partition, { end }] of partitions.entries()) {
      const marks = new Map<string, bigint>();
      const controller = new AbortController();
      for await (const batch of reader.read(partition, 0, controller.signal)) {
        for (const { offset, record } of batch.entries) {
          const { kind } = fromBinary(LogRecordSchema, record);
          if (offset >= end || kind.case !== 'change') continue;
          const { lane, generation, sequence, row } = kind.value;
          const mark = `${generation}/${lane}`;
          const place = must(sequence).major * 1_000_000n + must(sequence).minor;
          if (place <= (marks.get(mark) ?? -1n)) continue;
          marks.set(mark, place);
          ids.push(Number(row[0]?.kind.value));
        }
        if ((batch.entries.at(-1)?.offset ?? end) >= end - 1) break;
      }
      controller.abort();
    }
  } finally {
    reader.close();
  }
  return ids.sort((a, b) => a - b);
}

it('L1, I1: loses and doubles nothing over SIGKILL under load, and starts without a registry', {
  timeout: 120_000,
}, async () => {
  await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, at timestamptz DEFAULT now())`;
  await database.sql`INSERT INTO events SELECT i, i % 9 FROM generate_series(1, 20000) i`;
  const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id', eventTime: 'at' }]);
  await new NodeFiles(nodeFileSystem, directory.path, silentLogger).saveDefinitions(definitions);
  const port = await freePort();
  let next = 20_001;
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await database.sql`INSERT INTO events SELECT i, i % 9 FROM generate_series(${next}::int8, ${next + 4}::int8) i`;
      next += 5;
      await systemClock.sleep(2);
    }
  })();
  for (let round = 0; round < 8; round++) {
    const running = launch(port);
    await systemClock.sleep(400 + round * 130);
    running.kill('SIGKILL');
    await once(running, 'exit');
  }
  const last = launch(port);
  const client = createGrpcClient(IngestService, `127.0.0.1:${port}`);
  await systemClock.sleep(500);
  writing = false;
  await writer;
  const [row] = await database.sql`SELECT (pg_current_wal_lsn() - '0/0')::text AS lsn`;
  await expect
    .poll(async () => (await client.getIngestStatus({}).catch(() => undefined))?.sources[0], {
      timeout: 60_000,
      interval: 100,
    })
    .toSatisfy(
      (source: { state?: SourceState; durableLsn?: bigint } | undefined) =>
        source?.state === SourceState.STREAMING && must(source.durableLsn) >= BigInt(String(row?.['lsn'])),
    );
  expect(await idsInLog(`127.0.0.1:${port}`)).toEqual(Array.from({ length: next - 1 }, (_, i) => i + 1));
  const answer = await client.describeTables({
    tables: [
      { source: 'events', table: { database: 'shop', schema: 'public', table: 'events' }, mode: 1 },
      { source: 'x', table: { database: 'elsewhere', schema: 'public', table: 't' }, mode: 1 },
    ],
  });
  expect(answer.tables[0]?.contract?.columns.map(({ name }) => name)).toEqual(['id', 'user_id', 'at']);
  expect(answer.tables[1]?.problems[0]?.remedy).toContain('--postgres elsewhere=');
  client.close();
  last.kill('SIGTERM');
  expect(await once(last, 'exit')).toEqual([0, null]);
});

it('R4, F3, I1: takes a transaction of 200,000 rows in bounded memory, also when it is killed in the middle of it', {
  timeout: 120_000,
}, async () => {
  await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, at timestamptz DEFAULT now(), note text)`;
  const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id', eventTime: 'at' }]);
  await new NodeFiles(nodeFileSystem, directory.path, silentLogger).saveDefinitions(definitions);
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const client = createGrpcClient(IngestService, address);
  const status = async () => (await client.getIngestStatus({}).catch(() => undefined))?.sources[0];
  const streaming = { timeout: 30_000, interval: 10 };
  let running = launch(port, '--in-flight', '8MiB');
  await expect.poll(async () => (await status())?.state, streaming).toBe(SourceState.STREAMING);
  const restingBytes = rssBytes(running);
  // About 200 MB, and more than twice that in memory if it were held whole.
  await database.sql`INSERT INTO events SELECT i, i % 9, now(), repeat('x', 1000) FROM generate_series(1, ${ROWS}::int8) i`;
  await expect.poll(async () => (await status())?.rows, streaming).toBeGreaterThan(BigInt(ROWS / 10));
  running.kill('SIGKILL');
  await once(running, 'exit');
  running = launch(port, '--in-flight', '8MiB');
  let peakBytes = 0;
  const watching = new AbortController();
  const watched = (async () => {
    while (!watching.signal.aborted) {
      peakBytes = Math.max(peakBytes, rssBytes(running));
      await systemClock.sleep(20);
    }
  })();
  await expect
    .poll(async () => (await status())?.rows, { timeout: 60_000, interval: 50 })
    .toBeGreaterThanOrEqual(BigInt(ROWS));
  // The transaction came again from its beginning, for its end had not been acknowledged.
  await expect.poll(async () => (await status())?.durableLsn, streaming).toBeGreaterThanOrEqual(await currentLsn());
  watching.abort();
  await watched;
  expect(await idsInLog(address)).toEqual(Array.from({ length: ROWS }, (_, i) => i + 1));
  client.close();
  // The log keeps up to 64 MiB of its newest records in memory for readers; 8 MiB are on their way; the rest is what a busy machine collects late.
  expect(peakBytes - restingBytes).toBeLessThan(380 * 1024 ** 2);
  console.info(`resting ${mib(restingBytes)}, at most ${mib(peakBytes)}, with ${ROWS} rows in one transaction`);
});

const ROWS = Math.round(200_000 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

async function currentLsn(): Promise<bigint> {
  const [row] = await database.sql`SELECT (pg_current_wal_lsn() - '0/0')::text AS lsn`;
  return BigInt(String(row?.['lsn']));
}

/** What the process holds in memory. */
function rssBytes(child: ChildProcess): number {
  const text = readFileSync(`/proc/${must(child.pid)}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1] ?? 0) * 1024;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}

it('refuses a configuration that cannot work, without showing the password', async () => {
  const running = launch(await freePort(), '--postgres', 'Shop=postgres://u:topsecret@h/db', '--nonsense', '1');
  let text = '';
  running.stderr?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  expect(await once(running, 'exit')).toEqual([78, null]);
  expect(text).toContain('is no name');
  expect(text).toContain('--nonsense is not an option');
  expect(text).not.toContain('topsecret');
});
