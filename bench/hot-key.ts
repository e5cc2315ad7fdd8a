/**
 * What it costs the fold to take extremes out of a key with very many live rows of a mutable source: the greatest value, the
 * newest row, the greatest value of one pane after another. Beside it, in the same fold, updates that take out no extreme.
 * In memory, one core, processor time of the folding thread.
 */
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { type FoldEntry, ShardFold } from '@freshet/engine/shard-fold.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeChange, encodeRecord } from '@freshet/log/record-writer.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { BENCH_CONTRACT, BENCH_START_US, benchDefinitions } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { rowKey } from './mutable-workload.ts';
import { median, round } from './statistics.ts';

const ROWS = 100_000;
/** Of extremes and of other rows: how many are changed, after one extreme whose time is told by itself. */
const EXTREMES = 500;
const OTHERS = 5_000;
const BATCH = 2000;
/** The rows' event times are spread over this much. */
const SPREAD_US = 3_000_000_000;

const CASES = {
  max: '{ max: amount, lifetime: {} }',
  newest: '{ last: amount, lifetime: {} }',
  panes: '{ max: amount, rolling: 1h }',
} as const;

type Case = keyof typeof CASES;

interface Row {
  readonly id: number;
  readonly amount: number;
  readonly atUs: number;
}

interface Folded {
  readonly firstUs: number;
  readonly takeOutUs: number;
  readonly updateUs: number;
}

export async function benchHotKey(runs: number): Promise<BenchResult> {
  const names = Object.keys(CASES) as Case[];
  const folded = new Map<Case, Folded[]>(names.map((name) => [name, []]));
  for (let run = 0; run < runs; run++) for (const name of names) must(folded.get(name)).push(foldCase(name));
  const result: Record<string, number> = { rows: ROWS };
  for (const [name, all] of folded) {
    for (const what of ['firstUs', 'takeOutUs', 'updateUs'] as const) {
      result[`${name}_${what}`] = round(median(all.map((one) => one[what])), 1);
    }
  }
  return result;
}

function foldCase(name: Case): Folded {
  const rows = rowsOfKey();
  const log = new Changes(name);
  for (const row of rows) log.add(Operation.INSERT, row);
  const fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 2 ** 40 });
  for (let at = 0; at < log.entries.length; at += BATCH) fold.fold(log.entries.slice(at, at + BATCH));
  globalThis.gc?.();
  const timed = (change: () => void): number => {
    change();
    const from = fold.position;
    const cpu = process.threadCpuUsage();
    fold.fold(log.entries.slice(from));
    const { user, system } = process.threadCpuUsage(cpu);
    return (user + system) / (log.entries.length - from);
  };
  const extremes = extremesOf(name, rows);
  const others = rows.filter((row) => !extremes.includes(row)).filter(({ id }) => id % 10 === 0);
  // Half are deleted, half are updated to something that is no extreme.
  const takeOut = (row: Row, index: number): void => {
    if (index % 2 === 0) log.add(Operation.DELETE, row);
    else log.add(Operation.UPDATE, { ...row, amount: 0, atUs: name === 'newest' ? BENCH_START_US : row.atUs });
  };
  const firstUs = timed(() => takeOut(must(extremes[0]), 0));
  const takeOutUs = timed(() => extremes.slice(1).forEach(takeOut));
  const updateUs = timed(() => {
    for (const row of others.slice(0, OTHERS)) log.add(Operation.UPDATE, { ...row, amount: 1 });
  });
  return { firstUs, takeOutUs, updateUs };
}

/** Amounts in no order; times ascend. */
function rowsOfKey(): Row[] {
  return Array.from({ length: ROWS }, (_, id) => ({
    id,
    amount: 2 + ((id * 61_803) % ROWS),
    atUs: BENCH_START_US + Math.floor((id / ROWS) * SPREAD_US),
  }));
}

/** Rows that are an extreme when all before them are gone. */
function extremesOf(name: Case, rows: readonly Row[]): Row[] {
  if (name === 'newest') return rows.slice(-EXTREMES - 1).reverse();
  const byAmount = rows.toSorted((a, b) => b.amount - a.amount);
  if (name === 'max') return byAmount.slice(0, EXTREMES + 1);
  const panes = [...Map.groupBy(byAmount, ({ atUs }) => Math.floor(atUs / 60_000_000)).values()];
  return Array.from({ length: EXTREMES + 1 }, (_, i) => must(panes[i % panes.length]?.[Math.floor(i / panes.length)]));
}

/** The log of a partition with one route and one entity. */
class Changes {
  readonly entries: FoldEntry[] = [];
  readonly #types = BENCH_CONTRACT.columns.map((column) => must(column.type));
  readonly #entityKey = encodeKey([Kind.INT64], [1n]);

  constructor(name: Case) {
    const contract = { ...BENCH_CONTRACT, primaryKey: ['id', 'user_id'] };
    const definitions = parseDefinitions([
      { path: 'bench.yaml', text: benchDefinitions('mutable', `f: ${CASES[name]}`) },
    ]);
    const contracts = new Map([['activity', contract]]);
    const value = resolveDefinitions({ definitions, contracts, previous: undefined }).resolved;
    this.#append(encodeRecord({ case: 'definitions', value }));
    this.#append(encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
    this.#append(encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
  }

  add(operation: Operation, { id, amount, atUs }: Row): void {
    const head = {
      route: 1,
      generation: 1,
      lane: 2,
      major: this.entries.length,
      minor: 0,
      operation,
      entityKey: this.#entityKey,
      contractVersion: 1,
      eventTimeUs: atUs,
      rowKey: rowKey(id),
    };
    const values = operation === Operation.DELETE ? [] : [BigInt(id), 1n, 'click', amount, BigInt(atUs)];
    this.#append(encodeChange(head, values, this.#types));
  }

  /** Log time stands still, so that all panes stay in reach. */
  #append(record: Uint8Array): void {
    const logTimeUs = BENCH_START_US + SPREAD_US;
    this.entries.push({ offset: this.entries.length, logTimeUs, record, crc: 0 });
  }
}
