/**
 * Tells what was found of the quarantine at its start, and reads beside the work through what an index told of then. Owns the
 * condition "quarantine/damaged".
 */
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { quarantineDamaged } from './quarantine-errors.ts';
import type { QuarantineFile } from './quarantine-file.ts';

/** Resolves when the file was read through, or the signal aborts. */
export async function watchQuarantine(
  quarantine: Pick<QuarantineFile, 'damage' | 'readWhole' | 'verify'>,
  { conditions, logger }: { readonly conditions: ConditionBoard; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  const { damage, readWhole } = quarantine;
  if (damage !== undefined) conditions.raise('quarantine/damaged', quarantineDamaged(damage));
  if (readWhole !== undefined)
    logger.warn('the quarantine was read whole, as its index was of no use', { why: readWhole });
  try {
    const found = await quarantine.verify(signal);
    if (found !== undefined) conditions.raise('quarantine/damaged', found);
  } catch (error) {
    if (signal.aborted) return;
    // What the disk refuses now is read by whoever needs it, or at the next start.
    if (!(error instanceof Error && 'code' in error)) throw error;
    logger.warn('the quarantine could not be read through', { error });
  }
}
