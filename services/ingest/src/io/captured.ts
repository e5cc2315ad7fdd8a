/**
 * Waits until all that a database has committed is in the log or in the quarantine, and never comes again: for whoever must not
 * have it come behind something. What is not acknowledged comes again after a stop, and what was taken out of the quarantine
 * meanwhile would be a new row then.
 *
 * Owns the waiting. What was captured is the source's to say; where the database's log ends, the database's.
 */
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { SourceDatabase } from '../core/source-database.ts';
import type { SourceReport } from '../core/source-report.ts';

/** How long it waits, and between looks. An idle server tells where it is every few seconds. */
const CAPTURED_MS_MAX = 30_000;
const POLL_MS = 50;

export interface CapturedOptions {
  readonly database: Pick<SourceDatabase, 'identify'>;
  readonly status: () => Pick<SourceReport, 'database' | 'phase' | 'acknowledgedLsn'>;
  readonly clock: Clock;
}

/**
 * Resolves when all that was committed when it was called is acknowledged. Throws UNAVAILABLE when the source does not follow,
 * or is too far behind; why the database cannot be asked; and the signal's reason.
 */
export async function captured({ database, status, clock }: CapturedOptions, signal: AbortSignal): Promise<void> {
  const { endLsn } = await database.identify(signal);
  const untilUs = clock.monotonicUs() + CAPTURED_MS_MAX * 1000;
  for (;;) {
    const { database: name, phase, acknowledgedLsn } = status();
    const isFollowing = phase === SourcePhase.STREAMING && endLsn !== undefined;
    if (isFollowing && acknowledgedLsn >= endLsn) return;
    if (!isFollowing || clock.monotonicUs() >= untilUs) {
      throw new FreshetError(
        'UNAVAILABLE',
        `ingest does not follow the commits of database ${name} now, or is far behind`,
        {
          place: `database ${name}`,
          remedy: 'see freshet status; ask again when the source is streaming and has caught up',
        },
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
}
