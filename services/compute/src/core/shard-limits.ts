/** What a shard may take of memory, and how it is cut into commits and frames. */
import type { JournalLimits } from './journal-index.ts';
import type { SweepPace } from './sweep-loop.ts';

/** What one frame may take. */
export interface FrameLimits {
  /** Bytes of rows, about: a single row may be more. */
  readonly bytes: number;
  /** Rows of a page. Each is made from its state, some 10 µs, while folding waits. */
  readonly pageRows: number;
  /** Keys looked at: a catch-up skips those that are told later anyway. */
  readonly keys: number;
}

export const FRAME_LIMITS: FrameLimits = { bytes: 256 * 1024, pageRows: 500, keys: 5_000 };

export interface ShardLimits {
  /** Clean and dirty key state in memory, in bytes; clean state is dropped beyond it. */
  readonly cacheBytes: number;
  /** A commit is begun when so many bytes of state are dirty. Folding waits when it is four times that. */
  readonly commitBytes: number;
  /** A commit is begun this long after the one before, in milliseconds. */
  readonly commitIntervalMs: number;
  /** Keys of changes in memory, in bytes. */
  readonly tailBytes: number;
  /** Encoded rows for several followers, in bytes. */
  readonly rowCacheBytes: number;
  readonly journal: JournalLimits;
  readonly frame: FrameLimits;
  /** By default SWEEP_PACE (sweep-loop.ts). */
  readonly sweep?: SweepPace | undefined;
}
