/**
 * A history for the engine's own fold, with everything that is committed in a way of its own: contributions of a mutable
 * source (inserts, updates, deletes, keys that change, a truncation, more rows of one key than a leaf takes), rows of a
 * joined table, a view that comes later and is built, one that goes and comes again, a route that begins anew, an
 * erase with all that is done about one, log time in which windows end and sweeps free what they can, and damage.
 *
 * Owns the records and when what is done. Does not own what must come of it: a life that nothing disturbs says that.
 */
import { create } from '@bufbuild/protobuf';
import { isDeadRow, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout } from '@freshet/engine/rows/row-reader.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import {
  type ChangeOptions,
  COLUMNS,
  change,
  encodeRecord,
  feature,
  LIFETIME,
  rolling,
  SECOND_US,
  START_US,
  type TestRow,
  type,
  userKey,
  view,
} from '@freshet/engine/testing/plans.testing.ts';
import { begin, snapshotEnd } from '@freshet/engine/testing/script.testing.ts';
import { Operation, SequenceSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type JoinPlan, JoinPlanSchema, type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { encodeTick } from '@freshet/log/record-writer.ts';
import type { MemoryDisk } from '@freshet/store/memory-store.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { isTableRows } from '../core/fold-port.ts';
import { ENGINE_FORMAT } from '../io/engine.ts';
import { type Act, damageAt, type History, MORTAL_STORE, type Stage } from './mortal-machine.ts';

const { INSERT, READ, UPDATE, DELETE } = Operation;
const ORDERS = 1;
const CATALOG = 2;
const EVENTS = 3;
const SNAPSHOT = 1;
const SLOT = 2;

const TABLE = [
  ['code', Kind.STRING],
  ['price', Kind.INT64],
] as const;

const MINUTE = rolling(60, 10);
/** Of a mutable source, in windows only: its states and contributions are swept. */
const RECENT = view(
  [feature('n', 'count', '', MINUTE), feature('most', 'max', 'n', MINUTE), feature('last', 'last', 's', MINUTE)],
  { id: 1, route: ORDERS, mode: SourceMode.MUTABLE },
);
/** Of appended events, joined with the catalog; some in windows. */
const PRICED = joined(2, EVENTS, SourceMode.APPEND, [
  feature('n', 'count', '', LIFETIME),
  feature('sum', 'sum', 'price', LIFETIME, { inputType: type(Kind.INT64) }),
]);
/** Of a mutable source joined with the catalog, forever. */
const WORTH = joined(3, ORDERS, SourceMode.MUTABLE, [
  feature('n', 'count', '', LIFETIME),
  feature('sum', 'sum', 'price', LIFETIME, { inputType: type(Kind.INT64) }),
  feature('total', 'sum', 'd', LIFETIME),
]);
const VIEWS = [RECENT, PRICED, WORTH];

function joined(id: number, route: number, mode: SourceMode, features: ViewPlan['features']): ViewPlan {
  const joins: JoinPlan[] = [
    create(JoinPlanSchema, {
      table: 'catalog',
      route: CATALOG,
      broadcast: true,
      on: [{ column: 's', key: { name: 'code', kind: Kind.STRING } }],
      columns: [{ name: 'price', column: { name: 'price', type: type(Kind.INT64) } }],
    }),
  ];
  return create(ViewPlanSchema, { ...view([], { id, route, mode }), features, joins, engineVersion: 2 });
}

function define(generation: number, ...views: ViewPlan[]): Uint8Array {
  const rows = COLUMNS.map(({ name, kind }) => [name, kind] as const);
  const source = (name: string, mode: SourceMode, columns: readonly (readonly [string, Kind])[], key: string[]) => ({
    name,
    mode,
    contract: {
      version: 1,
      columns: columns.map(([column, kind]) => ({ name: column, type: type(kind), nullable: true })),
      primaryKey: key,
    },
  });
  return encodeRecord({
    case: 'definitions',
    value: {
      generation: BigInt(generation),
      views,
      routes: [
        { route: ORDERS, source: source('orders', SourceMode.MUTABLE, rows, ['n']) },
        { route: CATALOG, source: source('catalog', SourceMode.MUTABLE, TABLE, ['code']) },
        { route: EVENTS, source: source('events', SourceMode.APPEND, rows, []) },
      ],
    },
  });
}

/** Writes the history: records at a log time, in stages. */
class Writer {
  readonly records: Uint8Array[] = [];
  readonly timesUs: number[] = [];
  readonly stages: Stage[] = [];
  #atS = 0;
  #sequence = 0;
  #generation = 1;

  add(...records: Uint8Array[]): this {
    for (const record of records) {
      this.records.push(record);
      this.timesUs.push(START_US + this.#atS * SECOND_US);
    }
    return this;
  }

  /** Log time goes on so many seconds. */
  later(seconds: number): this {
    this.#atS += seconds;
    return this.add(encodeTick());
  }

  act(...acts: Act[]): this {
    for (const act of acts) this.stages.push({ show: this.records.length, act });
    return this;
  }

  order(
    operation: Operation,
    user: number,
    rowKey: string,
    row: TestRow = {},
    other: Partial<ChangeOptions> = {},
  ): this {
    const eventTimeUs = START_US + this.#atS * SECOND_US;
    const at = { sequence: ++this.#sequence, generation: this.#generation, lane: SLOT, eventTimeUs };
    return this.add(change({ route: ORDERS, operation, user, rowKey, row, ...at, ...other }));
  }

  event(user: number, row: TestRow): this {
    const eventTimeUs = START_US + this.#atS * SECOND_US;
    return this.add(change({ route: EVENTS, user, row, sequence: ++this.#sequence, eventTimeUs }));
  }

  /** The catalog's row; without a price it is deleted. */
  price(code: string, price?: bigint): this {
    const values = [code, price ?? null] as const;
    const row = price === undefined ? [] : TABLE.map(([, kind], i) => valueToProto(type(kind), values[i] ?? null));
    const value = {
      route: CATALOG,
      generation: 1,
      lane: SLOT,
      sequence: { major: BigInt(++this.#sequence) },
      operation: price === undefined ? DELETE : UPDATE,
      entityKey: encodeKey([Kind.STRING], [code]),
      contractVersion: 1,
      row,
    };
    return this.add(encodeRecord({ case: 'table', value: { change: value } }));
  }

  truncate(): this {
    const sequence = create(SequenceSchema, { major: BigInt(++this.#sequence) });
    const value = { route: ORDERS, generation: this.#generation, lane: SLOT, sequence };
    return this.add(encodeRecord({ case: 'truncate', value }));
  }

  /** The orders begin anew: with these rows, read by a snapshot. */
  anew(rows: readonly (readonly [user: number, rowKey: string, row: TestRow])[]): this {
    this.add(begin(ORDERS, ++this.#generation));
    for (const [user, rowKey, row] of rows) this.order(READ, user, rowKey, row, { lane: SNAPSHOT });
    return this.add(snapshotEnd(ORDERS, this.#generation));
  }

  /** The user is erased, and forgotten by the node. */
  erase(user: number): this {
    const entityKey = Buffer.from(userKey(user), 'latin1');
    const value = { entity: 'user', entityKey, routes: [ORDERS, EVENTS], eraseId: 'e1' };
    const offset = this.records.length;
    this.add(encodeRecord({ case: 'erase', value })).act({ forget: { offset, key: userKey(user) } });
    for (let ticks = 0; ticks < 4; ticks++) this.add(encodeTick());
    return this;
  }
}

const MANY = 150;

function written(): Writer {
  const log = new Writer();
  log.add(define(1, RECENT, PRICED));
  for (const route of [CATALOG, ORDERS, EVENTS]) log.add(begin(route, 1), snapshotEnd(route, 1));
  log.price('a', 10n).price('b', 20n);
  log.order(INSERT, 1, 'o1', { n: 5n, d: '1.50', s: 'a' }).order(INSERT, 2, 'o2', { n: 3n, d: '2', s: 'b' });
  log.event(1, { s: 'a' }).event(2, { s: 'b' }).act('commit');

  log.price('a', 11n).order(UPDATE, 1, 'o1', { n: 4n, d: '1', s: 'b' }).event(3, { s: 'a' });
  // A leaf takes 64 rows: user 4 has a tree.
  for (let i = 0; i < MANY; i++) log.order(INSERT, 4, `many-${i}`, { n: BigInt(i), d: '0.1', s: 'a' });
  log.act('checkpoint');

  // The row gets another user and another key.
  log.order(UPDATE, 2, 'o1b', { n: 9n, d: '1', s: 'a' }, { oldRowKey: 'o1' }).order(DELETE, 1, 'o1');
  for (let i = 0; i < MANY; i += 3) log.order(DELETE, 4, `many-${i}`);
  log
    .price('b')
    .event(1, { s: 'b' })
    .add(define(2, RECENT, PRICED, WORTH))
    .act('commit');

  log.act({ harm: (stores) => damageAt(stores, contributionsOf(stores).at(-1)) });
  log.order(UPDATE, 4, 'many-1', { n: 1n, d: '7', s: 'a' }).order(INSERT, 5, 'o5', { n: 2n, d: '3', s: 'a' });
  log.price('b', 30n).act('commit');

  // What is in windows is over, and freed.
  log.later(200).order(INSERT, 5, 'o6', { n: 8n, d: '1', s: 'b' }).act('sweep', 'checkpoint');

  log.erase(4);
  log
    .order(INSERT, 4, 'again', { n: 6n, d: '5', s: 'b' })
    .event(4, { s: 'a' })
    .add(define(3, RECENT, WORTH))
    .act('commit');

  log.truncate().order(INSERT, 2, 'o7', { n: 7n, d: '2', s: 'a' }).order(INSERT, 6, 'o8', { n: 1n, d: '4', s: 'b' });
  log.add(define(4, ...VIEWS)).act('commit', { harm: (stores) => loseTableRow(stores) });
  log.price('c', 5n).event(3, { s: 'c' }).act('checkpoint');

  log.anew([
    [2, 'o7', { n: 7n, d: '2', s: 'a' }],
    [6, 'o8', { n: 2n, d: '6', s: 'c' }],
  ]);
  log.order(DELETE, 2, 'o7').order(INSERT, 1, 'o9', { n: 3n, d: '8', s: 'c' }).act('commit');
  log.later(30).order(UPDATE, 6, 'o8', { n: 1n, d: '1', s: 'a' }).event(6, { s: 'b' }).act('commit', 'nothing');
  return log;
}

function stateKeys(stores: MemoryDisk, is: (instance: string) => boolean): string[] {
  const instance = (name: string): string => Buffer.from(name.slice(1, 21), 'latin1').toString('hex');
  return stores.keysOf(MORTAL_STORE).filter((name) => name.startsWith('s') && is(instance(name)));
}

/** An instance's number has its first bit set in the name of its contributions. */
function contributionsOf(stores: MemoryDisk): string[] {
  return stateKeys(stores, (instance) => !isTableRows(instance) && Number.parseInt(instance.slice(32, 34), 16) > 127);
}

function loseTableRow(stores: MemoryDisk): void {
  const [key] = stateKeys(stores, isTableRows);
  if (key !== undefined) stores.lose(MORTAL_STORE, key, false);
}

/** A fold that counts what its sweeps free. */
class SweptFold extends ShardFold {
  static freed = 0;

  override sweep(...page: Parameters<ShardFold['sweep']>): number {
    const freed = super.sweep(...page);
    SweptFold.freed += freed;
    return freed;
  }
}

/** How many states and contributions sweeps have freed so far, in any life of any machine. */
export function freedBySweeps(): number {
  return SweptFold.freed;
}

const { records, timesUs, stages } = written();
const plans = new Map(
  VIEWS.map((plan) => [toHex(plan.viewId), { unseen: unseenColumns(plan), layout: rowLayout(plan) }]),
);
const endUs = timesUs.at(-1) ?? 0;

export const ENGINE_HISTORY: History = {
  records,
  timeUsOf: (offset) => timesUs[offset] ?? endUs,
  stages,
  createFold: (options) => new SweptFold(options),
  format: ENGINE_FORMAT,
  sweep: { pageKeys: 20, pageBytes: 64 * 1024, pageMs: 100, roundMs: 5_000 },
  views: VIEWS.length,
  // A sweep frees the state behind such a row without telling followers.
  isDead: (viewId, { row }) => {
    const plan = plans.get(viewId);
    if (plan === undefined) return false;
    return isDeadRow(decodeRow(Buffer.from(row, 'latin1'), plan.layout.types), plan.unseen, endUs);
  },
};
