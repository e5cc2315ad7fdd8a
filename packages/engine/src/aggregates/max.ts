/** max: the greatest non-null value. NaN is above every other double. */
import type { Aggregate } from './aggregate.ts';
import { extreme } from './extreme.ts';

export const max: Aggregate = extreme('max', -1);
