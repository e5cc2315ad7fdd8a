/**
 * Changes of the mutable tables: drawn by a plan without knowing what rows there will be, and made into changes of rows by
 * the database when it commits them.
 *
 * Owns what is drawn and what it comes to. A row is named by a place among those that are there; where there is none,
 * nothing changes. Pure.
 */
import type { Random } from '@freshet/testkit/simulation/random.ts';
import { CATALOG, type LiveTables, ORDERS, type RowChange, type SimRow, text, timestampText } from './sim-tables.ts';

/** The columns of an order; undefined in an update: as it was. */
export interface OrderColumns {
  readonly user: number;
  readonly sku: string;
  readonly status: string;
  readonly qty: number | null;
  /** Hundredths. */
  readonly cents: number;
  readonly weight: number;
  /** How far the event lies before its commit, microseconds. */
  readonly lateUs: number;
}

export type Dml =
  | { readonly do: 'insert'; readonly order: OrderColumns }
  | {
      readonly do: 'update';
      /** Which row, in [0, 1) of those that are there. */
      readonly place: number;
      readonly order: Partial<OrderColumns>;
      /** Whether its primary key changes too. */
      readonly rekeys: boolean;
    }
  | { readonly do: 'delete'; readonly place: number }
  | { readonly do: 'truncate'; readonly table: 'orders' | 'catalog' }
  /** Puts a row in, changes it, or takes it out. */
  | { readonly do: 'catalog'; readonly sku: string; readonly factor: number | null };

const SECOND = 1_000_000;
const SKUS = ['s1', 's2', 's3', 's4'] as const;
/** Exact in units of 2^-10, and so far apart that a sum which rounds as it goes is not the sum. */
const WEIGHTS = [1, 0.5, 3.75, 1 / 1024, -2.25, 2 ** 60, -(2 ** 60), 2 ** 54 + 4, 1e15 + 0.125] as const;

function drawOrder(random: Random, users: number): OrderColumns {
  return {
    user: random.between(1, users),
    sku: random.pick(SKUS),
    status: random.pick(['open', 'paid', 'void']),
    qty: random.oneIn(8) ? null : random.between(-20, 100),
    cents: random.between(-5_000, 100_000),
    weight: random.pick(WEIGHTS),
    lateUs: random.oneIn(3) ? random.between(0, 25) * SECOND : 0,
  };
}

/** A change of a row or a table. */
export function drawDml(random: Random, users: number): Dml {
  const kind = random.real();
  const order = drawOrder(random, users);
  const place = random.real();
  if (kind < 0.4) return { do: 'insert', order };
  if (kind < 0.66) {
    const { user: _, ...columns } = order;
    const some = Object.entries(columns).filter(() => random.oneIn(2));
    return { do: 'update', place, order: Object.fromEntries(some), rekeys: random.oneIn(8) };
  }
  if (kind < 0.78) return { do: 'update', place, order: { user: order.user }, rekeys: random.oneIn(8) };
  if (kind < 0.9) return { do: 'delete', place };
  if (kind < 0.985) {
    return { do: 'catalog', sku: order.sku, factor: random.oneIn(5) ? null : random.between(1, 50) };
  }
  return { do: 'truncate', table: random.oneIn(4) ? 'catalog' : 'orders' };
}

/** What a statement changes, in words for what must happen sometimes, and the change; undefined: nothing. */
export interface MadeChange {
  readonly what: string;
  readonly change: RowChange;
}

/** What a statement does to the tables as they are. */
export function makeChange(dml: Dml, live: LiveTables, nextId: number, nowUs: number): MadeChange | undefined {
  switch (dml.do) {
    case 'insert':
      return {
        what: 'insert',
        change: { kind: 'insert', table: ORDERS, row: { id: String(nextId), ...rowOf(dml.order, nowUs) } },
      };
    case 'update': {
      const old = rowAt(live, dml.place);
      if (old === undefined) return undefined;
      const row: SimRow = { ...old, ...rowOf(dml.order, nowUs), ...(dml.rekeys ? { id: String(nextId) } : {}) };
      const isMoved = row['user_id'] !== old['user_id'];
      const what = isMoved
        ? 'move'
        : isExtreme(live, old) && row['qty'] !== old['qty']
          ? 'take out an extreme'
          : 'update';
      return { what: dml.rekeys ? `${what} with its key` : what, change: { kind: 'update', table: ORDERS, old, row } };
    }
    case 'delete': {
      const old = rowAt(live, dml.place);
      if (old === undefined) return undefined;
      const what = isExtreme(live, old) ? 'take out an extreme' : 'delete';
      return { what, change: { kind: 'delete', table: ORDERS, old } };
    }
    case 'truncate': {
      const table = dml.table === 'orders' ? ORDERS : CATALOG;
      return { what: live.rows(table).size > 0 ? 'truncate' : 'truncate nothing', change: { kind: 'truncate', table } };
    }
    default: {
      const old = live.rows(CATALOG).get(dml.sku);
      if (dml.factor === null) {
        return old && { what: 'delete from the catalog', change: { kind: 'delete', table: CATALOG, old } };
      }
      const row: SimRow = { sku: dml.sku, factor: String(dml.factor) };
      const change: RowChange =
        old === undefined ? { kind: 'insert', table: CATALOG, row } : { kind: 'update', table: CATALOG, old, row };
      return { what: `${old === undefined ? 'insert into' : 'update'} the catalog`, change };
    }
  }
}

function rowAt(live: LiveTables, place: number): SimRow | undefined {
  const rows = [...live.rows(ORDERS).values()];
  return rows[Math.floor(place * rows.length)];
}

/** Whether the row has the greatest or the least quantity of several of its user: to take it out is to look for another. */
function isExtreme(live: LiveTables, row: SimRow): boolean {
  if (row['qty'] === null) return false;
  const others = [...live.rows(ORDERS).values()].filter(
    (other) => other !== row && other['user_id'] === row['user_id'] && other['qty'] !== null,
  );
  const qty = Number(row['qty']);
  const all = others.map((other) => Number(other['qty']));
  return all.length > 0 && (qty > Math.max(...all) || qty < Math.min(...all));
}

function rowOf(order: Partial<OrderColumns>, nowUs: number): SimRow {
  const row: Record<string, string | null> = {};
  if (order.user !== undefined) row['user_id'] = String(order.user);
  if (order.sku !== undefined) row['sku'] = order.sku;
  if (order.status !== undefined) row['status'] = order.status;
  if (order.qty !== undefined) row['qty'] = order.qty === null ? null : String(order.qty);
  if (order.cents !== undefined) row['amount'] = centsText(order.cents);
  if (order.weight !== undefined) row['weight'] = String(order.weight);
  if (order.lateUs !== undefined) row['at'] = timestampText(nowUs - order.lateUs);
  return row;
}

/** As Postgres writes numeric(12,2). */
export function centsText(cents: number): string {
  const digits = String(Math.abs(cents)).padStart(3, '0');
  return `${cents < 0 ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The number of hundredths that centsText() wrote. */
export function centsOf(row: SimRow): number {
  return Number(text(row, 'amount').replace('.', ''));
}
