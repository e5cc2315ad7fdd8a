/**
 * Reads the log from the shard's position on and folds it.
 *
 * Owns reading, slicing and trying again. Does not own what a fold or a commit does (shard.ts).
 * No timer is on the way from a record to its followers: what the log has is folded and published at once; under load a
 * slice takes up to 2,000 records or 5 ms, and its rows are told once.
 */
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import type { Shard } from './shard.ts';

/** The most records between two publications. */
export const SLICE_RECORDS = 2_000;
/** The most time between two publications, microseconds: what a batch adds to freshness. */
const SLICE_US = 5_000;
/** Records folded between two looks at the clock. */
const STEP_RECORDS = 128;

/** Runs until the signal aborts. Throws what makes the shard's state unusable: WRONG_LOG, DATA_DAMAGED of the store. */
export async function runLive(shard: Shard, signal: AbortSignal): Promise<void> {
  const { log, clock, logger, storage } = shard.options;
  await retry(
    async (healthy) => {
      const { logId, partitions } = await log.describe(signal);
      shard.checkLog(logId, partitions[shard.shard]);
      await shard.checkHistory(signal);
      shard.options.onHealthy?.();
      await shard.options.beforeReading?.(logId, signal);
      for await (const batch of log.read(shard.shard, shard.position, signal)) {
        healthy();
        shard.options.onLogDamage?.(undefined);
        shard.noteLogEnd(batch.end);
        await foldBatch(shard, batch.entries, signal);
        if (signal.aborted) return;
      }
      // A reading that ends by itself lost its peer.
      if (!signal.aborted) throw new FreshetError('UNAVAILABLE', 'the log ended the reading');
    },
    {
      what: `reading partition ${shard.shard} of the log`,
      signal,
      clock,
      random: shard.options.random,
      log: logger,
      // Damage in the log is for the log's operator to mend; what is folded stays served meanwhile.
      retryable: (error) => {
        if (storage.damage !== undefined) return false;
        if (error.code === 'DATA_DAMAGED') shard.options.onLogDamage?.(error);
        if (error.code === 'DATA_DAMAGED') return true;
        // A fold that a disk broke within a record is made again, by the next life, from the last commit.
        return shard.fold.broken === undefined && (error.retryable || isAbort(error));
      },
    },
  );
}

async function foldBatch(shard: Shard, entries: readonly LogEntry[], signal: AbortSignal): Promise<void> {
  const { clock, yieldNow } = shard.options;
  for (let from = 0; from < entries.length && !signal.aborted; ) {
    const begunUs = clock.monotonicUs();
    const limit = Math.min(entries.length, from + SLICE_RECORDS);
    let to = from;
    let isHeldUp = false;
    do {
      const step = Math.min(limit, to + STEP_RECORDS);
      to += shard.foldEntries(step - to === entries.length ? entries : entries.slice(to, step));
      // The next record needs more than a slice: the others have their turn first.
      isHeldUp = to < step;
    } while (!isHeldUp && to < limit && clock.monotonicUs() - begunUs < SLICE_US);
    shard.publish();
    await shard.waitForRoom(signal);
    // Followers, other shards and commits get a turn between slices of a long batch.
    if (to < entries.length) await yieldNow();
    from = to;
  }
}
