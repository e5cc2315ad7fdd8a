/**
 * Goal: F1, F3 and R1 whenever a node dies: the same rows, versions and digest as if it never had, and a follower that
 * misses nothing and never sees a row change at one version.
 * Method: a history of commits, checkpoints, views that go and come, values that are damaged and keys that vanish, on stores
 * and files in memory that number every I/O. It is run once undisturbed, then once for each I/O: the process is
 * killed just before it, or the machine crashes, keeping some of what was not synced; the node is started again and the
 * history goes on. There are two histories: one of a fold of a few lines, with rows that go, and one of the
 * engine's fold, with contributions, joined tables, truncations, sweeps and an erase (../testing/engine-history.ts). Of the second
 * some of the I/Os that change something are tried here. FRESHET_FUZZ_RUNS=10: all of them, and crashes with every number of kept batches.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { LogBatch } from '@freshet/log/log.ts';
import type { MemoryDisk } from '@freshet/store/memory-store.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { describe, expect, it } from 'vitest';
import { changeRecord, createCountingFold, definitionsRecord, tickRecord } from '../testing/counting-fold.ts';
import { ENGINE_HISTORY, freedBySweeps } from '../testing/engine-history.ts';
import {
  damageAt,
  type Ending,
  type History,
  type Keep,
  MORTAL_STORE,
  MortalMachine,
  type Stage,
} from '../testing/mortal-machine.ts';
import { SteppedLog } from '../testing/stepped-log.ts';
import { COUNTING_FORMAT } from '../testing/test-storage.ts';

const IS_LONG = Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1') >= 10;
/** Of the engine's history every second I/O that changes something is tried, unless all are: one way the even ones, the other the odd. */
const SHARE = 2;
/** Keys of both histories are below. */
const KEYS_MAX = 10;

const add = (key: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(key)));
const remove = (key: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(key)), Operation.DELETE);
const views = (generation: number, ...ns: number[]): Uint8Array =>
  definitionsRecord(
    generation,
    ns.map((n) => ({ n, route: 0 })),
  );

const RECORDS = [
  [views(1, 0), ...[1, 2, 3, 4, 5].map(add), tickRecord()],
  [add(1), add(6), remove(2)],
  [add(3), remove(4), views(2, 0, 1)],
  [add(7), add(1), tickRecord()],
  [add(3), add(5)],
  [remove(6), add(2), views(3, 1)],
  [add(8), views(4, 0, 1), add(8), tickRecord()],
];
const ends = RECORDS.map((_, i) => RECORDS.slice(0, i + 1).flat().length);
const STAGES: readonly Stage[] = [
  { show: must(ends[0]), act: 'commit' },
  { show: must(ends[1]), act: 'checkpoint' },
  { show: must(ends[2]), act: 'commit' },
  { show: must(ends[2]), act: { harm: (stores) => damageAt(stores, stateKeys(stores, 1)[0]) } },
  { show: must(ends[3]), act: 'commit' },
  { show: must(ends[4]), act: 'checkpoint' },
  { show: must(ends[4]), act: { harm: lose } },
  { show: must(ends[5]), act: 'checkpoint' },
  { show: must(ends[6]), act: 'commit' },
  { show: must(ends[6]), act: 'nothing' },
];

const COUNTING_HISTORY: History = {
  records: RECORDS.flat(),
  stages: STAGES,
  createFold: createCountingFold,
  format: COUNTING_FORMAT,
  views: 2,
};

function stateKeys(stores: MemoryDisk, key: number): string[] {
  const end = int64KeyString(key);
  return stores.keysOf(MORTAL_STORE).filter((name) => name.startsWith('s') && name.endsWith(end));
}

function lose(stores: MemoryDisk): void {
  // Of the view that stays.
  const key = stateKeys(stores, 3).at(-1);
  if (key !== undefined) stores.lose(MORTAL_STORE, key, false);
}

/** The ways to die at an I/O. */
function deaths(): ((at: number) => Keep)[] {
  const ways: ((at: number) => Keep)[] = [() => undefined, (at) => (unsynced) => at % (unsynced + 1)];
  if (IS_LONG) for (let kept = 0; kept < 12; kept++) ways.push(() => (unsynced) => Math.min(unsynced, kept));
  return ways;
}

/** The rows of a fold of all records in memory, which nothing cuts. */
async function uncut({ records, timeUsOf, createFold, isDead }: History): Promise<Map<string, Map<string, string>>> {
  const log = new SteppedLog(records, timeUsOf);
  log.show(records.length);
  const { value } = await log.read(0, 0, new AbortController().signal).next();
  const { entries } = value as LogBatch;
  const cold = { load: () => undefined };
  const fold = createFold({ cold, cacheBytes: Number.MAX_SAFE_INTEGER, meta: undefined });
  for (const entry of entries) {
    while (fold.foldSome([entry]) === 0);
    for (const build of fold.builds()) fold.foldBuild(build.viewId, entries.slice(build.position, fold.position));
  }
  const rows = new Map<string, Map<string, string>>();
  for (const viewId of fold.completeViews()) {
    const there = new Map<string, string>();
    for (let key = 1; key <= KEYS_MAX; key++) {
      const found = fold.row(viewId, int64KeyString(key));
      if (found === undefined) continue;
      const row = { version: found.version, row: Buffer.from(found.bytes).toString('latin1') };
      if (isDead?.(viewId, row) !== true) there.set(int64KeyString(key), `${row.version} ${row.row}`);
    }
    rows.set(viewId, there);
  }
  return rows;
}

/** Lives once without dying, and once for each I/O, or some of those that change something, and each way to die there. */
async function dieAtEach(history: History, isAll: boolean): Promise<{ ios: number; repairs: number }> {
  const undisturbed = new MortalMachine(history, -1, undefined);
  const expected = await undisturbed.live();
  const { ios, changing } = undisturbed;
  expect(expected.rows).toEqual(await uncut(history));
  expect(expected.rows.size).toBe(history.views);
  for (const rows of expected.rows.values()) expect(rows.size).toBeGreaterThan(1);
  for (const [way, keepOf] of deaths().entries()) {
    const points = isAll
      ? Array.from({ length: ios }, (_, at) => at)
      : changing.filter((_, i) => i % SHARE === way % SHARE);
    for (const at of points) {
      const machine = new MortalMachine(history, at, keepOf(at));
      const found = await machine.live().catch((error: unknown) => error);
      const where = `way ${way} of dying at I/O ${at}`;
      expect(found instanceof Error ? `${where}: ${found.stack}` : '', where).toBe('');
      const { repairs, ...ending } = found as Ending;
      expect(ending, where).toEqual({ digest: expected.digest, rows: expected.rows });
      // Power that goes may take the newest commits, and a store that is behind its checkpoint is made anew; a kill takes nothing.
      if (keepOf(at) === undefined) expect(repairs, where).toBeLessThanOrEqual(expected.repairs);
      expect(machine.deaths, where).toBe(1);
    }
  }
  return { ios, repairs: expected.repairs };
}

describe('a node that dies', () => {
  it('F1, F3, R1: at any I/O, by itself or with its machine, goes on as if it had not', async () => {
    const { ios, repairs } = await dieAtEach(COUNTING_HISTORY, true);
    expect(repairs).toBe(2);
    expect(ios).toBeGreaterThan(150);
  });

  it('F1, F3, R1: with the engine: contributions, joined tables, truncations, sweeps and erases come whole or not at all', async () => {
    const { ios, repairs } = await dieAtEach(ENGINE_HISTORY, IS_LONG);
    expect(repairs).toBe(2);
    expect(ios).toBeGreaterThan(300);
    expect(freedBySweeps()).toBeGreaterThan(0);
  });
});
