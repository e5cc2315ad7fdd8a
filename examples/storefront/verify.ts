/**
 * Compares what Freshet serves with what SQL says over the shop's own tables, at the same instant. The SQL is written
 * from the definitions in features.yaml alone, so that an error of Freshet's cannot hide in it.
 *
 * Of the service that computes features when it is read, the SQL computes the same with the same request data.
 *
 * The catalogue does not change while visitors buy, so its prices now are those at the time of each purchase.
 *
 * Rolling windows reach back to floor(T - length) in steps of their pane: 1 s for 10 s, 5 s for 5 min, 1 min for 1 h.
 */
import type { FreshetClient } from '@freshet/client/freshet-client.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { Sql } from 'postgres';
import { PRODUCTS, USERS } from './traffic.ts';

const CHUNK = 100;
/** The cart that every user is asked about, and where from. */
const CART = { cart_total: 250.5, country: 'FR' };
/** How many differences are told in full. */
const SHOWN_MAX = 20;

export interface Verdict {
  keysChecked: number;
  mismatches: number;
  /** The first differences, in words. */
  readonly differences: string[];
}

/** Checks every user and product. The traffic must have stopped and everything must have been served. */
export async function verify(sql: Sql, client: FreshetClient): Promise<Verdict> {
  const verdict: Verdict = { keysChecked: 0, mismatches: 0, differences: [] };
  for (let first = 1; first <= USERS; first += CHUNK) {
    const ids = range(first, Math.min(USERS, first + CHUNK - 1));
    verdict.keysChecked += ids.length;
    const answer = await client.getFeatures({ service: 'user_profile', keys: { user_id: ids.map(BigInt) } });
    compare('user', ids, answer, await usersBySql(sql, ids, answer.asOfUs), verdict);
    const keys = { user_id: ids.map(BigInt) };
    const risk = await client.getFeatures({ service: 'checkout_risk', keys, request: CART });
    compare('the cart of user', ids, risk, await cartsBySql(sql, ids, risk.asOfUs), verdict);
  }
  for (let first = 1; first <= PRODUCTS; first += CHUNK) {
    const ids = range(first, Math.min(PRODUCTS, first + CHUNK - 1));
    verdict.keysChecked += ids.length;
    const answer = await client.getFeatures({ service: 'product_page', keys: { product_id: ids.map(BigInt) } });
    compare('product', ids, answer, await productsBySql(sql, ids, answer.asOfUs), verdict);
  }
  return verdict;
}

type Answer = Awaited<ReturnType<FreshetClient['getFeatures']>>;
type ExpectedRow = Readonly<Record<string, string | null>>;

function compare(
  what: string,
  ids: readonly number[],
  answer: Answer,
  expected: ReadonlyMap<number, ExpectedRow>,
  verdict: Verdict,
): void {
  ids.forEach((id, i) => {
    const wrong: string[] = [];
    for (const [name, want] of Object.entries(expected.get(id) ?? {})) {
      const value = answer.columns[name]?.values[i];
      const got = value === null || value === undefined ? null : text(value);
      if (got !== want) wrong.push(`${name} is ${got}, SQL says ${want}`);
    }
    if (wrong.length === 0 && expected.has(id)) return;
    verdict.mismatches += 1;
    if (verdict.differences.length < SHOWN_MAX)
      verdict.differences.push(`${what} ${id}: ${wrong.join('; ') || 'SQL has no row'}`);
  });
}

async function usersBySql(sql: Sql, ids: readonly number[], t: number): Promise<Map<number, ExpectedRow>> {
  const rows = await sql<Record<string, string | null>[]>`
    WITH activity AS (
      SELECT user_id, event_type, amount, (extract(epoch FROM occurred_at) * 1000000)::bigint AS at,
             event_type = 'purchase' AND category = 'garden' AS for_garden, price
      FROM user_activity LEFT JOIN product_catalog USING (product_id)
      WHERE user_id = ANY(${[...ids]}::bigint[])
    ), bounds AS (
      SELECT ${t.toString()}::bigint - 10000000   - mod(${t.toString()}::bigint - 10000000, 1000000)     AS since_10s,
             ${t.toString()}::bigint - 300000000  - mod(${t.toString()}::bigint - 300000000, 5000000)    AS since_5m,
             ${t.toString()}::bigint - 3600000000 - mod(${t.toString()}::bigint - 3600000000, 60000000)  AS since_1h
    )
    SELECT wanted.user_id,
      count(*) FILTER (WHERE event_type = 'click' AND at >= since_10s)::text                  AS click_count_10s,
      count(*) FILTER (WHERE event_type = 'click' AND at >= since_5m)::text                   AS click_count_5min,
      count(*) FILTER (WHERE event_type = 'click')::text                                      AS click_count_total,
      coalesce(sum(amount) FILTER (WHERE event_type = 'purchase' AND at >= since_1h), 0.00)::text AS spend_1h,
      count(*) FILTER (WHERE event_type = 'purchase' AND at >= since_1h)::text                AS orders_1h,
      (max(amount) FILTER (WHERE event_type = 'purchase' AND at >= since_1h))::text           AS largest_order_1h,
      coalesce(sum(amount) FILTER (WHERE for_garden AND at >= since_1h), 0.00)::text          AS garden_spend_1h,
      coalesce(sum(price) FILTER (WHERE for_garden AND at >= since_1h), 0.00)::text           AS garden_list_price_1h,
      (max(price) FILTER (WHERE for_garden))::text                                            AS dearest_garden_product,
      (max(at) FILTER (WHERE event_type = 'login'))::text                                     AS last_login_at
    FROM unnest(${[...ids]}::bigint[]) AS wanted(user_id)
    CROSS JOIN bounds LEFT JOIN activity USING (user_id)
    GROUP BY wanted.user_id`;
  return byId(rows, 'user_id', {
    click_count_10s: 'user_clicks:click_count_10s',
    click_count_5min: 'user_clicks:click_count_5min',
    click_count_total: 'user_clicks:click_count_total',
    spend_1h: 'user_spend:spend_1h',
    orders_1h: 'user_spend:orders_1h',
    largest_order_1h: 'user_spend:largest_order_1h',
    garden_spend_1h: 'user_garden:garden_spend_1h',
    garden_list_price_1h: 'user_garden:garden_list_price_1h',
    dearest_garden_product: 'user_garden:dearest_garden_product',
    last_login_at: 'user_logins:last_login_at',
  });
}

async function cartsBySql(sql: Sql, ids: readonly number[], t: number): Promise<Map<number, ExpectedRow>> {
  const rows = await sql<Record<string, string | null>[]>`
    WITH activity AS (
      SELECT user_id, event_type, amount, (extract(epoch FROM occurred_at) * 1000000)::bigint AS at
      FROM user_activity WHERE user_id = ANY(${[...ids]}::bigint[]) AND event_type IN ('purchase', 'login')
    ), bounds AS (
      SELECT ${t.toString()}::bigint - 3600000000 - mod(${t.toString()}::bigint - 3600000000, 60000000) AS since_1h
    ), stored AS (
      SELECT wanted.user_id,
        coalesce(sum(amount) FILTER (WHERE event_type = 'purchase' AND at >= since_1h), 0)::float8 AS spent,
        count(*) FILTER (WHERE event_type = 'purchase' AND at >= since_1h) AS orders,
        coalesce((${t.toString()}::bigint - max(at) FILTER (WHERE event_type = 'login')) / 1000000, -1) AS since_login
      FROM unnest(${[...ids]}::bigint[]) AS wanted(user_id)
      CROSS JOIN bounds LEFT JOIN activity USING (user_id)
      GROUP BY wanted.user_id
    )
    SELECT user_id,
      (${CART.cart_total}::float8 / (spent + 1))::text                                                   AS cart_vs_hour,
      since_login::text                                                                                  AS seconds_since_login,
      (${CART.cart_total}::float8 / (spent + 1) > 2 AND (orders = 0 OR since_login < 0))::text           AS is_unusual
    FROM stored`;
  return byId(rows, 'user_id', {
    cart_vs_hour: 'cart_vs_hour',
    seconds_since_login: 'seconds_since_login',
    is_unusual: 'is_unusual',
  });
}

async function productsBySql(sql: Sql, ids: readonly number[], t: number): Promise<Map<number, ExpectedRow>> {
  const rows = await sql<Record<string, string | null>[]>`
    WITH activity AS (
      SELECT product_id, (extract(epoch FROM occurred_at) * 1000000)::bigint AS at
      FROM user_activity WHERE product_id = ANY(${[...ids]}::bigint[]) AND event_type = 'view'
    ), bounds AS (
      SELECT ${t.toString()}::bigint - 3600000000 - mod(${t.toString()}::bigint - 3600000000, 60000000) AS since_1h,
             ${t.toString()}::bigint - mod(${t.toString()}::bigint, 60000000)                            AS this_minute
    )
    SELECT wanted.product_id,
      count(*) FILTER (WHERE at >= since_1h)::text                                      AS views_1h,
      count(*) FILTER (WHERE at >= this_minute AND at < this_minute + 60000000)::text   AS views_this_minute
    FROM unnest(${[...ids]}::bigint[]) AS wanted(product_id)
    CROSS JOIN bounds LEFT JOIN activity USING (product_id)
    GROUP BY wanted.product_id`;
  return byId(rows, 'product_id', {
    views_1h: 'product_stats:views_1h',
    views_this_minute: 'product_stats:views_this_minute',
  });
}

function byId(
  rows: readonly Readonly<Record<string, string | null>>[],
  key: string,
  names: Readonly<Record<string, string>>,
): Map<number, ExpectedRow> {
  return new Map(
    rows.map((row) => [
      Number(row[key]),
      Object.fromEntries(Object.entries(names).map(([column, name]) => [name, row[column] ?? null])),
    ]),
  );
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function text(value: Scalar): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
