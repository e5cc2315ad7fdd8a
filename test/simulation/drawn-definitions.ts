/**
 * Definitions drawn from a number: views that come, go and change what they compute under the same names, with services
 * over several of them; and what each lifetime feature must be in the end, straight from the database's rows.
 *
 * Few names, each with many meanings: an answer that took one column from the definitions before and one from those after
 * has the names of either. A number is one set of definitions for ever, so that going back to it is going back to the
 * files that were applied before. The view `totals` is in all of them, as it is.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';

export interface ShopRow {
  readonly user: number;
  readonly amount: number;
}

interface DrawnFeature {
  readonly name: string;
  /** As YAML: an aggregate, its input, its window. */
  readonly text: string;
  /** Over all rows that the view takes, in no order; undefined where the value depends on times. */
  readonly expected: ((amounts: readonly number[]) => bigint | number | null) | undefined;
}

interface DrawnView {
  readonly name: string;
  /** Only rows with a greater amount are taken; undefined: all are. */
  readonly above: number | undefined;
  readonly features: readonly DrawnFeature[];
}

interface DrawnDefinitions {
  readonly views: readonly DrawnView[];
  readonly services: readonly { readonly name: string; readonly features: readonly string[] }[];
}

const VIEW_NAMES = ['recent', 'minutes', 'extra'] as const;
const FEATURE_NAMES = ['a', 'b', 'c'] as const;

/** A null is a value that is ABSENT. */
const MEANINGS: readonly Omit<DrawnFeature, 'name'>[] = [
  { text: 'count: {}', expected: (amounts) => BigInt(amounts.length) },
  { text: 'sum: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(sumOf(amounts))) },
  { text: 'max: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(Math.max(...amounts))) },
  { text: 'min: amount', expected: (amounts) => (amounts.length === 0 ? null : BigInt(Math.min(...amounts))) },
  { text: 'mean: amount', expected: (amounts) => (amounts.length === 0 ? null : sumOf(amounts) / amounts.length) },
  { text: 'variance: amount', expected: (amounts) => (amounts.length < 2 ? null : varianceOf(amounts)) },
  { text: 'last: amount', expected: undefined },
  { text: 'count: {}, rolling: 10s', expected: undefined },
  { text: 'sum: amount, tumbling: 5s', expected: undefined },
];

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
  return { views, services };
}

function isAlike(a: DrawnView, b: DrawnView): boolean {
  const texts = ({ above, features }: DrawnView): string => JSON.stringify([above, features.map(({ text }) => text)]);
  return texts(a) === texts(b);
}

/** Views and services of the number's definitions as YAML, beside the view `totals`. */
export function drawnDefinitions(number: number): { readonly views: readonly string[]; readonly services: string } {
  const { views, services } = drawn(number);
  return {
    views: views.map(
      ({ name, above, features }) => `
kind: FeatureView
name: ${name}
entity: user
source: activity
${above === undefined ? '' : `where: amount > ${above}\n`}features:
${features.map((feature) => `  ${feature.name}: { ${feature.text} }`).join('\n')}
`,
    ),
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

/** What the lifetime features of a number's definitions are for each user, by "view:feature". */
export function expectedOf(
  number: number,
  rows: readonly ShopRow[],
): ReadonlyMap<number, ReadonlyMap<string, bigint | number | null>> {
  const { views } = drawn(number);
  const byUser = Map.groupBy(rows, ({ user }) => user);
  return new Map(
    [...byUser].map(([user, own]) => {
      const values = new Map<string, bigint | number | null>();
      for (const { name, above, features } of views) {
        const taken = own.map(({ amount }) => amount).filter((amount) => above === undefined || amount > above);
        for (const feature of features) {
          if (feature.expected !== undefined) values.set(`${name}:${feature.name}`, feature.expected(taken));
        }
      }
      return [user, values];
    }),
  );
}
