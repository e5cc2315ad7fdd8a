/**
 * One shard of a subscription, through however many lives the shard has while the subscription lasts.
 *
 *     following ──shard stops, its state cannot be read──▶ unavailable, told once ──it runs again──▶ following
 *         └── does not get going for a while ──▶ unavailable, told once; still trying ──▶ following
 *
 * Owns what becomes of a shard that cannot be followed for now: it is told in the stream, which goes on for the other
 * shards, and taken up again from its last cursor. Does not own how a running shard is followed (shard-follower.ts).
 * Faults of ours, which no retry would mend, end the stream.
 *
 * Invariant R1: the next life is followed from the last cursor sent, checked as any other.
 */
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { type Cursor, type Frame, unavailableFrame } from './frame.ts';
import type { Shard } from './shard.ts';
import { type FollowOptions, ShardFollower } from './shard-follower.ts';
import type { ShardSource } from './shard-source.ts';

/**
 * How long a shard may take to get going before that is told, microseconds. A node that restarts folds a second of the
 * log again; one that is further behind is worth turning away from, if there is another.
 */
const PATIENCE_US = 2_000_000;

/** How long a life that failed for somebody is left alone by him, microseconds. */
const REST_US = 1_000_000;

export class FollowedShard {
  readonly #source: ShardSource;
  readonly #options: FollowOptions;
  readonly #onNews: () => void;
  #cursor: Cursor;
  #follower: ShardFollower | undefined;
  /** The code of the error by which the subscriber knows that the shard is unavailable; undefined when it is not. */
  #told: string | undefined;
  /** The life that failed last. */
  #failed: Shard | undefined;
  #restsUntilUs = -Infinity;
  /** Since when there was no frame that says how far the shard is, monotonic microseconds. */
  #waitsSinceUs: number | undefined;

  constructor(source: ShardSource, cursor: Cursor, options: FollowOptions, onNews: () => void) {
    this.#source = source;
    this.#cursor = cursor;
    this.#options = options;
    this.#onNews = onNews;
  }

  /** As ShardFollower.waitsUntilUs. */
  get waitsUntilUs(): number | undefined {
    const follower = this.#follower;
    if (follower === undefined) {
      const running = this.#running();
      return running !== undefined && running === this.#failed ? this.#restsUntilUs : undefined;
    }
    if (follower.waitsFor === undefined || this.#told !== undefined) return follower.waitsUntilUs;
    return this.#waitsSinceUs === undefined ? undefined : this.#waitsSinceUs + PATIENCE_US;
  }

  close(): void {
    this.#follower?.close();
    this.#follower = undefined;
  }

  /** As ShardFollower.next, but never throws for what is only this shard's. */
  async next(nowUs: number): Promise<Frame | 'busy' | undefined> {
    this.#takeUp(nowUs);
    const follower = this.#follower;
    if (follower === undefined) return this.#tell(this.#whyDown());
    try {
      const frame = await follower.next(nowUs);
      const { waitsFor } = follower;
      if (frame === undefined && waitsFor !== undefined) {
        const isLate = nowUs >= (this.#waitsSinceUs ?? nowUs) + PATIENCE_US;
        return isLate ? this.#tell(this.#unavailable(`cannot be followed yet: ${waitsFor}`)) : undefined;
      }
      if (frame !== undefined && frame !== 'busy') this.#told = undefined;
      return frame;
    } catch (error) {
      if (this.#options.signal.aborted || isAbort(error) || !isFreshetError(error)) throw error;
      return this.#drop(follower, error, nowUs);
    }
  }

  #running(): Shard | undefined {
    const shard = this.#source.shard(this.#cursor.shard);
    return shard?.failure === undefined ? shard : undefined;
  }

  /** Follows the life that runs, if there is one. */
  #takeUp(nowUs: number): void {
    if (this.#follower !== undefined) return;
    const shard = this.#running();
    if (shard === undefined || (shard === this.#failed && nowUs < this.#restsUntilUs)) return;
    this.#follower = new ShardFollower(shard, this.#cursor, this.#options, this.#onNews);
    this.#waitsSinceUs = nowUs;
  }

  #drop(follower: ShardFollower, error: FreshetError, nowUs: number): Frame | undefined {
    this.#cursor = follower.cursor;
    this.#failed = follower.shard;
    this.#restsUntilUs = nowUs + REST_US;
    this.close();
    // Damage is the shard's to mend: the commit loop looks at what the reading found.
    if (isFreshetError(error, 'DATA_DAMAGED')) follower.shard.commitWanted.set();
    return this.#tell(error);
  }

  #whyDown(): FreshetError {
    return this.#source.whyDown(this.#cursor.shard) ?? this.#unavailable('does not run now');
  }

  #unavailable(why: string): FreshetError {
    return new FreshetError('UNAVAILABLE', `shard ${this.#cursor.shard} ${why}`);
  }

  #tell(error: FreshetError): Frame | undefined {
    if (this.#told === error.code) return undefined;
    this.#told = error.code;
    return unavailableFrame(this.#follower?.cursor ?? this.#cursor, error);
  }
}
