/**
 * Definitions drawn from a number: views that come, go and change what they compute under the same names, with services
 * over several of them; and what each lifetime feature must be in the end, straight from the database's rows.
 *
 * Few names, each with many meanings: an answer that took one column from the definitions before and one from those after
 * has the names of either. A number is one set of definitions for ever, so that going back to it is going back to the
 * files that were applied before. The view `totals` is in all of them, as it is. One view may be over the mutable table, joined
 * with the catalog or not.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';

export interface ShopRow {
  readonly user: number;
  readonly amount: number;
}

/** A row of the mutable table, as it is now. */
export interface OrderRow {
  readonly user: number;
  readonly qty: number | null;
}

interface DrawnFeature {
  readonly name: string;
  /** As YAML: an aggregate, its input, its window. */
  readonly text: string;
  /** Over all rows that the view takes, in no order; undefined where the value depends on times. */
  readonly expected: Expected | undefined;
}

/** A null among the values is a row without one: only count(*) counts it. */
type Expected = (values: readonly number[], rows: number) => bigint | number | null;

interface DrawnView {
  readonly name: string;
  /** Only rows with a greater amount are taken; undefined: all are. */
  readonly above: number | undefined;
  readonly features: readonly DrawnFeature[];
}

/** A view over the mutable table. */
interface DrawnOrders {
  /** Whether rows are joined with the catalog. */
  readonly joins: boolean;
  readonly features: readonly DrawnFeature[];
}

interface DrawnDefinitions {
  readonly views: readonly DrawnView[];
  readonly orders: DrawnOrders | undefined;
  readonly services: readonly { readonly name: string; readonly features: readonly string[] }[];
}

const VIEW_NAMES = ['recent', 'minutes', 'extra'] as const;
const ORDERS_NAME = 'stock';
const FEATURE_NAMES = ['a', 'b', 'c'] as const;

/** A null is a value that is ABSENT. */
const MEANINGS: readonly Omit<DrawnFeature, 'name'>[] = [
  { text: 'count: {}', expected: (_, rows) => BigInt(rows) },
  { text: 'sum: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(sumOf(amounts))) },
  { text: 'max: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(Math.max(...amounts))) },
  { text: 'min: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(Math.min(...amounts))) },
  { text: 'mean: amount', expected: (amounts) => (amounts.length === 0 ? null : sumOf(amounts) / amounts.length) },
  { text: 'variance: amount', expected: (amounts) => (amounts.length < 2 ? null : varianceOf(amounts)) },
  { text: 'last: amount', expected: undefined },
  { text: 'count: {}, rolling: 10s', expected: undefined },
  { text: 'sum: amount, tumbling: 5s', expected: undefined },
];

/** Of `qty`, which may be null; that of joined columns is compared with the fold (truth.ts). */
const ORDER_MEANINGS: readonly Omit<DrawnFeature, 'name'>[] = MEANINGS.map(({ text, expected }) => ({
  text: text.replace('amount', 'qty'),
  expected,
}));

function sumOf(amounts: readonly number[]): number {
  return amounts.reduce((sum, amount) => sum + amount, 0);
}

/** Of the sample; every step but the last is of safe integers. */
function varianceOf(amounts: readonly number[]): number {
  const n = amounts.length;
  const squares = sumOf(amounts.map((amount) => amount * amount));
  return (n * squares - sumOf(amounts) ** 2) / (n * (n - 1));
}

/** The definitions of a number. */
function drawn(number: number): DrawnDefinitions {
  const random = new Random(`definitions/${number}`);
  const candidates = VIEW_NAMES.filter(() => !random.oneIn(3)).map((name): DrawnView => {
    const count = random.between(1, FEATURE_NAMES.length);
    return {
      name,
      above: random.oneIn(3) ? undefined : random.pick([100, 500]),
      features: FEATURE_NAMES.slice(0, count).map((feature) => ({ name: feature, ...random.pick(MEANINGS) })),
    };
  });
  // Two views that compute the same are refused.
  const views = candidates.filter((view, i) => candidates.findIndex((other) => isAlike(view, other)) === i);
  const all = { name: 'all', features: ['totals:*', ...views.map(({ name }) => `${name}:*`)] };
  // Services that come and go, over some of the views.
  const some = views.filter(() => !random.oneIn(3)).map(({ name }) => `${name}:a`);
  const services = some.length === 0 ? [all] : [all, { name: 'some', features: [...some, 'totals:n'] }];
  const orders = drawnOrders(random.branch('orders'));
  if (orders !== undefined) services.push({ name: 'stock', features: [`${ORDERS_NAME}:*`] });
  return { views, orders, services };
}

function drawnOrders(random: Random): DrawnOrders | undefined {
  if (random.oneIn(3)) return undefined;
  const joins = random.oneIn(2);
  const features = FEATURE_NAMES.slice(0, random.between(1, 3)).map((name) => ({
    name,
    ...random.pick(ORDER_MEANINGS),
  }));
  // Beside the others, so that no two views compute the same: those of every set have no such feature.
  const more = { name: 'd', text: joins ? 'mean: factor' : 'sum: qty, rolling: 7s', expected: undefined };
  return { joins, features: [...features, more] };
}

function isAlike(a: DrawnView, b: DrawnView): boolean {
  const texts = ({ above, features }: DrawnView): string => JSON.stringify([above, features.map(({ text }) => text)]);
  return texts(a) === texts(b);
}

/** Views and services of the number's definitions as YAML, beside the view `totals`. */
export function drawnDefinitions(number: number): { readonly views: readonly string[]; readonly services: string } {
  const { views, orders, services } = drawn(number);
  return {
    views: [
      ...views.map(({ name, above, features }) =>
        viewText(name, 'activity', above === undefined ? '' : `where: amount > ${above}\n`, features),
      ),
      ...(orders === undefined ? [] : [viewText(ORDERS_NAME, 'orders', orders.joins ? JOIN : '', orders.features)]),
    ],
    services: services
      .map(
        ({ name, features }) => `
kind: FeatureService
name: ${name}
features: [${features.map((feature) => `"${feature}"`).join(', ')}]
`,
      )
      .join('\n---\n'),
  };
}

const JOIN = 'join:\n  - { table: catalog, on: { sku: sku }, columns: { factor: factor } }\n';

function viewText(name: string, source: string, clause: string, features: readonly DrawnFeature[]): string {
  return `
kind: FeatureView
name: ${name}
entity: user
source: ${source}
${clause}features:
${features.map((feature) => `  ${feature.name}: { ${feature.text} }`).join('\n')}
`;
}

/** What the lifetime features of a number's definitions are for each user, by "view:feature". */
export function expectedOf(
  number: number,
  rows: readonly ShopRow[],
  orders: readonly OrderRow[],
): ReadonlyMap<number, ReadonlyMap<string, bigint | number | null>> {
  const { views, orders: ordersView } = drawn(number);
  const byUser = Map.groupBy(rows, ({ user }) => user);
  const ordersByUser = Map.groupBy(orders, ({ user }) => user);
  const users = new Set([...byUser.keys(), ...ordersByUser.keys()]);
  return new Map(
    [...users].map((user) => {
      const values = new Map<string, bigint | number | null>();
      const amounts = (byUser.get(user) ?? []).map(({ amount }) => amount);
      for (const { name, above, features } of views) {
        const taken = amounts.filter((amount) => above === undefined || amount > above);
        put(values, name, features, taken, taken.length);
      }
      const own = ordersByUser.get(user) ?? [];
      const quantities = own.flatMap(({ qty }) => qty ?? []);
      if (ordersView !== undefined) put(values, ORDERS_NAME, ordersView.features, quantities, own.length);
      return [user, values];
    }),
  );
}

function put(
  into: Map<string, bigint | number | null>,
  view: string,
  features: readonly DrawnFeature[],
  values: readonly number[],
  rows: number,
): void {
  for (const { name, expected } of features) {
    if (expected !== undefined) into.set(`${view}:${name}`, expected(values, rows));
  }
}
