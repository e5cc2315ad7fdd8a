/**
 * Asks a database to tell again what it told since its slot was last written down, and compares (core/commit-trail.ts): on a
 * copy of the slot, which moves nothing. Asked only when the slot says less than was acknowledged: after a crash of the
 * database, or when it was put back. What it costs is what was committed in between, without any of it being kept.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { BatchTaker } from '../core/append-pipeline.ts';
import { ChangeStream } from '../core/change-stream.ts';
import { Retelling } from '../core/commit-trail.ts';
import { type LostHistory, lostCommits } from '../core/lost-history.ts';
import { Replication } from '../core/replication.ts';
import type { SourceDatabase } from '../core/source-database.ts';
import type { SourceState, WorldFacts } from '../core/source-state.ts';

/** Nothing is kept of what is told again. */
const NOWHERE: BatchTaker = {
  push: (_batch, settled) => settled(),
  room: async () => {},
  drained: async () => {},
};

/** Whether other commits are where the captured ones were; undefined: not, or nothing is told again. */
export async function lostByRetelling(
  database: Pick<SourceDatabase, 'openCopy'>,
  state: SourceState,
  world: WorldFacts,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<LostHistory | undefined> {
  const { landmark } = state;
  const { slot, slotName } = world;
  if (state.slot !== 'made' || landmark === undefined || slot === undefined) return undefined;
  if (slot.confirmedLsn >= landmark.untilLsn) return undefined;
  const fromLsn = slot.confirmedLsn;
  const retelling = new Retelling(landmark, fromLsn);
  const stream = new ChangeStream([]);
  const connection = await database.openCopy(slotName, signal);
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
  signal.throwIfAborted();
  return retelling.strayLsn === undefined ? undefined : lostCommits(state, world, retelling.strayLsn);
}
