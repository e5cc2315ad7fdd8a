/** The aggregates by name. To add one: write its file, add it here. docs/values.md lists them. */
import type { Aggregate } from './aggregate.ts';
import { count } from './count.ts';
import { last } from './last.ts';
import { max } from './max.ts';
import { mean } from './mean.ts';
import { min } from './min.ts';
import { sum } from './sum.ts';
import { stddev, stddevPop, variance, variancePop } from './variance.ts';

const AGGREGATES: ReadonlyMap<string, Aggregate> = new Map(
  [count, sum, mean, min, max, last, variance, variancePop, stddev, stddevPop].map((aggregate) => [
    aggregate.name,
    aggregate,
  ]),
);

/** The names of all aggregates. */
export const aggregateNames: readonly string[] = [...AGGREGATES.keys()];

/** The aggregate of that name, if there is one. */
export function aggregateByName(name: string): Aggregate | undefined {
  return AGGREGATES.get(name);
}
