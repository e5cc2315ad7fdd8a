/**
 * Tells what was found of the quarantine at its start, and whatever is met later: a release or an erase tells only who asked for
 * it. Reads beside the work through what an index told of at the start. Owns the condition "quarantine/damaged".
 */
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { quarantineDamaged } from './quarantine-errors.ts';
import type { QuarantineFile } from './quarantine-file.ts';

/** Resolves when the file was read through, or the signal aborts. */
export async function watchQuarantine(
  quarantine: Pick<QuarantineFile, 'damage' | 'damageMet' | 'readWhole' | 'verify'>,
  { conditions, logger }: { readonly conditions: ConditionBoard; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  const { damage, readWhole } = quarantine;
  if (damage !== undefined) conditions.raise('quarantine/damaged', quarantineDamaged(damage));
  void quarantine.damageMet.then((met) => conditions.raise('quarantine/damaged', met));
  if (readWhole !== undefined)
    logger.warn('the quarantine was read whole, as its index was of no use', { why: readWhole });
  try {
    await quarantine.verify(signal);
  } catch (error) {
    if (signal.aborted) return;
    // What the disk refuses now is read by whoever needs it, or at the next start.
    if (!(error instanceof Error && 'code' in error)) throw error;
    logger.warn('the quarantine could not be read through', { error });
  }
}
