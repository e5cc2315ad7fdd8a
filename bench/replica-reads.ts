/**
 * Reads of a replica in the reader's own process: rows of 10 features by random keys, every value as a JavaScript value,
 * per second of processor time (all threads of the process, so that collecting garbage counts); against a bare Map from key to a plain object with ten properties, in the same run. The Map
 * is wrong (its values never change by themselves) and is the least that a lookup must do.
 *
 * `rows_s` is for keys that are spread over all rows, so that nearly each is decoded anew; `hot_rows_s` for keys among
 * 10,000, whose values of the moment are kept decoded. `batch_rows_s` is for keys spread over all rows that are asked for
 * a hundred at a time.
 */
import { freemem } from 'node:os';
import { create, toBinary } from '@bufbuild/protobuf';
import { featureGroups } from '@freshet/engine/state/view-plan.ts';
import { type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toLatin1 } from '@freshet/replica/latin1.ts';
import { RowBatch } from '@freshet/replica/row-batch.ts';
import { partitionOfInt64 } from '@freshet/replica/row-key.ts';
import { rowLayout } from '@freshet/replica/row-layout.ts';
import { RowReader } from '@freshet/replica/row-reader.ts';
import { ViewTable } from '@freshet/replica/view-table.ts';
import type { BenchResult } from './main.ts';
import { interleave, round } from './statistics.ts';

const SHARDS = 8;
const HOT_KEYS = 10_000;
const READS = 500_000;
const BATCH = 100;
// A million rows and a million objects need about 1.5 GiB.
const ROOMY_BYTES = 3 * 1024 ** 3;
const SECOND = 1_000_000n;
const NOW_S = 1_790_000_000n;

export async function benchReplicaReads(runs: number): Promise<BenchResult> {
  const keys = freemem() >= ROOMY_BYTES ? 1_000_000 : 200_000;
  const view = plan();
  const layout = rowLayout(view);
  const tables = Array.from({ length: SHARDS }, (_, shard) => new ViewTable('', shard));
  const objects = new Map<string, Record<string, number>>();
  // The bytes of a thousand different rows; every key has a copy of its own, as it has in a replica.
  const rows = Array.from({ length: 1000 }, (_, i) => row(view, i));
  const names = view.features.map(({ name }) => name);
  for (let key = 0; key < keys; key++) {
    tables[partitionOfInt64(key, SHARDS)]?.put(key, key, toLatin1(rows[key % rows.length] ?? new Uint8Array(0)));
    objects.set(`user:${key}`, Object.fromEntries(names.map((name, i) => [name, key * 1.5 + i])));
  }
  const reader = new RowReader();
  const tUs = Number(NOW_S * SECOND);
  const random = numbers(7);
  const subject = (among: number) => async () =>
    perSecond(() => {
      const key = random(among);
      const step = reader.read(tables[partitionOfInt64(key, SHARDS)] as ViewTable, layout, key, tUs);
      let sum = 0;
      for (let f = 0; f < names.length; f++) sum += step.value(f) as number;
      return sum;
    });
  const baseline = (among: number) => async () =>
    perSecond(() => {
      const object = objects.get(`user:${random(among)}`) ?? {};
      let sum = 0;
      for (let f = 0; f < names.length; f++) sum += object[names[f] as string] ?? 0;
      return sum;
    });
  const batch = new RowBatch();
  const asked = { keys: new Array<number>(BATCH).fill(0), shards: new Array<number>(BATCH).fill(0) };
  const batches = async (): Promise<number> =>
    BATCH *
    perSecond(() => {
      for (let i = 0; i < BATCH; i++) {
        const key = random(keys);
        asked.keys[i] = key;
        asked.shards[i] = partitionOfInt64(key, SHARDS);
      }
      reader.readAll(batch, { tables, layout }, asked, tUs);
      let sum = 0;
      for (let i = 0; i < BATCH; i++) {
        for (let f = 0; f < names.length; f++) sum += batch.steps[i]?.value(f) as number;
      }
      return sum;
    }, READS / BATCH);
  const spread = await interleave(runs, subject(keys), baseline(keys));
  const together = await interleave(runs, batches, baseline(keys));
  const hot = await interleave(runs, subject(HOT_KEYS), baseline(HOT_KEYS));
  return {
    keys,
    row_bytes: rows[0]?.length ?? 0,
    rows_s: Math.round(spread.subject),
    map_s: Math.round(spread.baseline),
    ratio: round(spread.ratio, 3),
    batch_rows_s: Math.round(together.subject),
    batch_ratio: round(together.ratio, 3),
    hot_rows_s: Math.round(hot.subject),
    hot_map_s: Math.round(hot.baseline),
    hot_ratio: round(hot.ratio, 3),
  };
}

/** Calls per second of processor time. */
function perSecond(read: () => number, times = READS): number {
  let sum = 0;
  const before = process.cpuUsage();
  for (let i = 0; i < times; i++) sum += read();
  const { user, system } = process.cpuUsage(before);
  // The sum is used, or the reads could be left out by the compiler.
  if (Number.isNaN(sum)) throw new Error('a value is not a number');
  return (times / (user + system)) * 1e6;
}

/** The same numbers below a bound in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Ten features over four windows, as the serve benchmark has them. */
function plan(): ViewPlan {
  const rolling = (lengthS: bigint, paneS: bigint) => ({
    kind: { case: 'rolling' as const, value: { lengthUs: lengthS * SECOND, paneUs: paneS * SECOND } },
  });
  const minutes = rolling(300n, 5n);
  const hour = rolling(3600n, 60n);
  const day = rolling(86_400n, 1440n);
  const lifetime = { kind: { case: 'lifetime' as const, value: {} } };
  const feature = (name: string, aggregate: string, window: typeof hour | typeof lifetime, kind: Kind) => ({
    name,
    aggregate,
    window,
    ...(aggregate === 'count' ? {} : { inputType: { kind } }),
    resultType: { kind },
  });
  return create(ViewPlanSchema, {
    viewId: new Uint8Array(16).fill(1),
    name: 'stats',
    entity: { name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] },
    features: [
      feature('n_5m', 'count', minutes, Kind.INT64),
      feature('n_1h', 'count', hour, Kind.INT64),
      feature('n_24h', 'count', day, Kind.INT64),
      feature('n', 'count', lifetime, Kind.INT64),
      feature('spend_1h', 'sum', hour, Kind.DOUBLE),
      feature('spend_24h', 'sum', day, Kind.DOUBLE),
      feature('mean_24h', 'mean', day, Kind.DOUBLE),
      feature('most_24h', 'max', day, Kind.DOUBLE),
      feature('items_24h', 'sum', day, Kind.INT64),
      feature('last_at', 'last', lifetime, Kind.TIMESTAMP),
    ],
  });
}

/** A row with six dated changes in every rolling window. */
function row(view: ViewPlan, seed: number): Uint8Array {
  const STEPS = 6;
  const values = Array.from({ length: STEPS + 1 }, (_, i) => STEPS - i);
  const timelines = featureGroups(view.features).map((features) => {
    const window = view.features[features[0] ?? 0]?.window?.kind;
    const paneUs = window?.case === 'rolling' ? window.value.paneUs : undefined;
    const here = paneUs === undefined ? values.slice(0, 1) : values;
    const columns = features.map((f) => {
      const kind = view.features[f]?.resultType?.kind;
      if (kind === Kind.DOUBLE) return { doubles: here.map((value) => value * 1.37 + (seed % 97)) };
      if (kind === Kind.TIMESTAMP) return { timestamps: here.map((value) => NOW_S * SECOND - BigInt(value)) };
      return { int64s: here.map(BigInt) };
    });
    if (paneUs === undefined) return { unitUs: 1n, columns };
    const firstStep = (NOW_S * SECOND) / paneUs + 1n + BigInt(seed % 50);
    return { unitUs: paneUs, firstStep, gaps: new Array<bigint>(STEPS - 1).fill(3n), hasSteps: true, columns };
  });
  return toBinary(
    RowSchema,
    create(RowSchema, { version: 1n, logTimeUs: NOW_S * SECOND, eventTimeUs: NOW_S * SECOND, timelines }),
  );
}
