/**
 * A shop whose rows change: its tables, its definitions, and what SQL says of every feature over the rows as they are.
 *
 * Owns all three, so that a feature and its SQL stand side by side. Sums of doubles, means and variances are rounded once
 * from the exact rows that SQL gives (@freshet/testkit/oracle/exact.ts), which databases do not do.
 *
 * `orders.paid` is the price at the time by the database's own word: a trigger reads it from the catalogue under a lock that
 * keeps every change of that product out until the order's commit. So orders and prices have one order, that of commits,
 * and the join by the log has to come to the same. `orders.grade` is likewise what `profile`, a table under the entity's own
 * key, said of the user at the time.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { FreshetClient } from '@freshet/client/freshet-client.ts';
import { divideExact, roundToDouble, sumDecimals, sumDoubles, varianceOf } from '@freshet/testkit/oracle/exact.ts';
import type { Sql } from 'postgres';

export const USERS = 40;
const USER_KEYS = Array.from({ length: USERS }, (_, i) => BigInt(i + 1));
/** How many differences of one feature are told in full. */
const SHOWN_MAX = 2;
/** Notes may be long, and differ in how they begin. */
const TOLD_CHARS = 60;
/** Some 30 s. */
const COMPLETE_TRIES = 1_500;

export const SCHEMA = `
CREATE TABLE catalog (product_id bigint PRIMARY KEY, category text, price numeric(12, 2));
CREATE TABLE profile (user_id bigint PRIMARY KEY, grade bigint);
CREATE TABLE orders (
  id bigint PRIMARY KEY, user_id bigint NOT NULL, product_id bigint, status text, amount numeric(12, 2),
  weight float8, n bigint, note text, paid numeric(12, 2), grade bigint,
  at timestamptz NOT NULL
);
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL;
CREATE TABLE order_lines (
  user_id bigint NOT NULL, line_no bigint NOT NULL, qty bigint, price numeric(12, 2), at timestamptz NOT NULL,
  PRIMARY KEY (user_id, line_no)
);
CREATE FUNCTION joined_at_the_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.paid := NULL;
  IF NEW.product_id IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock_shared(1, NEW.product_id::int);
    SELECT price INTO NEW.paid FROM catalog WHERE product_id = NEW.product_id;
  END IF;
  NEW.grade := NULL;
  PERFORM pg_advisory_xact_lock_shared(2, NEW.user_id::int);
  SELECT grade INTO NEW.grade FROM profile WHERE user_id = NEW.user_id;
  RETURN NEW;
END $$;
CREATE FUNCTION product_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM pg_advisory_xact_lock(1, OLD.product_id::int); END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  PERFORM pg_advisory_xact_lock(1, NEW.product_id::int);
  RETURN NEW;
END $$;
CREATE FUNCTION user_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM pg_advisory_xact_lock(2, OLD.user_id::int); END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  PERFORM pg_advisory_xact_lock(2, NEW.user_id::int);
  RETURN NEW;
END $$;
CREATE TRIGGER joined BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION joined_at_the_time();
CREATE TRIGGER lock BEFORE INSERT OR UPDATE OR DELETE ON catalog FOR EACH ROW EXECUTE FUNCTION product_alone();
CREATE TRIGGER lock BEFORE INSERT OR UPDATE OR DELETE ON profile FOR EACH ROW EXECUTE FUNCTION user_alone();
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

export interface View {
  readonly name: string;
  readonly source: 'orders' | 'order_lines';
  readonly yaml: string;
  /** Which rows count. */
  readonly where: string;
  readonly windows: readonly Window[];
  readonly aggregates: readonly Aggregate[];
}

const LINE_AGGREGATES: readonly Aggregate[] = [
  COUNT,
  plain('sum_qty', 'sum: qty', 'sum(qty)'),
  plain('sum_price', 'sum: price', 'sum(price)'),
  plain('max_price', 'max: price', 'max(price)'),
  last('last_qty', 'qty'),
];
const CATALOG = '{ table: catalog, on: { product_id: product_id }, columns: { list_price: price } }';
const PROFILE = '{ table: profile, on: { user_id: user_id }, columns: { user_grade: grade } }';
const PRICES: readonly Aggregate[] = [
  plain('priced', 'count: list_price', 'count(paid)'),
  plain('sum_price', 'sum: list_price', 'sum(paid)'),
  plain('max_price', 'max: list_price', 'max(paid)'),
];
const GRADES: readonly Aggregate[] = [
  plain('graded', 'count: user_grade', 'count(grade)'),
  plain('sum_grade', 'sum: user_grade', 'sum(grade)'),
  plain('max_grade', 'max: user_grade', 'max(grade)'),
];

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
    yaml: `join: [${CATALOG}]`,
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: PRICES,
  },
  {
    name: 'orders_graded',
    source: 'orders',
    yaml: `join: [${PROFILE}]`,
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: GRADES,
  },
  {
    name: 'lines',
    source: 'order_lines',
    yaml: '',
    where: 'TRUE',
    windows: [LIFETIME, ROLLING],
    aggregates: LINE_AGGREGATES,
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

/** Views that come and go, each with two meanings under its name; by a service of their own. */
export const DRAWN_VIEWS: readonly (readonly View[])[] = [
  [
    {
      name: 'drawn_mutable',
      source: 'orders',
      yaml: `where: 'status == "open"'`,
      where: `status = 'open'`,
      windows: [LIFETIME, ROLLING],
      aggregates: ORDER_AGGREGATES,
    },
    {
      name: 'drawn_mutable',
      source: 'order_lines',
      yaml: 'where: qty != null && qty > 0',
      where: 'qty > 0',
      windows: [LIFETIME, TUMBLING],
      aggregates: LINE_AGGREGATES,
    },
  ],
  [
    {
      name: 'drawn_joined',
      source: 'orders',
      yaml: `join: [${CATALOG}]\nwhere: list_price != null && double(list_price) > 20000.0`,
      where: 'paid > 20000',
      windows: [LIFETIME, ROLLING],
      aggregates: PRICES,
    },
    {
      name: 'drawn_joined',
      source: 'orders',
      yaml: `join: [${CATALOG}, ${PROFILE}]`,
      where: 'TRUE',
      windows: [LIFETIME],
      aggregates: [...PRICES, ...GRADES],
    },
  ],
];

const viewYaml = (view: View): string => `kind: FeatureView
name: ${view.name}
entity: user
source: ${view.source}
${view.yaml}
features:
${featuresOf(view)
  .map(({ name, window, aggregate }) => `  ${name}: { ${aggregate.yaml}${window.yaml} }`)
  .join('\n')}
---
`;
const serviceYaml = (name: string, views: readonly View[]): string => `kind: FeatureService
name: ${name}
features: [${views.map((view) => `"${view.name}:*"`).join(', ')}]
---
`;

/** The definitions with some of the drawn views. The service of the others is called user_profile, which the version watch reads. */
export const definitionsWith = (drawn: readonly View[]): string => `
kind: Entity
name: user
key: { user_id: int64 }
---${source('orders', true)}${source('order_lines', true)}${source('catalog', false)}${source('profile', false)}
${[...VIEWS, ...drawn].map(viewYaml).join('')}${serviceYaml('user_profile', VIEWS)}${drawn.length > 0 ? serviceYaml('drawn', drawn) : ''}`;

export interface Verdict {
  readonly told: string[];
  readonly compared: number;
}

/** What differs in the features of the views that are always there and of some of the drawn ones. */
export async function differences(
  sql: Sql,
  client: FreshetClient,
  throughUs: number,
  drawn: readonly View[] = [],
): Promise<Verdict> {
  const always = await differencesOf('user_profile', VIEWS, sql, client, throughUs);
  if (drawn.length === 0) return always;
  const others = await differencesOf('drawn', drawn, sql, client, throughUs);
  return { told: [...always.told, ...others.told], compared: always.compared + others.compared };
}

const short = (value: unknown): string => String(value).slice(0, TOLD_CHARS);

/**
 * What differs between a service's features of every user and SQL over the rows as they are now, in words, at the one time
 * of the answer. Nothing may be committed meanwhile. The answer is the first that says of itself to be complete through the
 * given log time, microseconds: a view that was truncated or is built anew may be behind its shard.
 */
async function differencesOf(
  service: string,
  views: readonly View[],
  sql: Sql,
  client: FreshetClient,
  throughUs: number,
): Promise<Verdict> {
  const read = (): ReturnType<FreshetClient['getFeatures']> =>
    client.getFeatures({ service, keys: { user_id: USER_KEYS }, deadlineMs: 10_000 });
  let answer = await read();
  for (let tries = 0; answer.completeThroughUs <= throughUs; tries++) {
    if (tries > COMPLETE_TRIES)
      return { told: [`the answer is complete through ${answer.completeThroughUs}`], compared: 0 };
    await pause(20);
    answer = await read();
  }
  const told: string[] = [];
  let compared = 0;
  for (const view of views) {
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
        told.push(`${view.name}:${name} of user ${user + 1} is ${short(got)}, SQL says ${short(expected)}`);
      }
      if (wrong > SHOWN_MAX) told.push(`${view.name}:${name}: ${wrong} users in all`);
    });
  }
  return { told, compared };
}
