/**
 * Goes round a shard's stored state and frees what no value can show any more, so that state returns to its floor after the
 * last window of a key, or the last row, is over.
 *
 * Owns the pace: one page at a time with a pause after each, apart from folding, and a longer one after each round. Does not
 * own what may go (the fold decides by its own log time, so a shard that folds nothing frees nothing), nor writing: what is
 * freed goes with the next commit.
 *
 * Invariant R4: a page is bounded, and no further one is read while too much is uncommitted.
 */
import type { Shard } from './shard.ts';

export interface SweepPace {
  /** Keys of a page; they are looked at while folding waits. */
  readonly pageKeys: number;
  /** Bytes of a page, about. */
  readonly pageBytes: number;
  /** Between two pages, milliseconds. */
  readonly pageMs: number;
  /** Between two rounds, milliseconds. */
  readonly roundMs: number;
}

/** A shard that has so many records to fold, or a view to build, has no time for more than a tenth of the pace. */
const BEHIND_RECORDS = 10_000;
const BEHIND_TIMES = 10;

/** 10,000 keys a second at most. */
export const SWEEP_PACE: SweepPace = { pageKeys: 1_000, pageBytes: 256 * 1024, pageMs: 100, roundMs: 60_000 };

/** Runs until the signal aborts. */
export async function runSweeps(shard: Shard, signal: AbortSignal): Promise<void> {
  const { clock, limits } = shard.options;
  const pace = limits.sweep ?? SWEEP_PACE;
  while (!signal.aborted) {
    await clock.sleep(pace.roundMs, signal);
    for (const name of shard.fold.sweepable()) await sweepName(shard, name, pace, signal);
  }
}

async function sweepName(shard: Shard, name: string, pace: SweepPace, signal: AbortSignal): Promise<void> {
  const { clock, storage } = shard.options;
  const from = shard.committed?.position ?? 0;
  let afterKey: string | undefined;
  for (;;) {
    await shard.waitForRoom(signal);
    const { entries, last } = await storage.page(name, afterKey, { rows: pace.pageKeys, bytes: pace.pageBytes });
    signal.throwIfAborted();
    // The view may have gone, or begun anew, while the page was read; then the name is nobody's.
    if (shard.fold.broken !== undefined) return;
    shard.fold.sweep(name, entries);
    afterKey = entries.at(-1)?.[0] ?? afterKey;
    if (last) return shard.fold.swept(name, from);
    await clock.sleep(pauseMs(shard, pace), signal);
  }
}

/**
 * Between two pages. Measured while a view was built over a long log, with eight shards on one thread: a sixth of that thread's
 * time was for sweeps. What cannot be built does not slow them down, or nothing would be freed as long as it is there.
 */
export function pauseMs(shard: Pick<Shard, 'fold' | 'lostBuilds' | 'logEnd' | 'position'>, pace: SweepPace): number {
  const isBuilding = shard.fold.builds().some(({ viewId }) => !shard.lostBuilds.includes(viewId));
  const isBehind = isBuilding || shard.logEnd - shard.position > BEHIND_RECORDS;
  return isBehind ? pace.pageMs * BEHIND_TIMES : pace.pageMs;
}
