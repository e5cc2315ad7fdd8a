/** Short ways for tests to write a log and a fold. Not used outside tests. */
import { ShardFold } from '../shard-fold.ts';
import {
  type ChangeOptions,
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  rolling,
  SECOND_US,
  START_US,
  TestLog,
  view,
  viewHex,
} from './plans.testing.ts';

export const COUNTS = view([feature('all', 'count', '', LIFETIME), feature('recent', 'count', '', rolling(60, 10))]);
export const SUMS = view([feature('sum', 'sum', 'n', LIFETIME)], { id: 2 });
export const V1 = viewHex(1);
export const V2 = viewHex(2);

export function newFold(cold = new MemoryCold(), meta?: Uint8Array, cacheBytes = 1e9): ShardFold {
  return new ShardFold({ cold, cacheBytes, meta });
}

export function define(generation: number, ...views: (typeof COUNTS)[]): Uint8Array {
  return encodeRecord({ case: 'definitions', value: definitions(generation, views) });
}

export function begin(route: number, generation: number): Uint8Array {
  return encodeRecord({ case: 'routeBegin', value: { route, generation } });
}

export function snapshotEnd(route: number, generation: number): Uint8Array {
  return encodeRecord({ case: 'snapshotEnd', value: { route, generation } });
}

/** A log whose records are all written at START_US unless a time is given. */
export class Script extends TestLog {
  add(record: Uint8Array, atS = 0): this {
    this.append(START_US + atS * SECOND_US, record);
    return this;
  }

  change(options: Partial<ChangeOptions> & { readonly sequence: number }, atS = 0): this {
    return this.add(change({ user: 1, eventTimeUs: START_US + atS * SECOND_US, ...options }), atS);
  }
}

/** The views in force, and a route that has begun, of a table without rows: the next offset is 3. */
export function started(...views: (typeof COUNTS)[]): Script {
  return new Script()
    .add(define(1, ...views))
    .add(begin(1, 1))
    .add(snapshotEnd(1, 1));
}
