/**
 * Views over rows that change, in every set of definitions of the simulations, and what each of their features must be in
 * the end: from the rows that the database has then, which know nothing of a log.
 *
 * What was joined is as of the statement that wrote the row, as long as the route began once only; a generation that is read
 * anew joins with the catalog as it is then, so that of these only whoever folds the log can tell (truth.ts).
 */
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { fromLatin1 } from '@freshet/replica/latin1.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { compareScalar } from '@freshet/values/compare.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import { centsOf, centsText } from './changes.ts';
import type { OrderRow } from './drawn-definitions.ts';
import type { Joined } from './sim-postgres.ts';
import { instantOf, type LiveTables, ORDERS, type SimRow, text } from './sim-tables.ts';

export const ORDER_SOURCES = `
kind: Source
name: orders
mode: mutable
postgres: { table: public.orders }
event_time: at
---
kind: Source
name: catalog
mode: mutable
postgres: { table: public.catalog }
`;

export const ORDER_VIEWS: readonly string[] = [
  `
kind: FeatureView
name: orders_now
entity: user
source: orders
features:
  n: { count: {} }
  spent: { sum: amount }
  weight: { sum: weight }
  low: { min: qty }
  high: { max: qty }
  middle: { mean: qty }
  spread: { variance: qty }
  n_20s: { count: {}, rolling: 20s }
  high_20s: { max: qty, rolling: 20s }
`,
  `
kind: FeatureView
name: orders_open
entity: user
source: orders
where: status == "open"
features:
  n: { count: {} }
  spent: { sum: amount }
`,
  `
kind: FeatureView
name: orders_brief
entity: user
source: orders
features:
  n: { count: {}, rolling: 6s }
  low: { min: qty, rolling: 6s }
  newest: { last: status, rolling: 6s }
`,
  `
kind: FeatureView
name: orders_fresh
entity: user
source: orders
features:
  n: { count: {}, ttl: 9s }
  high: { max: qty, ttl: 9s }
  low_4s: { min: qty, rolling: 4s, ttl: 9s }
`,
  `
kind: FeatureView
name: orders_joined
entity: user
source: orders
join:
  - table: catalog
    on: { sku: sku }
    columns: { factor: factor }
features:
  factors: { sum: factor }
  largest: { max: factor }
  largest_10s: { max: factor, rolling: 10s }
`,
];

/** What is needed to know what features must be. */
export interface OrdersTruth {
  readonly live: LiveTables;
  readonly joined: ReadonlyMap<string, Joined>;
  /** The point of the only snapshot that the routes began with, and the catalog then; undefined: there were others. */
  readonly snapshotAt: { readonly lsn: bigint; readonly factors: ReadonlyMap<string, string> } | undefined;
  readonly users: number;
  readonly nowUs: number;
  /** The newest log time of each partition. */
  readonly logTimesUs: readonly number[];
}

type Value = bigint | number | string | null;

/** Which feature of a user is not what the database's rows say, in words; undefined: none is. */
export function unsettledOrders({ catalog }: Replica, truth: OrdersTruth): string | undefined {
  const byUser = Map.groupBy(truth.live.rows(ORDERS).values(), (row) => Number(text(row, 'user_id')));
  const { users, nowUs, logTimesUs } = truth;
  for (let user = 1; user <= users; user++) {
    const key = int64KeyString(BigInt(user));
    const partition = partitionOfKeyString(key, logTimesUs.length);
    // An event that is too late by the log's time counts for nobody: what is asked is not before that time.
    const atUs = Math.max(nowUs, logTimesUs[partition] ?? 0);
    for (const [name, values] of expectedOf(byUser.get(user) ?? [], truth, atUs)) {
      const view = catalog.views.get(name);
      if (view === undefined) return `view ${name} is not served`;
      const row = view.tables[partition]?.rows.get(rowKeyOfText(key));
      const layout = rowLayout(view.plan);
      const isThere = row !== undefined && row.bytes !== '';
      const answers = isThere ? valuesAt(decodeRow(fromLatin1(row.bytes), layout.types), atUs, layout) : undefined;
      for (const [feature, expected] of values) {
        const answer = answers?.[view.plan.features.findIndex((candidate) => candidate.name === feature)];
        // A user without a row: a count of 0, and nothing else.
        const unseen = feature === 'n' || feature === 'n_20s' ? 0n : null;
        const value = answer === undefined ? unseen : answer.status === ValueStatus.ABSENT ? null : answer.value;
        const isSame =
          typeof expected === 'string' && typeof value === 'string'
            ? compareScalar(Kind.DECIMAL, value, expected) === 0
            : value === expected;
        if (!isSame) return `${name}:${feature} of user ${user} is ${String(value)}, the database says ${expected}`;
      }
    }
  }
  return undefined;
}

/** The rows as they are, for views that are drawn. */
export function orderRows(live: LiveTables): OrderRow[] {
  return [...live.rows(ORDERS).values()].map((row) => ({
    user: Number(text(row, 'user_id')),
    qty: row['qty'] === null ? null : Number(row['qty']),
  }));
}

function valuesMap(values: readonly (readonly [feature: string, value: Value])[]): ReadonlyMap<string, Value> {
  return new Map(values);
}

function expectedOf(
  rows: readonly SimRow[],
  truth: OrdersTruth,
  atUs: number,
): Map<string, ReadonlyMap<string, Value>> {
  const open = rows.filter((row) => row['status'] === 'open');
  const since = (us: number): SimRow[] => {
    const fromUs = Math.floor((atUs - us) / PANE_US) * PANE_US;
    return rows.filter((row) => instantOf(text(row, 'at')) >= fromUs);
  };
  const quantities = quantitiesOf(rows);
  const expected = new Map<string, ReadonlyMap<string, Value>>([
    [
      'orders_now',
      valuesMap([
        ['n', BigInt(rows.length)],
        ['spent', spentOf(rows)],
        ['weight', weightOf(rows)],
        ['low', lowest(quantities)],
        ['high', quantities.length === 0 ? null : BigInt(Math.max(...quantities))],
        ['middle', quantities.length === 0 ? null : sumOf(quantities) / quantities.length],
        ['spread', quantities.length < 2 ? null : varianceOf(quantities)],
        ['n_20s', BigInt(since(20_000_000).length)],
        ['high_20s', highest(quantitiesOf(since(20_000_000)))],
      ]),
    ],
    [
      'orders_open',
      valuesMap([
        ['n', BigInt(open.length)],
        ['spent', spentOf(open)],
      ]),
    ],
    ['orders_brief', valuesMap([['n', BigInt(since(6_000_000).length)]])],
    [
      'orders_fresh',
      valuesMap([
        ['n', isStale(rows, atUs) ? null : BigInt(rows.length)],
        ['high', isStale(rows, atUs) ? null : highest(quantities)],
        // Its window is over before the ttl.
        ['low_4s', lowest(quantitiesOf(since(4_000_000)))],
      ]),
    ],
  ]);
  const { snapshotAt } = truth;
  if (snapshotAt === undefined) return expected;
  const factors = rows.flatMap((row) => factorOf(row, truth, snapshotAt) ?? []).map(Number);
  const sum = factors.length === 0 ? null : BigInt(sumOf(factors));
  return expected.set(
    'orders_joined',
    valuesMap([
      ['factors', sum],
      ['largest', highest(factors)],
    ]),
  );
}

const TTL_US = 9_000_000;

/** Whether there were rows, and the newest that is left is older than the ttl. */
function isStale(rows: readonly SimRow[], atUs: number): boolean {
  return rows.length > 0 && atUs >= Math.max(...rows.map((row) => instantOf(text(row, 'at')))) + TTL_US;
}

/** All windows of the views have panes of a second. */
const PANE_US = 1_000_000;

/** What the row was joined with. */
function factorOf(
  row: SimRow,
  { joined }: OrdersTruth,
  { lsn, factors }: NonNullable<OrdersTruth['snapshotAt']>,
): string | undefined {
  const written = joined.get(text(row, 'id'));
  return written === undefined || written.commitLsn < lsn ? factors.get(text(row, 'sku')) : written.factor;
}

function quantitiesOf(rows: readonly SimRow[]): number[] {
  return rows.flatMap((row) => (row['qty'] === null ? [] : Number(row['qty'])));
}

function highest(values: readonly number[]): bigint | null {
  return values.length === 0 ? null : BigInt(Math.max(...values));
}

function lowest(values: readonly number[]): bigint | null {
  return values.length === 0 ? null : BigInt(Math.min(...values));
}

function spentOf(rows: readonly SimRow[]): string | null {
  return rows.length === 0 ? null : centsText(sumOf(rows.map(centsOf)));
}

/** Exact in units of 2^-10, rounded once. */
function weightOf(rows: readonly SimRow[]): number | null {
  if (rows.length === 0) return null;
  const units = rows.reduce((sum, row) => sum + BigInt(Number(text(row, 'weight')) * 1024), 0n);
  return Number(units) / 1024;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Of the sample; every step but the last is of safe integers. */
function varianceOf(values: readonly number[]): number {
  const n = values.length;
  return (n * sumOf(values.map((value) => value * value)) - sumOf(values) ** 2) / (n * (n - 1));
}
