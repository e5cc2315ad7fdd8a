/**
 * Whether a log that was just opened still has what was durable in it when something was last saved. Pure.
 *
 * The log cannot tell by itself: a disk that says of a sync that it was done, and did nothing, loses the newest records
 * with the power, and what is left looks like a torn tail (as does a last commit that the disk damaged). So whoever saves
 * what rests on records in the log saves with it where the log ended, and compares when the log is opened again. What was
 * acknowledged is gone from the slot for good: it must be told, and read anew (I1, L1).
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { PartitionBounds } from '@freshet/log/log.ts';

/** Where each partition ends. */
export function endsOf(partitions: readonly PartitionBounds[]): readonly number[] {
  return partitions.map(({ end }) => end);
}

/** What the log lost, in words; '': nothing that was noted. `saved` may be of before ends were noted: empty. */
export function logLoss(saved: readonly number[], opened: readonly number[]): string {
  const lost = saved.flatMap((end, partition) => {
    const now = opened[partition] ?? 0;
    return now < end ? [`partition ${partition} ended at ${end} and now ends at ${now}`] : [];
  });
  return lost.slice(0, PARTITIONS_TOLD_MAX).join('; ');
}

const PARTITIONS_TOLD_MAX = 4;

/** Throws SLOT_LOST when the log lost records that the database was told are durable. */
export function checkLogLoss(lost: string, remedy: string): void {
  if (lost === '') return;
  throw new FreshetError('SLOT_LOST', `the log lost records that were acknowledged to the database: ${lost}`, {
    remedy: `Look at the disk of the log: it did not keep what it said it had written. To go on, ${remedy}`,
    place: lost,
  });
}
