/**
 * Goal: every type's values arrive as they are in the table, by the snapshot and by the stream alike, to the last digit;
 * what cannot be taken is in quarantine with its reason, and nothing else is held up by it.
 * Method: a table of every type; the same rows before and after the snapshot; expectations written by hand.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { QuarantineEntry } from '../core/quarantine.ts';
import {
  type Capture,
  changesOf,
  createDatabase,
  define,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
  valuesOf,
} from '../testing/capture.ts';

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let capture: Capture | undefined;
const patient = { timeout: 20_000, interval: 20 };

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  // Settings that would change how values are written, were they not overridden.
  await database.sql.unsafe(`ALTER ROLE postgres SET bytea_output = 'escape'; ALTER ROLE postgres SET DateStyle = 'SQL, DMY';
    ALTER ROLE postgres SET TimeZone = 'Asia/Kolkata'; ALTER ROLE postgres SET extra_float_digits = -5`);
  directory = temporaryDirectory();
});
afterEach(async () => {
  await capture?.stop();
  await database.drop();
  directory.remove();
});

const day = 86_400_000_000n;

/** Type, SQL literal, value. */
const CASES: readonly (readonly [string, string, Scalar])[] = [
  ['int2', "'-32768'", -32768n],
  ['int4', '2147483647', 2147483647n],
  ['int8', "'-9223372036854775808'", -(2n ** 63n)],
  ['int8', '9223372036854775807', 2n ** 63n - 1n],
  ['int8', '9007199254740993', 9007199254740993n],
  ['oid', '4294967295', 4294967295n],
  ['float4', '0.1', Math.fround(0.1)],
  ['float8', '0.1', 0.1],
  ['float8', "'NaN'", Number.NaN],
  ['float8', "'-Infinity'", Number.NEGATIVE_INFINITY],
  ['float8', "'-0'", -0],
  ['float8', "'5e-324'", 5e-324],
  ['float8', "'1.7976931348623157e308'", Number.MAX_VALUE],
  ['numeric', '12345678901234567890.123456789012345678900', '12345678901234567890.123456789012345678900'],
  ['numeric(10,2)', '-0.5', '-0.50'],
  ['numeric', "'NaN'", 'NaN'],
  ['numeric', "'Infinity'", 'Infinity'],
  ['numeric', "'-Infinity'", '-Infinity'],
  ['numeric', '-0.000', '0.000'],
  ['bool', 'true', true],
  ['bool', 'false', false],
  ['text', "''", ''],
  [
    'text',
    String.raw`E'tab\tnew\nline\\ \\N back\\slash \u00fc \U0001F600 "q" {,}'`,
    'tab\tnew\nline\\ \\N back\\slash ü 😀 "q" {,}',
  ],
  ['varchar(10)', "'abc'", 'abc'],
  ['char(5)', "'ab'", 'ab   '],
  ['name', "'n'", 'n'],
  ['uuid', "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['json', `'{"a": [1, 2]}'`, '{"a": [1, 2]}'],
  ['jsonb', `'{"b":1,  "a":2}'`, '{"a": 2, "b": 1}'],
  ['inet', "'10.0.0.1/8'", '10.0.0.1/8'],
  ['mood', "'ok'", 'ok'],
  ['positive', '7', 7n],
  ['interval', "'1 day 2 hours'", '1 day 02:00:00'],
  ['time', "'01:02:03.5'", '01:02:03.5'],
  ['bytea', String.raw`'\x00ff5c0a'`, Uint8Array.of(0, 255, 92, 10)],
  ['bytea', "''", new Uint8Array()],
  ['timestamptz', "'1970-01-01 05:30:00.000001+05:30'", 1n],
  ['timestamptz', "'1969-12-31 23:59:59.999999+00'", -1n],
  ['timestamp', "'2026-02-28 12:00:00.123456'", 1_772_280_000_123_456n],
  ['date', "'2000-03-01'", 11_017n * day],
  ['date', "'0001-01-01 BC'", -719_528n * day],
  ['timestamp', "'294247-01-10 04:00:54.775807'", 2n ** 63n - 1n],
  ['timestamp', "'4713-01-01 00:00:00 BC'", -210_863_520_000_000_000n],
  ['int4[]', "'{1,NULL,-3}'", [1n, null, -3n]],
  ['int8[]', "'{}'", []],
  ['int8[]', "'[5:6]={7,8}'", [7n, 8n]],
  [
    'text[]',
    String.raw`ARRAY['a,b', 'with "quote"', 'back\slash', 'NULL', '', NULL, '{x}']`,
    ['a,b', 'with "quote"', 'back\\slash', 'NULL', '', null, '{x}'],
  ],
  ['numeric[]', "'{1.50,NaN}'", ['1.50', 'NaN']],
  ['timestamptz[]', "ARRAY['1970-01-01 00:00:01+00'::timestamptz]", [1_000_000n]],
  ['bytea[]', String.raw`ARRAY['\x0102'::bytea]`, [Uint8Array.of(1, 2)]],
  ['bool[]', "'{t,f}'", [true, false]],
  ['mood[]', "'{sad,ok}'", ['sad', 'ok']],
  ['float4[]', "'{0.1}'", [Math.fround(0.1)]],
];

it('reads every type exactly, by snapshot and by stream', async () => {
  await database.sql`CREATE TYPE mood AS ENUM ('sad', 'ok')`;
  await database.sql`CREATE DOMAIN positive AS int4 CHECK (VALUE > 0)`;
  const columns = CASES.map(([type], i) => `c${i} ${type}`).join(', ');
  await database.sql.unsafe(`CREATE TABLE wide (id int8 PRIMARY KEY, ${columns}) `);
  const values = CASES.map(([type, literal]) => `${literal}::${type}`).join(', ');
  await database.sql.unsafe(`INSERT INTO wide SELECT 1, ${values}`);
  await database.sql`INSERT INTO wide (id) VALUES (2)`;
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  capture = await startCapture({ url: database.url, directory: directory.path, log });
  await capture.node.apply(await define(database.url, 1n, [{ route: 1, table: 'wide', key: 'id' }]));
  await expect.poll(() => capture?.source.status().phase, patient).toBe(SourceState.STREAMING);
  await database.sql.unsafe(`INSERT INTO wide SELECT 3, ${values}`);
  await database.sql`INSERT INTO wide (id) VALUES (4)`;
  await expect.poll(async () => (await changesOf(log)).length, patient).toBe(4);
  const rows = new Map(
    (await changesOf(log)).map((change) => [Number(valuesOf(change)[0]), valuesOf(change).slice(1)]),
  );
  for (const id of [1, 3]) {
    for (const [i, value] of (rows.get(id) ?? []).entries()) {
      expect(value, `${CASES[i]?.[0]} ${CASES[i]?.[1]}, row ${id}`).toEqual(CASES[i]?.[2]);
    }
  }
  for (const id of [2, 4]) expect(rows.get(id)).toEqual(CASES.map(() => null));
  expect(capture.quarantine.count).toBe(0);
});

it('puts rows aside that cannot be folded, each with its reason, once, and lets the others through', async () => {
  await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id text, at timestamptz, until timestamptz, grid int4[])`;
  const bad = async (from: number): Promise<void> => {
    await database.sql`INSERT INTO events VALUES
      (${from}, NULL, now(), NULL, NULL), (${from + 1}, 'u', NULL, NULL, NULL), (${from + 2}, 'u', now() + interval '1 hour', NULL, NULL),
      (${from + 3}, 'u', now(), 'infinity', NULL), (${from + 4}, 'u', now(), NULL, '{{1},{2}}'), (${from + 5}, 'u', '1066-10-14', NULL, NULL),
      (${from + 6}, ${'x'.repeat(5000)}, now(), NULL, NULL), (${from + 7}, 'fine', now() + interval '2 seconds', NULL, NULL)`;
  };
  await bad(10);
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id', eventTime: 'at' }]);
  capture = await startCapture({ url: database.url, directory: directory.path, log });
  await capture.node.apply(definitions);
  await expect.poll(() => capture?.source.status().phase, patient).toBe(SourceState.STREAMING);
  await bad(20);
  await expect.poll(async () => (await changesOf(log)).length, patient).toBe(2);
  await expect.poll(() => capture?.quarantine.count, patient).toBe(12);
  expect((await changesOf(log)).map((change) => valuesOf(change)[1])).toEqual(['fine', 'fine']);
  // The two rows without a user belong to nobody: they are counted, and nobody has to look at them.
  expect(capture.source.status().unkeyed).toBe(2);
  const lines = readFileSync(join(directory.path, 'quarantine.jsonl'), 'utf8').trim().split('\n');
  const entries = lines.map((line) => JSON.parse(line.slice(9)) as QuarantineEntry);
  const reasons = [
    'null_event_time',
    'event_time_ahead',
    'bad_value',
    'bad_value',
    'event_time_out_of_range',
    'bad_key',
  ];
  expect(entries.map(({ reason }) => reason)).toEqual([...reasons, ...reasons]);
  expect(entries[2]).toMatchObject({ lane: 1, table: 'shop/public.events', values: { id: '13', until: 'infinity' } });
  expect(entries[8]).toMatchObject({ lane: 2, detail: 'column until: infinity is not a time', values: { id: '23' } });
});
