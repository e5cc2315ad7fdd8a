/**
 * Goal: a record that needs many reads of a shard's store is come to in parts, live and in a build, with turns for everybody else
 * in between, and nothing is left out or folded twice (F3, R4). Method: a shard with the engine's fold on real LevelDB, made so that it
 * reads every key in parts; what each call folded is written down, and so is each turn.
 */
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { feature, LIFETIME, userKey, view, viewHex } from '@freshet/engine/testing/plans.testing.ts';
import { begin, define, Script, snapshotEnd } from '@freshet/engine/testing/script.testing.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import { afterEach, expect, it } from 'vitest';
import { append, makeRig, removeRigs } from '../testing/following.ts';
import type { ShardRig } from '../testing/shard-rig.ts';

afterEach(removeRigs);

const MUTABLE = { mode: SourceMode.MUTABLE };
const COUNT = view([feature('count', 'count', '', LIFETIME)], MUTABLE);
const MAX = view([feature('max', 'max', 'n', LIFETIME)], { ...MUTABLE, id: 2 });
const ROWS = 400;

it('F3, R4: the live fold and a build give others a turn before they have read all of a key', async () => {
  /** How many records each call folded, of how many. */
  const live: [number, number][] = [];
  /** Of the build, how many calls stopped before the end of what they were given. */
  let stopped = 0;
  const rig = await makeRig({
    createFold: (options) => {
      const fold = new ShardFold({ ...options, unknownMax: 2 });
      const foldSome = fold.foldSome.bind(fold);
      const foldBuild = fold.foldBuild.bind(fold);
      return Object.assign(fold, {
        foldSome: (entries: Parameters<typeof foldSome>[0]): number => {
          const count = foldSome(entries);
          live.push([count, entries.length]);
          return count;
        },
        foldBuild: (...given: Parameters<typeof foldBuild>): void => {
          foldBuild(...given);
          const end = (given[1].at(-1)?.offset ?? -1) + 1;
          if ((fold.builds()[0]?.position ?? end) < end) stopped++;
        },
      });
    },
    createDigest: createStateDigest,
    versionOf: readVersion,
  });
  const script = new Script().add(define(1, COUNT)).add(begin(1, 1)).add(snapshotEnd(1, 1));
  let sequence = 0;
  const change = (operation: Operation, row: number): void => {
    const values = operation === Operation.DELETE ? {} : { row: { n: BigInt(row) } };
    script.change({ sequence: ++sequence, rowKey: `row ${row}`, operation, ...values });
  };
  let told = 0;
  const tell = async (): Promise<void> => {
    const records = script.entries.slice(told).map(({ record }) => record);
    told = script.entries.length;
    await append(rig, records);
  };
  for (let row = 0; row < ROWS; row++) change(Operation.INSERT, row);
  await tell();
  expect(live.every(([count, of]) => count === of)).toBe(true);

  await rig.commit();
  await rig.crash();
  await rig.open();
  live.length = 0;
  // Between others, so that a call stops within what it was given.
  change(Operation.INSERT, ROWS);
  for (let row = 1; row < 100; row++) change(Operation.DELETE, ROWS - row);
  await tell();
  expect(live.some(([count, of]) => count > 0 && count < of)).toBe(true);
  const { position } = rig.shard;
  expect(position).toBe(script.entries.length);
  expect(live.reduce((sum, [count]) => sum + count, 0)).toBe(100);

  // A view that comes later reads the same rows again.
  script.add(define(2, COUNT, MAX));
  await tell();
  expect(stopped).toBeGreaterThan(0);

  const whole = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 1e9 });
  const entries = await readAll(rig);
  whole.fold(entries);
  for (let [build] = whole.builds(); build !== undefined; [build] = whole.builds()) {
    whole.foldBuild(build.viewId, entries.slice(build.position));
  }
  for (const id of [1, 2]) {
    const row = rig.shard.row(viewHex(id), userKey(1));
    expect(row).toBeDefined();
    expect(row).toEqual(whole.row(viewHex(id), userKey(1)));
  }
});

async function readAll({ log, shard }: ShardRig): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const batch of log.read(0, 0, new AbortController().signal)) {
    for (const entry of batch.entries) entries.push({ ...entry, record: entry.record.slice() });
    if (entries.length >= shard.position) break;
  }
  return entries;
}
