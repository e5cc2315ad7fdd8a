/**
 * The cold store, with what it failed with last: so that a record that cannot be read is told from a store that cannot.
 *
 * A build that meets a bad record stands there until its route is read anew at the source. A store that has no file
 * descriptor left, or is damaged, says nothing about the record: the fold is made again from its last commit.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { ColdState } from '../shard-fold.ts';

export class WatchedCold implements ColdState {
  readonly #cold: ColdState;
  /** What the store failed with last. */
  failure: unknown;

  constructor(cold: ColdState) {
    this.#cold = cold;
  }

  load(instance: string, key: string): Uint8Array | undefined {
    try {
      return this.#cold.load(instance, key);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  *scan(instance: string, afterKey: string | undefined): Iterable<[key: string, state: Uint8Array]> {
    assert(this.#cold.scan !== undefined, 'the cold store cannot be scanned');
    yield* this.#cold.scan(instance, afterKey);
  }
}
