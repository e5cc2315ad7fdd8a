/**
 * What to tell, for a day, of a history that was lost and read anew: the numbers that people see have a seam there. Pure.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { formatLsn } from './lsn.ts';

/** The newest loss; kept in the source's state. */
export interface HistoryLoss {
  /** Ingest's clock, microseconds since the Unix epoch. */
  readonly atUs: number;
  /** What happened, in a sentence without its end. */
  readonly what: string;
  /** Up to here it was captured. */
  readonly fromLsn: bigint;
  /** From here on it is; undefined until everything was read anew. */
  readonly toLsn?: bigint | undefined;
}

const TOLD_US = 86_400_000_000;

/** What to say of a loss; undefined: it was long ago. */
export function historyNotice(loss: HistoryLoss | undefined, name: string, nowUs: number): FreshetError | undefined {
  if (loss === undefined || nowUs - loss.atUs > TOLD_US) return undefined;
  const to = loss.toLsn === undefined ? 'and is being read anew' : `and was read anew at ${formatLsn(loss.toLsn)}`;
  const day = new Date(loss.atUs / 1_000).toISOString();
  return new FreshetError(
    'SLOT_LOST',
    `${day}: ${loss.what}. It had been captured up to ${formatLsn(loss.fromLsn)}, ${to}, as a new generation`,
    {
      remedy:
        'Nothing: mutable sources are as their tables are. Append sources have the rows that their tables still had: rows that ' +
        'were deleted there before are no longer counted. This notice goes after a day.',
      place: `database ${name}`,
    },
  );
}
