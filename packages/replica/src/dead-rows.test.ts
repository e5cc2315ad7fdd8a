/**
 * Goal: a replica gets rid of rows that say nothing any more, from memory and disk, and nobody who reads can tell; an older
 * row never comes back in the place of one that went (R2); and of an entity that was erased it holds nothing, and says so
 * only then. Method: a table that is swept at random moments beside one that never is, under the same changes, passes and
 * repeated frames; a replica over a real LevelDB whose files are searched.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  PassPageSchema,
  ShardCursorSchema,
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { encodeKey } from '@freshet/values/key.ts';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { confirmErased } from './confirm-erased.ts';
import { DeadRows } from './dead-rows.ts';
import { DiskKeeper } from './disk-keeper.ts';
import { countView, definitions, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { rowKeyOf } from './row-key.ts';
import { ViewTable } from './view-table.ts';

const MINUTES_US = 600_000_000;
const root = mkdtempSync(join(tmpdir(), 'freshet-dead-'));
afterAll(() => rmSync(root, { recursive: true }));

function rowBytes(version: number, count: number): Uint8Array {
  const timelines = [{ unitUs: 1n, columns: [{ int64s: [BigInt(count)] }] }];
  return toBinary(RowSchema, create(RowSchema, { version: BigInt(version), logTimeUs: 1n, timelines }));
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** A state that serves view 1 of one shard from a table. */
function stateWith(table: ViewTable): ReplicaState {
  const state = new ReplicaState();
  state.learnShardCount(1);
  state.define(definitions(1, [countView(1)]));
  table.completeThroughUs = MINUTES_US;
  state.newShard(0).served.tables.set(viewId(1), table);
  return state;
}

const KEYS = 4;
const operation = fc.oneof(
  fc.record({ kind: fc.constant('change' as const), key: fc.nat(KEYS - 1), alive: fc.boolean() }),
  fc.record({ kind: fc.constant('again' as const), key: fc.nat(KEYS - 1), back: fc.nat(6) }),
  fc.record({ kind: fc.constantFrom('pass' as const, 'page' as const, 'sweep' as const, 'move' as const) }),
);

describe('dead rows', () => {
  it('R2: go, and what is left is what it would be without that: never an older row in their place', () => {
    let dropped = 0;
    fc.assert(
      fc.property(fc.array(operation, { minLength: 5, maxLength: 60 }), (operations) => {
        const swept = new ViewTable(viewId(1), 1);
        const plain = new ViewTable(viewId(1), 1);
        const both = [swept, plain];
        const dead = new DeadRows(stateWith(swept));
        const history: { key: number; version: number; bytes: string; alive: boolean }[] = [];
        let position = 0;
        let pass: { at: number; rows: Map<number, (typeof history)[number]> } | undefined;
        const put = (one: (typeof history)[number]): void => {
          for (const table of both) table.put(one.key, one.version, one.bytes, position);
        };
        for (const one of operations) {
          if (one.kind === 'change') {
            const version = history.length + 1;
            history.push({ ...one, version, bytes: textOf(rowBytes(version, one.alive ? version : 0)) });
            put(history.at(-1)!);
          } else if (one.kind === 'again') {
            const older = history.filter(({ key }) => key === one.key).at(-1 - one.back);
            if (older !== undefined) put(older);
          } else if (one.kind === 'pass' && pass === undefined) {
            // Of a commit somewhat before what is live: its pages bring rows as they were then.
            const at = Math.max(0, history.length - 3);
            pass = { at, rows: new Map(history.slice(0, at).map((row) => [row.key, row])) };
            for (const table of both) table.beginPage('');
          } else if (one.kind === 'page' && pass !== undefined) {
            for (const row of pass.rows.values()) put(row);
            for (const table of both) {
              table.endPage('\uffff', pass.at + 1);
              for (const _ of table.endPass());
            }
            pass = undefined;
          } else if (one.kind === 'sweep') {
            dropped += dead.sweep(MINUTES_US);
          } else if (one.kind === 'move' && pass === undefined) {
            // Everything before was sent.
            position = history.length + 1;
            for (const table of both) table.purge(position);
          }
          for (let key = 0; key < KEYS; key++) {
            const there = swept.rows.get(key);
            const would = plain.rows.get(key);
            const isThere = there !== undefined && there.bytes !== '';
            if (isThere) expect(there).toMatchObject({ version: would?.version, bytes: would?.bytes });
            else if (would !== undefined && would.bytes !== '') {
              const isAlive = history.find(({ version }) => version === would.version)?.alive;
              expect(isAlive, `row ${key} is gone though it is alive`).toBe(false);
            }
          }
        }
        while (pass === undefined && dead.sweep(MINUTES_US) > 0);
        position = history.length + 1;
        if (pass === undefined) swept.purge(position);
        if (pass === undefined) {
          for (const row of swept.rows.values()) expect(dead.isDead(viewId(1), row, MINUTES_US)).toBe(false);
          expect(swept.rowCount).toBe(swept.rows.size);
        }
      }),
      { numRuns: 500 },
    );
    expect(dropped).toBeGreaterThan(100);
  });

  it('F2: stay until they have been dead for a while, and rows that say something stay', () => {
    const table = new ViewTable(viewId(1), 1);
    table.put(1, 1, textOf(rowBytes(1, 0)));
    table.put(2, 2, textOf(rowBytes(2, 5)));
    const timelines = [{ unitUs: 1n, firstStep: 100_000_000n, hasSteps: true, columns: [{ int64s: [3n, 0n] }] }];
    const falling = toBinary(RowSchema, create(RowSchema, { version: 3n, logTimeUs: 1n, timelines }));
    table.put(3, 3, textOf(falling));
    const before = table.bytes;
    const dead = new DeadRows(stateWith(table));
    expect(dead.sweep(100_000_000 + 59_000_000)).toBe(1);
    expect(dead.sweep(100_000_000 + 61_000_000)).toBe(1);
    table.purge(10);
    expect([...table.rows.keys()]).toEqual([2]);
    expect(table.bytes).toBeLessThan(before / 2);
  });

  it('F2: stay while upstream has yet to come to that time: a clock that is hours ahead takes nothing', () => {
    const table = new ViewTable(viewId(1), 1);
    const timelines = [{ unitUs: 1n, firstStep: 100_000_000n, hasSteps: true, columns: [{ int64s: [3n, 0n] }] }];
    table.put(1, 1, textOf(toBinary(RowSchema, create(RowSchema, { version: 1n, logTimeUs: 1n, timelines }))));
    const dead = new DeadRows(stateWith(table));
    table.completeThroughUs = 90_000_000;
    expect(dead.sweep(36_000_000_000)).toBe(0);
    table.completeThroughUs = 200_000_000;
    expect(dead.sweep(36_000_000_000)).toBe(1);
  });

  it('R4: are looked for a piece at a time, round after round', () => {
    const table = new ViewTable(viewId(1), 1);
    for (let key = 0; key < 1_000; key++) table.put(key, key + 1, textOf(rowBytes(key + 1, key % 2)));
    const dead = new DeadRows(stateWith(table));
    const drops = Array.from({ length: 7 }, () => dead.sweep(MINUTES_US));
    expect(Math.max(...drops)).toBeLessThanOrEqual(200);
    expect(drops.reduce((sum, n) => sum + n, 0)).toBe(500);
  });
});

describe('confirming an erase', () => {
  const MARKER = 'QZXWVKJHGFQPLMNB';
  const entityKey = encodeKey([Kind.STRING], [MARKER]);
  const logId = 'ab'.repeat(16);

  function frame(after: number, to: number, rows: [key: string, version: number, count: number][], isPage = false) {
    const shownRows = rows.map(([key, version, count]) => ({
      key: encodeKey([Kind.STRING], [key]),
      version: BigInt(version),
      row: rowBytes(version, count),
    }));
    return create(SubscribeChangesResponseSchema, {
      logId: fromHex(logId),
      shard: 0,
      after: BigInt(after),
      cursor: create(ShardCursorSchema, {
        shard: 0,
        logId: fromHex(logId),
        position: BigInt(to),
        views: to === 0 ? [] : [fromHex(viewId(1))],
      }),
      completeThroughUs: BigInt(to),
      definitionsGeneration: 1n,
      rows: rows.length === 0 ? [] : [{ viewId: fromHex(viewId(1)), rows: shownRows }],
      ...(isPage ? { pass: create(PassPageSchema, { viewId: fromHex(viewId(1)), last: true, asOf: 1n }) } : {}),
    });
  }

  function applyTo(state: ReplicaState, one: SubscribeChangesResponse): void {
    const outcome = state.apply(one);
    expect(outcome.outcome).toBe('applied');
    if (outcome.outcome === 'applied' && outcome.rest !== undefined) for (const _ of outcome.rest);
  }

  function filesWith(directory: string, text: string): string[] {
    const files = readdirSync(directory, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
    return files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => readFileSync(path).includes(text));
  }

  it('takes the dead rows of a generation that waits for other shards as well', async () => {
    const state = new ReplicaState();
    state.learnShardCount(1);
    state.define(definitions(1, [countView(1)]));
    applyTo(state, frame(0, 0, [['other', 2, 3]], true));
    applyTo(state, frame(0, 9, []));
    const waiting = new ViewTable(viewId(1), 99);
    waiting.put(rowKeyOf(entityKey), 6, textOf(rowBytes(6, 0)));
    Object.assign(waiting, { generation: 2, whole: true, completeThroughUs: 9 });
    state.shards.get(0)!.served.successors.set(viewId(1), [waiting]);
    const disk = { rewrite: () => Promise.resolve() } as unknown as DiskKeeper;
    const place = { state, dead: new DeadRows(state), disk, clock: systemClock };
    const answer = await confirmErased(place, { logId, shard: 0, offset: 6, entityKey }, AbortSignal.timeout(5_000));
    expect(answer).toMatchObject({ rowsDropped: 1, rowsLeft: 0 });
    expect(waiting.rows.size).toBe(0);
  });

  it('leaves nothing on the disk of a generation that is read no more', async () => {
    const directory = join(root, 'retired');
    const store = await ReplicaStore.open({ stores: levelStores, directory, onDamage: () => undefined });
    const state = await store.load();
    const clock = systemClock;
    const conditions = new ConditionBoard({ clock, log: silentLogger });
    // Nothing is written by itself.
    const pace = { flushIntervalMs: 3_600_000, scrubIntervalMs: 0, scrubBytesPerS: 1 };
    const disk = new DiskKeeper({ store, state, clock, log: silentLogger, conditions, ...pace });
    state.learnShardCount(1);
    state.define(definitions(1, [countView(1)]));
    applyTo(state, frame(0, 0, [[MARKER, 1, 7]], true));
    applyTo(state, frame(0, 9, []));
    await disk.flush();
    const { served } = state.shards.get(0)!;
    served.table(viewId(1)).generation = 1;
    const successor = new ViewTable(viewId(1), 99);
    successor.put(rowKeyOf(encodeKey([Kind.STRING], ['other'])), 7, textOf(rowBytes(7, 1)));
    Object.assign(successor, { generation: 2, whole: true, completeThroughUs: 9 });
    served.adopt(successor);
    const place = { state, dead: new DeadRows(state), disk, clock };
    const answer = await confirmErased(place, { logId, shard: 0, offset: 6, entityKey }, AbortSignal.timeout(5_000));
    expect(answer).toMatchObject({ rowsDropped: 0, rowsLeft: 0 });
    expect(filesWith(directory, MARKER)).toEqual([]);
    await disk.close();
    await store.close();
  });

  it('waits until it is past the record and at rest; then no file has a byte of the entity', async () => {
    const directory = join(root, 'confirm');
    const store = await ReplicaStore.open({ stores: levelStores, directory, onDamage: () => undefined });
    const state = await store.load();
    const clock = systemClock;
    const conditions = new ConditionBoard({ clock, log: silentLogger });
    const pace = { flushIntervalMs: 5, scrubIntervalMs: 0, scrubBytesPerS: 1 };
    const disk = new DiskKeeper({ store, state, clock, log: silentLogger, conditions, ...pace });
    state.learnShardCount(1);
    state.define(definitions(1, [countView(1)]));
    applyTo(
      state,
      frame(
        0,
        0,
        [
          [MARKER, 1, 7],
          ['other', 2, 3],
        ],
        true,
      ),
    );
    applyTo(state, frame(0, 5, []));
    await disk.flush();
    expect(filesWith(directory, MARKER)).not.toEqual([]);
    const place = { state, dead: new DeadRows(state), disk, clock };
    const question = { logId, shard: 0, offset: 6, entityKey };
    await expect(confirmErased(place, question, AbortSignal.timeout(150)), 'not past it').rejects.toThrow();
    await expect(
      confirmErased(place, { ...question, offset: 3, logId: 'cd'.repeat(16) }, AbortSignal.timeout(5_000)),
    ).rejects.toMatchObject({ code: 'WRONG_LOG' });
    const alive = await confirmErased(place, { ...question, offset: 3 }, AbortSignal.timeout(5_000));
    expect(alive, 'an upstream that did not erase').toMatchObject({ rowsLeft: 1, rowsDropped: 0 });
    const confirmed = confirmErased(place, question, AbortSignal.timeout(5_000));
    applyTo(state, frame(5, 8, [[MARKER, 6, 0]]));
    expect(await confirmed).toEqual({ position: 8, rowsDropped: 1, rowsLeft: 0, laterRows: 0 });
    expect(filesWith(directory, MARKER)).toEqual([]);
    expect(state.rowCount).toBe(1);
    // It goes on, and what comes after the erase is a row like any other.
    applyTo(state, frame(8, 9, [[MARKER, 8, 1]]));
    expect(await confirmErased(place, question, AbortSignal.timeout(5_000))).toMatchObject({
      laterRows: 1,
      rowsLeft: 0,
    });
    await disk.close();
    await store.close();
    const again = await ReplicaStore.open({ stores: levelStores, directory, onDamage: () => undefined });
    expect((await again.load()).rowCount).toBe(2);
    await again.close();
  });
});
