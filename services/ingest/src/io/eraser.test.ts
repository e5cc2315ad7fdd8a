/**
 * Goal: an erase at ingest takes out the entity's records and quarantined rows and nobody else's, goes on where it was
 * after any crash with one Erase record, and once it is complete no file has a byte of the key. Method: a segment log and a
 * quarantine on a simulated disk, with entities of equal keys; the process killed at each change of the disk.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import {
  ErasePlaceSchema,
  type EraseState,
  SourceState as SourcePhase,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { rowsGoneAt } from '@freshet/log/erased-record.ts';
import { encodeChange } from '@freshet/log/record-writer.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { describe, expect, it } from 'vitest';
import { eraseScope, quarantineMatcher } from '../core/erase-scope.ts';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { captured } from './captured.ts';
import { Eraser, type EraserOptions, hashOf } from './eraser.ts';
import { QuarantineFile } from './quarantine-file.ts';

const MARKER = 'QZXWVKJHGFQPLMNB';
const KEY = encodeKey([Kind.STRING], [MARKER]);
const PARTITIONS = 2;
const PARTITION = partitionOf(KEY, PARTITIONS);
const USER = { name: 'user', key: [{ name: 'user_id', kind: Kind.STRING }] };
const SHOP = { name: 'shop', key: [{ name: 'shop_id', kind: Kind.STRING }] };

function table(name: string) {
  return { case: 'postgres' as const, value: { database: 'default', schema: 'public', table: name } };
}

/** Routes 1 (user, clicks) and 2 (shop, clicks), 3 (shop, visits). */
const DEFINITIONS: DefinitionSet = create(DefinitionSetSchema, {
  generation: 1n,
  routes: [
    { route: 1, source: { name: 'clicks', origin: table('clicks') }, entity: USER, keyColumns: ['user_id'] },
    { route: 2, source: { name: 'clicks', origin: table('clicks') }, entity: SHOP, keyColumns: ['shop_id'] },
    { route: 3, source: { name: 'visits', origin: table('visits') }, entity: SHOP, keyColumns: ['shop_id'] },
  ],
  views: [
    { name: 'user_clicks', route: 1, entity: USER },
    { name: 'shop_clicks', route: 2, entity: SHOP },
    { name: 'shop_visits', route: 3, entity: SHOP },
  ],
});

function change(route: number, key: string, n: number, value = key): Uint8Array {
  const head = { route, generation: 1, lane: 2, major: n, minor: 0, operation: Operation.INSERT, contractVersion: 1 };
  const type = { $typeName: 'freshet.type.v1.ValueType' as const, kind: Kind.STRING, element: 0, dimension: 0 };
  return encodeChange({ ...head, entityKey: encodeKey([Kind.STRING], [key]) }, [`${value}-${n}`], [type as never]);
}

function quarantined(route: number, values: Record<string, string | null>, major: bigint): QuarantineEntry {
  const place = { route, generation: 1, lane: 2, major, minor: 0, part: 0 };
  const about = { source: 'clicks', table: 'default/public.clicks', operation: 1, detail: 'd', contractVersion: 1 };
  return { ...place, ...about, reason: 'bad_value', atUs: 1, committedUs: null, values };
}

interface Node {
  readonly log: SegmentLog;
  readonly quarantine: QuarantineFile;
  readonly eraser: Eraser;
  close(): Promise<void>;
}

async function open(disk: SimulatedDisk, mesh: Partial<EraserOptions> = {}, logId = 'ab'): Promise<Node> {
  const clock = new VirtualClock();
  const log = await openSegmentLog({
    directory: '/data/log',
    partitions: PARTITIONS,
    clock,
    segmentBytes: 400,
    tailBytes: 0,
    minFreeBytes: 0,
    files: disk,
    makeLogId: () => logId.repeat(16),
  });
  const quarantine = await QuarantineFile.open(disk, '/data/quarantine.jsonl');
  const eraser = new Eraser({
    directory: '/data',
    files: disk,
    log,
    quarantine,
    holders: () => [],
    captured: () => Promise.resolve(),
    definitions: () => DEFINITIONS,
    clock,
    makeSalt: () => new Uint8Array(16).fill(7),
    yieldNow: () => Promise.resolve(),
    ...mesh,
  });
  return {
    log,
    quarantine,
    eraser,
    close: async () => {
      await quarantine.close();
      await log.close();
    },
  };
}

async function fill({ log, quarantine }: Node): Promise<void> {
  for (let n = 1; n <= 6; n++) {
    await log.append(PARTITION, [
      change(1, MARKER, n),
      change(3, MARKER, n, 'SHOPVALUE'),
      change(1, 'other', n),
      change(9, MARKER, n),
    ]);
  }
  await quarantine.append([
    quarantined(1, { user_id: MARKER, x: 'secret' }, 1n),
    quarantined(1, { user_id: 'other' }, 2n),
    quarantined(3, { shop_id: MARKER, x: 'SHOPROW' }, 3n),
    quarantined(1, { user_id: null, x: 'NOBODYS' }, 4n),
  ]);
}

const WISH = { eraseId: 'e1', entity: 'user', entityKey: KEY, setAside: false };

async function erase(node: Node, wish = WISH): Promise<EraseState> {
  let last: EraseState | undefined;
  for await (const { erase: state } of node.eraser.erase(wish, new AbortController().signal)) last = state;
  return last!;
}

async function recordsOf(log: SegmentLog): Promise<string[]> {
  const { partitions } = await log.describe();
  const { end } = partitions[PARTITION]!;
  const kinds: string[] = [];
  for await (const { entries } of log.read(PARTITION, 0, new AbortController().signal)) {
    for (const { record } of entries) {
      const { kind } = fromBinary(LogRecordSchema, record.slice());
      kinds.push(kind.case === 'change' ? `change ${kind.value.route} ${kind.value.sequence?.major}` : `${kind.case}`);
    }
    if (kinds.length >= end) break;
  }
  return kinds;
}

function filesWith(disk: SimulatedDisk, text: string): string[] {
  return disk.paths().filter((path) => Buffer.from(disk.content(path)).includes(text));
}

describe('erasing at ingest', () => {
  it('takes out the entity’s records and quarantined rows, and leaves those of an entity with the same key', async () => {
    const disk = new SimulatedDisk();
    const node = await open(disk);
    await fill(node);
    const state = await erase(node);
    const expected = Array.from({ length: 6 }, (_, i) => [
      'erased',
      `change 3 ${i + 1}`,
      `change 1 ${i + 1}`,
      'erased',
    ]);
    expect(await recordsOf(node.log)).toEqual([...expected.flat(), 'erase']);
    expect(state).toMatchObject({
      entity: 'user',
      partition: PARTITION,
      offset: 24n,
      routes: [1],
      views: ['user_clicks'],
    });
    const places = Object.fromEntries(state.places.map((place) => [place.kind, place]));
    expect(places['log']).toMatchObject({ done: true, count: 12n });
    expect(places['quarantine']).toMatchObject({ done: true, count: 1n });
    expect(places['stages']).toMatchObject({ done: true, count: 0n, detail: expect.stringMatching(/^none: /) });
    expect(places['outside']?.place).toBe('records of entity shop');
    expect(filesWith(disk, 'secret')).toEqual([]);
    for (const kept of ['SHOPVALUE', 'SHOPROW', 'NOBODYS', 'other']) expect(filesWith(disk, kept)).not.toEqual([]);
    expect(node.quarantine.count).toBe(3);
    // Asked again it finds nothing more; told that all is done it forgets the key.
    expect((await erase(node)).offset).toBe(24n);
    const done = await node.eraser.note('e1', [], true);
    expect(done.completedAtUs).toBeDefined();
    expect(done.entityKey).toHaveLength(0);
    expect(Buffer.from(done.keyHash)).toEqual(Buffer.from(hashOf({ salt: done.salt, entity: 'user', entityKey: KEY })));
    expect((await recordsOf(node.log)).at(-1)).toBe('erased');
    const left = filesWith(disk, MARKER);
    const others = (await recordsOf(node.log)).filter((kind) => kind.startsWith('change 3'));
    // What is left is the shop of the same name.
    expect([left.every((path) => /partition|quarantine/.test(path)), others.length]).toEqual([true, 6]);
    expect(await erase(node)).toMatchObject({ completedAtUs: done.completedAtUs });
    await node.close();
    const again = await open(disk);
    expect((await again.eraser.get('e1')).places.length).toBe(done.places.length);
    await again.quarantine.append([quarantined(1, { user_id: 'later' }, 9n)]);
    expect(filesWith(disk, 'later')).not.toEqual([]);
    await again.close();
  });

  it('goes on after a crash at any change of the disk: one Erase record, and in the end not a byte', async () => {
    let crashes = 0;
    for (let step = 0; ; step++) {
      const disk = new SimulatedDisk();
      const first = await open(disk);
      for (let n = 1; n <= 6; n++) await first.log.append(PARTITION, [change(1, MARKER, n), change(1, 'other', n)]);
      await first.quarantine.append([quarantined(1, { user_id: MARKER }, 1n)]);
      let left = step;
      let after: SimulatedDisk | undefined;
      disk.step = ({ changes }) => {
        if (changes && left-- === 0) after = disk.kill();
      };
      await erase(first)
        .then(() => first.eraser.note('e1', [], true))
        .catch(() => undefined);
      if (after === undefined) break;
      crashes++;
      const again = await open(after);
      const state = await erase(again);
      const kinds = await recordsOf(again.log);
      // Compute nodes can be asked only while there is a record; when it is gone nobody is to be asked any more.
      const isOver = state.completedAtUs !== undefined;
      expect(kinds.filter((kind) => kind === 'erase').length, `step ${step}`).toBe(isOver ? 0 : 1);
      expect(kinds.filter((kind) => kind.startsWith('change')).length).toBe(6);
      await again.eraser.note('e1', [], true);
      expect(filesWith(after, MARKER)).toEqual([]);
      await again.close();
    }
    expect(crashes).toBeGreaterThan(20);
  });

  it('F1: knows after a power cut that it was at its last step, though whoever began that was killed before it was durable', async () => {
    const disk = new SimulatedDisk();
    const first = await open(disk);
    await fill(first);
    await erase(first);
    const kills: SimulatedDisk[] = [];
    let isRenamed = false;
    disk.step = ({ kind, path }, of) => {
      if (isRenamed && kind === 'syncDirectory' && kills.length === 0) kills.push(of.kill());
      isRenamed ||= kind === 'rename' && path.startsWith('/data/erasures/');
    };
    await expect(first.eraser.note('e1', [], true)).rejects.toThrow();
    const killed = must(kills[0]);
    const second = await open(killed);
    // It goes on with the last step, and is cut off when the Erase record is gone and before it has noted that.
    const cuts: SimulatedDisk[] = [];
    killed.step = ({ kind, path }, of) => {
      if (kind === 'open' && path.startsWith('/data/erasures/') && path.endsWith('.new') && cuts.length === 0)
        cuts.push(of.powerCut({ real: () => 0.999 }));
    };
    await expect(erase(second)).rejects.toThrow();
    const third = await open(must(cuts[0]));
    expect(await recordsOf(third.log)).not.toContain('erase');
    expect((await erase(third)).completedAtUs).toBeDefined();
    await third.close();
  });

  it('is of one log: in another one nothing is taken out for it, and it says what to do', async () => {
    const disk = new SimulatedDisk();
    const node = await open(disk);
    await fill(node);
    await erase(node);
    await node.close();
    for (const path of disk.paths()) if (path.startsWith('/data/log')) disk.takeAway(path);
    const again = await open(disk, {}, 'cd');
    // What the entity wrote since, at offsets below that of the erase in the log that was.
    await fill(again);
    await expect(erase(again)).rejects.toMatchObject({ code: 'WRONG_LOG', place: 'erase_id' });
    await expect(again.eraser.note('e1', [], true)).rejects.toMatchObject({ code: 'WRONG_LOG' });
    expect(await recordsOf(again.log)).not.toContain('erased');
    expect((await again.eraser.get('e1')).completedAtUs).toBeUndefined();
    expect((await erase(again, { ...WISH, eraseId: 'e2' })).offset).toBe(24n);
    await again.close();
  });

  it('F1: is open for as long as a compute node that has state of the shard was not reached', async () => {
    const node = await open(new SimulatedDisk(), {
      holders: (partition) => (partition === PARTITION ? ['c1', 'c2'] : []),
    });
    await fill(node);
    const state = await erase(node);
    const left = state.places.filter(({ done }) => !done).map(({ place }) => place);
    expect(left).toEqual([`compute c1, shard ${PARTITION}`, `compute c2, shard ${PARTITION}`]);
    const told = (nodeId: string) =>
      create(ErasePlaceSchema, { kind: 'shard', place: `compute ${nodeId}, shard ${PARTITION}`, done: true });
    await expect(node.eraser.note('e1', [told('c1')], true)).rejects.toMatchObject({
      message: expect.stringContaining('compute c2'),
    });
    expect((await recordsOf(node.log)).at(-1)).toBe('erase');
    expect((await node.eraser.note('e1', [told('c1'), told('c2')], true)).completedAtUs).toBeDefined();
    await node.close();
  });

  it('leaves for whoever comes back where the partition ended when the rows were out of it, also after a restart', async () => {
    const disk = new SimulatedDisk();
    const first = await open(disk);
    await fill(first);
    const { offset } = await erase(first);
    await first.log.append(PARTITION, [change(1, 'other', 7)]);
    await first.close();
    const again = await open(disk);
    await again.log.append(PARTITION, [change(1, 'other', 8)]);
    await erase(again);
    await again.eraser.note('e1', [], true);
    const fillers = new Map<number, number | undefined>();
    for await (const { entries, end } of again.log.read(PARTITION, 0, new AbortController().signal)) {
      for (const { offset: at, record } of entries) fillers.set(at, rowsGoneAt(record));
      if (fillers.size === end) break;
    }
    // Behind it were no records when the rows were gone, the first time.
    const told = [...fillers].filter(([, gone]) => gone !== undefined);
    expect(told).toEqual([[Number(offset), Number(offset) + 1]]);
    await again.close();
  });

  it('is complete only once ingest has looked through its own places, whatever others say', async () => {
    const node = await open(new SimulatedDisk());
    await fill(node);
    // Whoever asked went away after the first step.
    for await (const { step } of node.eraser.erase(WISH, new AbortController().signal)) if (step === 'appended') break;
    const own = ['log', 'quarantine'].map((kind) => create(ErasePlaceSchema, { kind, place: 'ingest', done: true }));
    await expect(node.eraser.note('e1', own, false)).rejects.toMatchObject({ place: 'places' });
    await expect(node.eraser.note('e1', [], true)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await recordsOf(node.log)).at(-1)).toBe('erase');
    await erase(node);
    expect((await node.eraser.note('e1', [], true)).completedAtUs).toBeDefined();
    await node.close();
  });

  it('waits for what the databases of its routes have committed, and is not begun without that', async () => {
    const clock = new VirtualClock();
    let status = { database: 'default', phase: SourcePhase.HALTED as SourcePhase, acknowledgedLsn: 5n };
    const database = { identify: async () => ({ systemId: 's', timeline: 1, endLsn: 9n }) };
    const asked: string[] = [];
    const node = await open(new SimulatedDisk(), {
      captured: (name, signal) => {
        asked.push(name);
        return captured({ database, status: () => status, clock }, signal);
      },
    });
    await fill(node);
    await expect(erase(node)).rejects.toMatchObject({ code: 'UNAVAILABLE', place: 'database default' });
    await expect(node.eraser.get('e1')).rejects.toMatchObject({ place: 'erase_id' });
    // While rows are read for other routes it follows commits; those rows would come behind the erase all the same.
    status = { ...status, phase: SourcePhase.SNAPSHOT, acknowledgedLsn: 9n };
    await expect(erase(node)).rejects.toMatchObject({ code: 'UNAVAILABLE', place: 'database default' });
    status = { ...status, phase: SourcePhase.STREAMING, acknowledgedLsn: 5n };
    const late = erase(node).catch((error: unknown) => error);
    await clock.advance(31_000_000);
    expect(await late).toMatchObject({ code: 'UNAVAILABLE' });
    const erasing = erase(node);
    await clock.advance(1_000_000);
    await node.log.append(PARTITION, [change(1, MARKER, 7)]);
    status = { ...status, acknowledgedLsn: 9n };
    await clock.advance(1_000_000);
    expect((await erasing).offset).toBe(25n);
    expect((await recordsOf(node.log)).filter((kind) => kind.startsWith('change 1 7'))).toEqual([]);
    expect(new Set(asked)).toEqual(new Set(['default']));
    await node.close();
  });

  it('is refused while rows are held of its routes whose key has another name in their table', async () => {
    const node = await open(new SimulatedDisk());
    await fill(node);
    const columns = [['visitor', 25, -1, 0] as const];
    const shape = { id: 7, schema: 'public', table: 'clicks', replicaIdentity: 'd', columns };
    const held = { held: 'table', reason: 'shape', shape } as const;
    await node.quarantine.append([
      { ...quarantined(1, { visitor: MARKER }, 9n), ...held },
      { ...quarantined(3, { visitor: MARKER }, 9n), ...held },
    ]);
    await expect(erase(node)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('1 held rows do not tell whose they are') as string,
      remedy: expect.stringContaining('freshet quarantine discard clicks') as string,
    });
    // Nothing of it is in the log, and it goes on once they are gone.
    expect((await recordsOf(node.log)).filter((kind) => kind === 'erase')).toEqual([]);
    await node.quarantine.remove(({ route, shape: of }) => route === 1 && of !== undefined);
    expect((await erase(node)).places.find(({ kind }) => kind === 'quarantine')).toMatchObject({
      done: true,
      count: 1n,
    });
    await node.close();
  });

  it('refuses what cannot be right, with what to do', async () => {
    const disk = new SimulatedDisk();
    const node = await open(disk);
    await expect(erase(node, { ...WISH, entity: 'nobody' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(erase(node, { ...WISH, entityKey: Uint8Array.of(1) })).rejects.toMatchObject({ code: 'WRONG_KEY' });
    await expect(node.eraser.get('e9')).rejects.toMatchObject({ place: 'erase_id' });
    await disk.makeDirectory('/data/postgres/default/stages/s1');
    await expect(erase(node)).rejects.toMatchObject({ code: 'UNAVAILABLE', place: 'database default' });
    await disk.removeDirectory('/data/postgres/default/stages/s1');
    disk.setContent('/data/quarantine.jsonl.damaged-1', Buffer.from(MARKER));
    disk.setContent('/data/postgres/default/state.json.damaged-1', Buffer.from(MARKER));
    const state = await erase(node);
    expect(state.places.find(({ kind }) => kind === 'set-aside')).toMatchObject({ done: false });
    await expect(node.eraser.note('e1', [], true)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(erase(node, { ...WISH, entityKey: encodeKey([Kind.STRING], ['x']) })).rejects.toMatchObject({
      message: expect.stringContaining('another entity'),
    });
    // The key need not be given again.
    await erase(node, { eraseId: 'e1', entity: '', entityKey: new Uint8Array(0), setAside: true });
    expect((await node.eraser.note('e1', [], true)).completedAtUs).toBeDefined();
    expect(filesWith(disk, MARKER)).toEqual([]);
    await node.close();
    expect(filesWith(disk.powerCut({ real: () => 0.999 }), MARKER)).toEqual([]);
  });
});

it('knows quarantined rows by their key as the database wrote it', () => {
  const key = [Kind.INT64, Kind.DECIMAL, Kind.BOOL, Kind.TIMESTAMP, Kind.BYTES];
  const entity = { name: 'e', key: key.map((kind, i) => ({ name: `k${i}`, kind })) };
  const definitions = create(DefinitionSetSchema, {
    routes: [{ route: 1, entity, keyColumns: ['a', 'b', 'c', 'd', 'e'] }],
    views: [{ name: 'v', route: 1, entity }],
  });
  const bytes = encodeKey(key, [-5n, '1.50', true, 1_000_000n, Uint8Array.of(1, 255)]);
  const matches = quarantineMatcher(definitions, eraseScope(definitions, 'e', bytes), bytes);
  const values = { a: '-5', b: '1.5', c: 't', d: '1970-01-01 00:00:01+00', e: '\\x01ff' };
  expect(matches({ route: 1, values })).toBe(true);
  expect(matches({ route: 2, values })).toBe(false);
  for (const name of Object.keys(values)) {
    expect(matches({ route: 1, values: { ...values, [name]: null } })).toBe(false);
    expect(matches({ route: 1, values: { ...values, [name]: name === 'c' ? 'f' : 'bad' } })).toBe(false);
  }
});
