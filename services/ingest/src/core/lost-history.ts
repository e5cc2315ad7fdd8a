/**
 * Whether the database still is the one that was captured, with all that came since: if not, the history that the log follows
 * is lost, and only reading everything anew makes it right. Pure: judges facts that were looked up, never a failure to look.
 *
 * I1: a slot that we did not make is never used, and one that moved without us is not trusted; nor is a cluster or a timeline
 * that is not the one captured so far (commits may be missing from it, or others in their place).
 * What can be told apart from a database that only was away: it is another cluster, it is on another timeline, its log ends
 * before what it told us of, it has other commits where those were (commit-trail.ts), the slot is gone, was invalidated, or
 * is beyond what we ever acknowledged.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { logLossError } from './log-loss.ts';
import { formatLsn } from './lsn.ts';
import type { ReplicationStream } from './source-database.ts';
import type { SourceState, WorldFacts } from './source-state.ts';
import { quoteLiteral } from './sql.ts';

/** How a person starts over, to end a sentence with. */
export const RESYNC_REMEDY =
  'start ingest with --resync <database>=<word>, the word being any that was not used before (today’s date): once for each word, it takes a new slot and reads every table anew, as a new generation.';

export interface LostHistory {
  /** What happened, in a word that stays the same at each look. */
  readonly kind: 'log' | 'cluster' | 'timeline' | 'rewound' | 'gone' | 'foreign' | 'invalidated' | 'moved';
  /** SLOT_LOST: what happened, and how a person goes on. */
  readonly error: FreshetError;
  /** Whether starting over takes nothing away from anybody else: the slot of our name, if there is one, is ours. */
  readonly rebuildable: boolean;
}

/** What is lost; undefined: nothing. */
export function lostHistory(state: SourceState, world: WorldFacts): LostHistory | undefined {
  return lostCluster(state, world) ?? lostRecords(state, world) ?? lostSlot(state, world);
}

function lostCluster(
  state: SourceState,
  { systemId, timeline, endLsn, slot, slotName }: WorldFacts,
): LostHistory | undefined {
  if (state.systemId !== '' && state.systemId !== systemId) {
    const there = slot === undefined ? '' : `Drop its slot ${slotName} there, if nothing needs it. `;
    return {
      kind: 'cluster',
      // A name or an address that leads elsewhere for a moment must not cost what is captured: a person says which it is.
      rebuildable: false,
      error: lost('the database is another cluster than the one captured so far', {
        remedy: `${there}If that is meant, ${RESYNC_REMEDY}`,
        place: `system identifier ${systemId}, before: ${state.systemId}`,
      }),
    };
  }
  if (state.timeline !== 0 && state.timeline !== timeline) {
    return {
      kind: 'timeline',
      rebuildable: isIdle(slot),
      error: lost(
        `the database failed over or was restored: it is on timeline ${timeline} now, and was captured on ${state.timeline}; commits after the two parted may differ`,
        {
          remedy: `If this is the database to capture from now on, ${RESYNC_REMEDY}`,
          place: `timeline ${timeline}, before: ${state.timeline}`,
        },
      ),
    };
  }
  if (state.slot === 'made' && endLsn !== undefined && endLsn < state.acknowledgedLsn) {
    return {
      kind: 'rewound',
      rebuildable: isIdle(slot),
      error: lost(
        `the database was put back to an earlier state: its log ends at ${formatLsn(endLsn)}, and was captured up to ${formatLsn(state.acknowledgedLsn)}`,
        {
          remedy: `If this is the database to capture from now on, ${RESYNC_REMEDY}`,
          place: `write-ahead log at ${formatLsn(endLsn)}`,
        },
      ),
    };
  }
  return undefined;
}

/** What it means that another commit is where the captured ones were, or none. */
export function lostCommits(state: SourceState, { slot }: WorldFacts, strayLsn: bigint): LostHistory {
  return {
    kind: 'rewound',
    rebuildable: isIdle(slot),
    error: lost(
      `the database was put back to an earlier state: it was captured up to ${formatLsn(state.acknowledgedLsn)}, and now has other commits before there`,
      {
        remedy: `If this is the database to capture from now on, ${RESYNC_REMEDY}`,
        place: `write-ahead log at ${formatLsn(strayLsn)}`,
      },
    ),
  };
}

/**
 * Refuses a stream that leads to another history than the one that was looked at: a database was swapped in between. Throws
 * SOURCE_UNREACHABLE, so that it is looked at again.
 */
export function checkStream(state: SourceState, { identity }: Pick<ReplicationStream, 'identity'>): void {
  if (identity === undefined) return;
  const { systemId, timeline, endLsn } = identity;
  const isSame =
    systemId === state.systemId &&
    timeline === state.timeline &&
    (endLsn === undefined || endLsn >= state.acknowledgedLsn);
  if (isSame) return;
  throw new FreshetError('SOURCE_UNREACHABLE', 'another database answers than a moment ago', {
    remedy: 'Nothing: it is looked at again, and told what it is.',
    place: `system identifier ${systemId}, timeline ${timeline}`,
  });
}

/** What our own log lost of what was acknowledged. */
function lostRecords(state: SourceState, { slot }: WorldFacts): LostHistory | undefined {
  const error = logLossError(state.logLost, RESYNC_REMEDY);
  return error && { kind: 'log', error, rebuildable: isIdle(slot) };
}

/** What became of our slot; undefined also while we have none. */
function lostSlot(state: SourceState, { slot, slotName, database }: WorldFacts): LostHistory | undefined {
  const place = `replication slot ${slotName}`;
  if (slot === undefined) {
    if (state.slot !== 'made') return undefined;
    return {
      kind: 'gone',
      rebuildable: true,
      error: lost(
        `the replication slot ${slotName} is gone; changes since ${formatLsn(state.acknowledgedLsn)} may be lost`,
        { remedy: `To go on, ${RESYNC_REMEDY}`, place },
      ),
    };
  }
  if (state.slot === 'none') return undefined;
  if (slot.plugin !== 'pgoutput' || slot.database !== database) {
    return {
      kind: 'foreign',
      rebuildable: false,
      error: lost(`the replication slot ${slotName} is another one now (${slot.plugin} of database ${slot.database})`, {
        remedy: `Drop it or choose another --slot-name; then ${RESYNC_REMEDY}`,
        place,
      }),
    };
  }
  if (slot.walStatus === 'lost' || slot.invalidationReason !== '') {
    const why = slot.invalidationReason || 'its log was removed: see max_slot_wal_keep_size';
    return {
      kind: 'invalidated',
      rebuildable: true,
      error: lost(`the replication slot ${slotName} was invalidated (${why})`, {
        remedy: `To go on, ${RESYNC_REMEDY}`,
        place,
      }),
    };
  }
  if (state.slot === 'made' && slot.confirmedLsn > state.acknowledgedLsn) {
    return {
      kind: 'moved',
      rebuildable: isIdle(slot),
      error: lost(
        `the replication slot ${slotName} is at ${formatLsn(slot.confirmedLsn)}, but only ${formatLsn(state.acknowledgedLsn)} was ever acknowledged: it was made anew or moved by somebody else`,
        { remedy: `Changes in between are lost to it. To go on, ${RESYNC_REMEDY}`, place },
      ),
    };
  }
  return undefined;
}

/** A slot that somebody reads is somebody's. */
function isIdle(slot: WorldFacts['slot']): boolean {
  return slot?.active !== true;
}

/** Refuses a slot of our name that we did not make. Throws SOURCE_NOT_READY. */
export function checkOwnSlot(state: SourceState, { slot, slotName }: WorldFacts): void {
  if (slot === undefined || state.slot !== 'none') return;
  throw new FreshetError('SOURCE_NOT_READY', `there is a replication slot ${slotName} that this node did not make`, {
    remedy: `Choose another --slot-name, or, if nothing needs it any more: SELECT pg_drop_replication_slot(${quoteLiteral(slotName)});`,
    place: `replication slot ${slotName}`,
  });
}

function lost(message: string, options: { readonly remedy: string; readonly place: string }): FreshetError {
  return new FreshetError('SLOT_LOST', message, options);
}
