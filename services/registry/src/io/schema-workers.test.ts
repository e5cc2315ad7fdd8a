/**
 * Goal: threads say of a piece of work what the engines say, and whatever a piece or a thread does, each one is answered and
 * the next one is done. Method: real threads and engines; pieces that are known to take seconds, or much memory; threads
 * that run something else, or cannot be had.
 */
import { Worker, type WorkerOptions } from 'node:worker_threads';
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
const TAGGED = source('PROTOBUF', 'syntax = "proto3"; message M { int32 a = 1 [(confluent.field_meta).tags = "A"]; }');
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
    { kind: 'DESCRIBE', source: PROTO, form: 'serialized' },
    { kind: 'DESCRIBE', source: INT, form: 'serialized' },
    { kind: 'DESCRIBE', source: INT, form: 'resolved' },
    { kind: 'FIND_TAGS', source: TAGGED },
    { kind: 'CHANGE_TAGS', source: TAGGED, changes: [{ path: 'M.a', kind: 'sr_field', add: ['B'], remove: ['A'] }] },
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

/** The first threads are as these say, the others as they should be. */
function openLike(...first: readonly (() => Worker)[]): (script: URL, options: WorkerOptions) => Worker {
  const like = [...first];
  return (script, options) => (like.shift() ?? (() => new Worker(script, options)))();
}
const running = (code: string) => () => new Worker(code, { eval: true });
const notToBeHad = (): Worker => {
  throw new Error('ERR_WORKER_INIT_FAILED');
};

it.each([
  ['cannot be had', notToBeHad],
  ['never comes up', running('setInterval(() => {}, 1000)')],
  ['ends before it is up', running('process.exit(3)')],
  ['fails before it is up', running('throw new Error("no")')],
])(
  'refuses what is asked of a thread that %s, and has the next done by another',
  async (_, open) => {
    start({ startMsMax: 5_000, open: openLike(open) });
    const first = threads.run(judge(INT, INT), 60_000);
    const others = Promise.allSettled([1, 2].map(() => threads.run(judge(INT, INT), 60_000)));
    const refusal = { code: 50302, message: expect.stringMatching(/thread .*try again later/) as string };
    await expect(first).rejects.toMatchObject(refusal);
    for (const other of await others) if (other.status === 'rejected') expect(other.reason).toMatchObject(refusal);
    expect((await threads.run(judge(INT, INT), 60_000)).result).toEqual([]);
  },
  60_000,
);

it('leaves what waits to a thread that is up, when another cannot be had', async () => {
  start({ threads: 2, open: upThen(notToBeHad) });
  expect((await threads.run(judge(INT, INT), 60_000)).result).toEqual([]);
  const runs = [1, 2, 3].map(() => threads.run(judge(INT, INT), 60_000));
  for (const run of runs) expect((await run).result).toEqual([]);
});
function upThen(other: () => Worker): (script: URL, options: WorkerOptions) => Worker {
  let opened = 0;
  return (script, options) => (opened++ === 0 ? new Worker(script, options) : other());
}

it('refuses what a thread dies of, or while, and has the next done by another', async () => {
  // It is up, and ends with the first piece.
  const dying = `const { parentPort } = require('node:worker_threads');
    parentPort.on('message', () => process.exit(1)); parentPort.postMessage({ kind: 'READY' });`;
  start({ open: openLike(running(dying)) });
  const [first, second] = [threads.run(judge(INT, INT), 60_000), threads.run(judge(LONG, LONG), 60_000)];
  await expect(first).rejects.toMatchObject({ code: 50302 });
  expect((await second).result).toEqual([]);
});

it('has a piece done by another thread when the one that was up ended while nothing was asked of it', async () => {
  const gone: Promise<unknown>[] = [];
  // It does one piece as it should, and ends then.
  const once = `const { parentPort } = require('node:worker_threads');
    parentPort.on('message', () => { parentPort.postMessage({ kind: 'DONE', result: [], tookMs: 0 }); parentPort.close(); });
    parentPort.postMessage({ kind: 'READY' });`;
  const open = (): Worker => {
    const worker = new Worker(once, { eval: true });
    gone.push(new Promise((resolve) => worker.once('exit', resolve)));
    return worker;
  };
  start({ open: openLike(open) });
  expect((await threads.run(judge(INT, INT), 60_000)).result).toEqual([]);
  await Promise.all(gone);
  const breaks = await threads.run(judge(INT, LONG), 60_000);
  expect(breaks.result).not.toEqual([]);
});

it('stops all its timers: none of a thread that was ended or closed is left', async () => {
  let timers = 0;
  const clock = {
    sleep: (ms: number, signal?: AbortSignal): Promise<void> => {
      timers += 1;
      return systemClock.sleep(ms, signal).finally(() => {
        timers -= 1;
      });
    },
  };
  start({ clock, threads: 2 });
  expect((await threads.run(judge(INT, INT), 60_000)).result).toEqual([]);
  const refused = Promise.allSettled([1, 2, 3].map(() => threads.run(hostile(), 600_000)));
  // The second thread is not up yet, and says so while it is ended.
  await threads.close();
  await refused;
  expect(timers).toBe(0);
});
