/**
 * Asks a database to tell again what it told since its slot was last written down, and compares (core/commit-trail.ts): on a
 * copy of the slot, or by looking into it where no slot is free for one, which moves nothing. Asked only when the slot says less
 * than was acknowledged or than the log has: after a crash of the database or of ours, or when it was put back. What it costs is
 * what was committed in between, without any of it being kept.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { BatchTaker } from '../core/append-pipeline.ts';
import { ChangeStream } from '../core/change-stream.ts';
import { Retelling } from '../core/commit-trail.ts';
import { type LostHistory, lostCommits } from '../core/lost-history.ts';
import { Replication } from '../core/replication.ts';
import type { SourceDatabase } from '../core/source-database.ts';
import type { WorldFacts } from '../core/source-state.ts';
import type { SourceStore } from './source-store.ts';

/** Nothing is kept of what is told again. */
const NOWHERE: BatchTaker = {
  push: (_batch, settled) => settled(),
  room: async () => {},
  drained: async () => {},
};

/** Whether other commits are where the captured ones were; undefined: not, or nothing is told again. */
export async function lostByRetelling(
  database: Pick<SourceDatabase, 'openRetelling'>,
  store: Pick<SourceStore, 'state' | 'logged'>,
  world: WorldFacts,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<LostHistory | undefined> {
  const { state } = store;
  const { slot, slotName, endLsn } = world;
  if (state.slot !== 'made' || slot === undefined) return undefined;
  // A route that has ended, as all have when the source starts over, may have rows of a history that is known to be lost.
  const live = state.routes.filter(({ phase }) => phase === 'live');
  const logged = (await store.logged()).newestCommit(live);
  const retelling = new Retelling({ landmark: state.landmark, logged }, slot.confirmedLsn);
  if (endLsn !== undefined) retelling.ends(endLsn);
  if (!retelling.isOver) await retell(database, { slotName, fromLsn: slot.confirmedLsn, retelling, clock, signal });
  signal.throwIfAborted();
  return retelling.strayLsn === undefined ? undefined : lostCommits(state, world, retelling.strayLsn);
}

/** Has it told again until it is known. */
async function retell(
  database: Pick<SourceDatabase, 'openRetelling'>,
  {
    slotName,
    fromLsn,
    retelling,
    clock,
    signal,
  }: {
    readonly slotName: string;
    readonly fromLsn: bigint;
    readonly retelling: Retelling;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const stream = new ChangeStream([]);
  const connection = await database.openRetelling(slotName, signal);
  try {
    const replication: Replication = new Replication({
      connection,
      stream,
      pipeline: NOWHERE,
      acknowledgedLsn: fromLsn,
      save: async () => {},
      isDone: () => {
        for (const commit of stream.trail.take()) retelling.commit(commit);
        if (!stream.inTransaction) retelling.passed(replication.progress.durableLsn);
        return retelling.isOver;
      },
      clock,
      signal,
    });
    await replication.run(() => {});
  } finally {
    await connection.close();
  }
}
