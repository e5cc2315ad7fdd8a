/**
 * Goal: the whole process keeps its promises over SIGKILL, answers over gRPC, starts without a registry, and refuses
 * what cannot work with exit code 78.
 * Method: the real process on a real Postgres, killed again and again under load; its log read over gRPC as compute does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { IngestService, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcLogReader } from '@freshet/log/grpc-log-reader.ts';
import { freePort, type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { replaceFile } from './io/durable-file.ts';
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
  await replaceFile(join(directory.path, 'definitions.binpb'), toBinary(DefinitionSetSchema, definitions));
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
