/** min: the least non-null value. */
import type { Aggregate } from './aggregate.ts';
import { extreme } from './extreme.ts';

export const min: Aggregate = extreme('min', 1);
