/**
 * A shop whose rows change: its tables, its definitions, and what SQL says of every feature over the rows as they are.
 *
 * Owns all three, so that a feature and its SQL stand side by side. Sums of doubles, means and variances are rounded once
 * from the exact rows that SQL gives (@freshet/testkit/oracle/exact.ts), which databases do not do.
 *
 * `orders.paid` is the price at the time by the database's own word: a trigger reads it from the catalogue under a lock that
 * keeps every change of that product out until the order's commit. So orders and prices have one order, that of commits,
 * and the join by the log has to come to the same.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { FreshetClient } from '@freshet/client/freshet-client.ts';
import { divideExact, roundToDouble, sumDecimals, sumDoubles, varianceOf } from '@freshet/testkit/oracle/exact.ts';
import type { Sql } from 'postgres';

export const USERS = 40;
const USER_KEYS = Array.from({ length: USERS }, (_, i) => BigInt(i + 1));
/** How many differences of one feature are told in full. */
const SHOWN_MAX = 2;
/** Some 30 s. */
const COMPLETE_TRIES = 1_500;

export const SCHEMA = `
CREATE TABLE catalog (product_id bigint PRIMARY KEY, category text, price numeric(12, 2));
CREATE TABLE orders (
  id bigint PRIMARY KEY, user_id bigint NOT NULL, product_id bigint, status text, amount numeric(12, 2),
  weight float8, n bigint, note text, paid numeric(12, 2), at timestamptz NOT NULL
);
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL;
CREATE TABLE order_lines (
  user_id bigint NOT NULL, line_no bigint NOT NULL, qty bigint, price numeric(12, 2), at timestamptz NOT NULL,
  PRIMARY KEY (user_id, line_no)
);
CREATE FUNCTION price_at_the_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.paid := NULL;
  IF NEW.product_id IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock_shared(NEW.product_id);
    SELECT price INTO NEW.paid FROM catalog WHERE product_id = NEW.product_id;
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION one_at_a_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM pg_advisory_xact_lock(OLD.product_id); END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  PERFORM pg_advisory_xact_lock(NEW.product_id);
  RETURN NEW;
END $$;
CREATE TRIGGER price BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION price_at_the_time();
CREATE TRIGGER lock BEFORE INSERT OR UPDATE OR DELETE ON catalog FOR EACH ROW EXECUTE FUNCTION one_at_a_time();
`;

/** A window as a definition has it, and as a condition on the event's time in microseconds. */
interface Window {
  readonly name: string;
  readonly yaml: string;
  sql(tUs: bigint): string;
}

const S = 1_000_000n;
const floorTo = (us: bigint, step: bigint): bigint => us - (us % step);
const between = (from: bigint, length: bigint): string => `at_us >= ${from} AND at_us < ${from + length}`;
const LIFETIME: Window = { name: 'ever', yaml: '', sql: () => 'TRUE' };
const ROLLING: Window = {
  name: '12s',
  yaml: ', rolling: 12s, pane: 1s',
  sql: (t) => `at_us >= ${floorTo(t - 12n * S, S)}`,
};
const TUMBLING: Window = { name: 'this', yaml: ', tumbling: 5s', sql: (t) => between(floorTo(t, 5n * S), 5n * S) };
const CLOSED: Window = {
  name: 'past',
  yaml: ', tumbling: 5s, closed: true',
  sql: (t) => between(floorTo(t, 5n * S) - 5n * S, 5n * S),
};

/** An aggregate in a definition, the SQL of what it is made of (a text or texts), and what is made of that. */
interface Aggregate {
  readonly name: string;
  readonly yaml: string;
  sql(condition: string): string;
  of?(values: readonly string[]): number | undefined;
}

const plain = (name: string, yaml: string, sql: string): Aggregate => ({
  name,
  yaml,
  sql: (condition) => `(${sql} FILTER (WHERE ${condition}))::text`,
});
const last = (name: string, column: string): Aggregate => ({
  name,
  yaml: `last: ${column}`,
  sql: (condition) =>
    `(array_agg(${column} ORDER BY at_us DESC) FILTER (WHERE ${condition} AND ${column} IS NOT NULL))[1]::text`,
});
const rounded = (
  name: string,
  yaml: string,
  column: string,
  of: (values: readonly string[]) => number | undefined,
): Aggregate => ({
  name,
  yaml,
  sql: (condition) => `array_agg(${column}::text) FILTER (WHERE ${condition} AND ${column} IS NOT NULL)`,
  of,
});

const COUNT = plain('rows', 'count: {}', 'count(*)');
const ORDER_AGGREGATES: readonly Aggregate[] = [
  COUNT,
  plain('sum_amount', 'sum: amount', 'sum(amount)'),
  plain('min_amount', 'min: amount', 'min(amount)'),
  plain('max_n', 'max: n', 'max(n)'),
  last('last_status', 'status'),
  rounded('sum_weight', 'sum: weight', 'weight', (values) => roundToDouble(sumDoubles(values.map(Number)))),
  rounded('mean_weight', 'mean: weight', 'weight', (values) =>
    roundToDouble(divideExact(sumDoubles(values.map(Number)), BigInt(values.length))),
  ),
  rounded('mean_amount', 'mean: amount', 'amount', (values) =>
    roundToDouble(divideExact(sumDecimals(values).sum, BigInt(values.length))),
  ),
  rounded('var_n', 'variance: n', 'n', (values) =>
    values.length < 2 ? undefined : roundToDouble(varianceOf('int64', values.map(BigInt), 1n)),
  ),
  rounded('var_weight', 'variance: weight', 'weight', (values) =>
    values.length < 2 ? undefined : roundToDouble(varianceOf('double', values.map(Number), 1n)),
  ),
];

interface View {
  readonly name: string;
  readonly source: 'orders' | 'order_lines';
  readonly yaml: string;
  /** Which rows count. */
  readonly where: string;
  readonly windows: readonly Window[];
  readonly aggregates: readonly Aggregate[];
}

const VIEWS: readonly View[] = [
  {
    name: 'orders_recent',
    source: 'orders',
    yaml: `where: 'status != "cancelled"'`,
    where: `status IS DISTINCT FROM 'cancelled'`,
    windows: [ROLLING, TUMBLING, CLOSED],
    aggregates: ORDER_AGGREGATES,
  },
  {
    name: 'orders_ever',
    source: 'orders',
    yaml: '',
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: [...ORDER_AGGREGATES, last('last_note', 'note')],
  },
  {
    name: 'orders_priced',
    source: 'orders',
    yaml: 'join: [{ table: catalog, on: { product_id: product_id }, columns: { list_price: price } }]',
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: [
      { ...plain('priced', 'count: list_price', 'count(paid)') },
      { ...plain('sum_price', 'sum: list_price', 'sum(paid)') },
      { ...plain('max_price', 'max: list_price', 'max(paid)') },
    ],
  },
  {
    name: 'lines',
    source: 'order_lines',
    yaml: '',
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: [
      COUNT,
      plain('sum_qty', 'sum: qty', 'sum(qty)'),
      plain('sum_price', 'sum: price', 'sum(price)'),
      plain('max_price', 'max: price', 'max(price)'),
      last('last_qty', 'qty'),
    ],
  },
];

const source = (name: string, time: boolean): string => `
kind: Source
name: ${name}
mode: mutable
postgres: { table: public.${name} }
${time ? 'event_time: at\n' : ''}---`;

const featuresOf = ({ windows, aggregates }: View): { name: string; window: Window; aggregate: Aggregate }[] =>
  windows.flatMap((window) =>
    aggregates.map((aggregate) => ({ name: `${aggregate.name}_${window.name}`, window, aggregate })),
  );

/** The service is called user_profile, which is what the version watch reads. */
export const DEFINITIONS = `
kind: Entity
name: user
key: { user_id: int64 }
---${source('orders', true)}${source('order_lines', true)}${source('catalog', false)}
${VIEWS.map(
  (view) => `kind: FeatureView
name: ${view.name}
entity: user
source: ${view.source}
${view.yaml}
features:
${featuresOf(view)
  .map(({ name, window, aggregate }) => `  ${name}: { ${aggregate.yaml}${window.yaml} }`)
  .join('\n')}
---`,
).join('\n')}
kind: FeatureService
name: user_profile
features: [${VIEWS.map(({ name }) => `"${name}:*"`).join(', ')}]
`;

/**
 * What differs between the served features of every user and SQL over the rows as they are now, in words, at the one time
 * of the answer. Nothing may be committed meanwhile. The answer is the first that says of itself to be complete through the
 * given log time, microseconds: a view that was truncated or is built anew may be behind its shard.
 */
export async function differences(
  sql: Sql,
  client: FreshetClient,
  throughUs: number,
): Promise<{ told: string[]; compared: number }> {
  const read = (): ReturnType<FreshetClient['getFeatures']> =>
    client.getFeatures({ service: 'user_profile', keys: { user_id: USER_KEYS }, deadlineMs: 10_000 });
  let answer = await read();
  for (let tries = 0; answer.completeThroughUs <= throughUs; tries++) {
    if (tries > COMPLETE_TRIES)
      return { told: [`the answer is complete through ${answer.completeThroughUs}`], compared: 0 };
    await pause(20);
    answer = await read();
  }
  const told: string[] = [];
  let compared = 0;
  for (const view of VIEWS) {
    const features = featuresOf(view);
    const columns = features.map(
      ({ window, aggregate }, i) =>
        `${aggregate.sql(`id IS NOT NULL AND ${window.sql(BigInt(answer.asOfUs))}`)} AS f${i}`,
    );
    const rows = await sql.unsafe<Record<string, string | string[] | null>[]>(`
      SELECT u::text AS user_id, ${columns.join(', ')}
      FROM generate_series(1, ${USERS}) AS u LEFT JOIN (
        SELECT *, ${view.source === 'orders' ? '' : 'line_no AS id, '}(extract(epoch FROM at) * 1000000)::bigint AS at_us
        FROM ${view.source} WHERE ${view.where}
      ) live ON live.user_id = u GROUP BY u ORDER BY u`);
    features.forEach(({ name, aggregate }, f) => {
      let wrong = 0;
      const values = answer.columns[`${view.name}:${name}`]?.values ?? [];
      for (const [user, row] of rows.entries()) {
        compared += 1;
        const want = row[`f${f}`] ?? null;
        const expected = Array.isArray(want) ? aggregate.of?.(want) : (want ?? undefined);
        const got = values[user] ?? undefined;
        const isSame = typeof expected === 'number' ? Object.is(got, expected) : String(got) === String(expected);
        if (isSame || ++wrong > SHOWN_MAX) continue;
        told.push(`${view.name}:${name} of user ${user + 1} is ${String(got)}, SQL says ${String(expected)}`);
      }
      if (wrong > SHOWN_MAX) told.push(`${view.name}:${name}: ${wrong} users in all`);
    });
  }
  return { told, compared };
}
