/**
 * Goal: a shard's state returns to its floor by itself after its windows are over (F1, R4), contributions and all, and a
 * follower that comes late is not left with what was freed. Method: the real fold on a real LevelDB, rows that are inserted
 * and changed, then ticks until every window is over, and the clock moved from round to round.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import {
  COLUMNS,
  definitions as definitionsOf,
  feature,
  LIFETIME,
  type,
  view,
} from '@freshet/engine/testing/plans.testing.ts';
import { ChangeSchema, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { encodeRecord, encodeTick } from '@freshet/log/record-writer.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { expect, it } from 'vitest';
import { ShardRig } from '../testing/shard-rig.ts';
import type { Fold } from './fold-port.ts';
import { pauseMs, SWEEP_PACE } from './sweep-loop.ts';

const SECOND_US = 1_000_000;
const VIEW_ID = new Uint8Array(16).fill(1);
const TYPE = { kind: Kind.INT64 };

function definitions(): Uint8Array {
  const window = { kind: { case: 'rolling', value: { lengthUs: 10n * 1_000_000n, paneUs: 1_000_000n } } } as const;
  const columns = [{ name: 'n', type: TYPE }];
  const value = create(DefinitionSetSchema, {
    generation: 1n,
    routes: [{ route: 1, source: { mode: SourceMode.MUTABLE, contract: { version: 1, columns, primaryKey: ['n'] } } }],
    views: [
      {
        viewId: VIEW_ID,
        name: 'recent',
        route: 1,
        mode: SourceMode.MUTABLE,
        columns,
        features: [{ name: 'sum', aggregate: 'sum', input: 'n', inputType: TYPE, resultType: TYPE, window }],
        engineVersion: 1,
      },
    ],
  });
  return encodeRecord({ case: 'definitions', value });
}

function changeOf(i: number, atUs: number, operation: Operation): Uint8Array {
  const value = create(ChangeSchema, {
    route: 1,
    generation: 1,
    lane: 2,
    sequence: { major: BigInt(i + 1) },
    operation,
    entityKey: keyBytes(int64KeyString(BigInt(i % 20))),
    contractVersion: 1,
    row: [{ kind: { case: 'int64', value: BigInt(i) } }],
    eventTimeUs: BigInt(atUs),
    rowKey: new TextEncoder().encode(`row ${operation === Operation.UPDATE ? i - 500 : i}`),
  });
  return toBinary(LogRecordSchema, create(LogRecordSchema, { kind: { case: 'change', value } }));
}

it('goes slowly while records wait or a view is built, and not for one that cannot be', () => {
  const pause = (builds: readonly string[], lostBuilds: readonly string[], behind: number): number => {
    const fold = { builds: () => builds.map((viewId) => ({ viewId, position: 3 })) } as Partial<Fold> as Fold;
    return pauseMs({ fold, lostBuilds, position: 5, logEnd: 5 + behind }, SWEEP_PACE);
  };
  expect(pause([], [], 10)).toBe(SWEEP_PACE.pageMs);
  expect(pause(['a'], ['a'], 10)).toBe(SWEEP_PACE.pageMs);
  expect(pause(['a', 'b'], ['a'], 0)).toBeGreaterThan(SWEEP_PACE.pageMs);
  expect(pause([], [], 20_000)).toBeGreaterThan(SWEEP_PACE.pageMs);
});

it('F1 R4: frees states and contributions when their windows are over, a page at a time, and none before', async () => {
  const rig = await ShardRig.make({
    createFold: (options) => new ShardFold(options),
    createDigest: createStateDigest,
    versionOf: readVersion,
    limits: { cacheBytes: 5_000, sweep: { pageKeys: 7, pageBytes: 10_000, pageMs: 100, roundMs: 1_000 } },
  });
  try {
    const shard = await rig.open();
    const nowUs = rig.clock.nowUs();
    const place = { route: 1, generation: 1 };
    const begin = encodeRecord({ case: 'routeBegin', value: place });
    await rig.log.append(0, [definitions(), begin, encodeRecord({ case: 'snapshotEnd', value: place })]);
    const records = Array.from({ length: 1_000 }, (_, i) =>
      changeOf(i, nowUs, i < 500 ? Operation.INSERT : Operation.UPDATE),
    );
    await rig.log.append(0, records);
    await rig.settled();
    await rig.commit();
    const stored = (): number => [...shard.options.storage.keySets.values()].reduce((sum, { keys }) => sum + keys, 0);
    expect(stored()).toBe(40);
    expect(shard.fold.stats().keys).toBe(20);
    // A round before anything is over.
    for (let i = 0; i < 30; i++) await rig.clock.advance(SECOND_US / 10);
    await rig.commit();
    expect(stored()).toBe(40);
    await rig.clock.advance(20 * SECOND_US);
    await rig.log.append(0, [encodeTick()]);
    await rig.settled();
    const { digest } = await shard.digest();
    // Pages are read from a real disk, which the clock does not wait for.
    for (let i = 0; i < 2_000 && stored() + shard.fold.stats().keys > 0; i++) {
      await rig.clock.advance(SECOND_US / 10);
      await pause(1);
      if (i % 50 === 49) await rig.commit();
    }
    expect([stored(), shard.fold.stats().keys]).toEqual([0, 0]);
    // All state read through says the same: nothing is there that was not meant to be, and nothing shows.
    expect((await shard.digest()).digest).toEqual(digest);
    await rig.crash();
    const again = await rig.open();
    await rig.settled();
    expect((await again.digest()).digest).toEqual(digest);
  } finally {
    await rig.remove();
  }
});

it('frees what was erased from a view that looks back for ever though nobody asks for it, also after a crash', async () => {
  const rig = await ShardRig.make({
    createFold: (options) => new ShardFold(options),
    createDigest: createStateDigest,
    versionOf: readVersion,
    limits: { cacheBytes: 1, sweep: { pageKeys: 7, pageBytes: 10_000, pageMs: 100, roundMs: 1_000 } },
  });
  try {
    await rig.open();
    const place = { route: 1, generation: 1 };
    const value = definitionsOf(1, [view([feature('all', 'count', '', LIFETIME)])]);
    await rig.log.append(0, [
      encodeRecord({ case: 'definitions', value }),
      encodeRecord({ case: 'routeBegin', value: place }),
      encodeRecord({ case: 'snapshotEnd', value: place }),
      ...Array.from({ length: 20 }, (_, i) => eventOf(i)),
    ]);
    await rig.settled();
    await rig.commit();
    const stored = (): number =>
      [...rig.shard.options.storage.keySets.values()].reduce((sum, { keys }) => sum + keys, 0);
    const erase = async (i: number): Promise<void> => {
      const about = { entity: 'user', routes: [1], eraseId: `erase ${i}` };
      await rig.log.append(0, [encodeRecord({ case: 'erase', value: { ...about, entityKey: keyOf(i) } })]);
      await rig.settled();
      await rig.commit();
    };
    const sweptTo = async (count: number): Promise<void> => {
      for (let i = 0; i < 2_000 && stored() > count; i++) {
        await rig.clock.advance(SECOND_US / 10);
        await pause(1);
        if (i % 50 === 49) await rig.commit();
      }
      expect(stored()).toBe(count);
      expect(rig.shard.fold.row(Buffer.from(VIEW_ID).toString('hex'), int64KeyString(7n))).toBeDefined();
    };
    await erase(3);
    expect(stored()).toBe(20);
    await sweptTo(19);
    await erase(12);
    await rig.crash();
    await rig.open();
    await rig.settled();
    expect(stored()).toBe(19);
    await sweptTo(18);
  } finally {
    await rig.remove();
  }
});

const keyOf = (i: number): Uint8Array => keyBytes(int64KeyString(BigInt(i)));

function eventOf(i: number): Uint8Array {
  return encodeRecord({
    case: 'change',
    value: {
      route: 1,
      generation: 1,
      lane: 2,
      sequence: { major: BigInt(i + 1) },
      operation: Operation.INSERT,
      entityKey: keyOf(i),
      contractVersion: 1,
      row: COLUMNS.map(({ kind }) => valueToProto(type(kind), null)),
    },
  });
}
