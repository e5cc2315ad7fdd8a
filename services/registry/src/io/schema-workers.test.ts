/**
 * Goal: threads say of a piece of work what the engines say, and whatever a piece does, each one is answered and the next
 * one is done. Method: real threads and engines; pieces that are known to take seconds, or much memory.
 */
import { systemClock } from '@freshet/kit/clock.ts';
import { InvalidSchema, SCHEMA_LIMITS } from '@freshet/schemas/schema.ts';
import { afterEach, expect, it } from 'vitest';
import { doWork, type JudgeWork, ParsedCache, type SchemaSource } from '../core/subjects/schema-work.ts';
import { schemaEngines } from '../engines.ts';
import { hostilePair } from '../testing/hostile-schemas.ts';
import { SchemaThreads, type SchemaWorkersOptions } from './schema-workers.ts';

const RULE = { oneofRule: 'latest' } as const;
let threads: SchemaThreads;
afterEach(() => threads.close());
function start(options: Partial<SchemaWorkersOptions> = {}): SchemaThreads {
  threads = new SchemaThreads({ ...RULE, clock: systemClock, threads: 1, ...options });
  return threads;
}

const source = (type: SchemaSource['type'], text: string): SchemaSource => ({
  type,
  text,
  references: [],
  referred: '',
  checkDefaults: false,
  characters: text.length,
});
const judge = (now: SchemaSource, old: SchemaSource): JudgeWork => ({
  kind: 'JUDGE',
  now,
  old,
  policy: 'STRICT',
  backward: true,
  forward: true,
});
const INT = source('AVRO', '"int"');
const LONG = source('AVRO', '"long"');
const PROTO = source('PROTOBUF', 'syntax = "proto3"; message M { int32 a = 1; }');
const hostile = (): JudgeWork => {
  const { now, old } = hostilePair();
  return judge(source('JSON', now), source('JSON', old));
};

it('says what the engines say', async () => {
  start({ threads: 2 });
  const here = { engines: schemaEngines(RULE), cache: new ParsedCache(), limits: SCHEMA_LIMITS };
  const pieces = [
    judge(INT, LONG),
    judge(source('JSON', '{"type":"string"}'), source('JSON', '{"type":["string","null"]}')),
    judge(source('PROTOBUF', 'syntax = "proto3"; message M { string a = 1; }'), PROTO),
    { kind: 'READ', source: source('JSON', '{ "type" : "string", "maxLength": 1.0 }') },
    { kind: 'DESCRIBE', source: PROTO },
    { kind: 'DESCRIBE', source: INT },
  ] as const;
  const results = await Promise.all(pieces.map(async (piece) => (await threads.run(piece, 60_000)).result));
  expect(results).toEqual(pieces.map((piece) => doWork(piece, here)));
});

it('passes on what is no schema', async () => {
  start();
  const refused = threads.run({ kind: 'READ', source: source('AVRO', '{') }, 60_000);
  await expect(refused).rejects.toBeInstanceOf(InvalidSchema);
  await expect(refused).rejects.toMatchObject({ tooLarge: false });
  expect((await threads.run(judge(LONG, LONG), 60_000)).result).toEqual([]);
});

it('ends a piece that takes too long, and does the next', async () => {
  start();
  const [first, second] = [threads.run(hostile(), 20), threads.run(judge(INT, INT), 60_000)];
  await expect(first).rejects.toMatchObject({ code: 42209 });
  expect((await second).result).toEqual([]);
});

it('ends a piece that takes too much memory, and does the next', async () => {
  start({ heapMbMax: 40 });
  const text = `{"enum":[${Array.from({ length: 110_000 }, (_, n) => `[${n}]`).join(',')}]}`;
  const [first, second] = [
    threads.run({ kind: 'READ', source: source('JSON', text) }, 60_000),
    threads.run(judge(INT, INT), 60_000),
  ];
  await expect(first).rejects.toMatchObject({ code: 42209, message: expect.stringMatching(/memory/) as string });
  expect((await second).result).toEqual([]);
});

it('lets no more wait than it may, and does those that wait', async () => {
  start({ waitingMax: 2 });
  const runs = Array.from({ length: 5 }, () => threads.run(judge(INT, INT), 60_000));
  const settled = await Promise.allSettled(runs);
  // One is with the thread, two wait.
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected']);
  await expect(runs[4]).rejects.toMatchObject({ code: 50302 });
});

it('refuses what is under way, what waits and what comes when it is closed', async () => {
  start();
  const runs = [threads.run(hostile(), 60_000), threads.run(judge(INT, INT), 60_000)];
  const settled = Promise.allSettled(runs);
  await threads.close();
  runs.push(threads.run(judge(INT, INT), 60_000));
  for (const run of runs) await expect(run).rejects.toMatchObject({ code: 50302 });
  await settled;
});
