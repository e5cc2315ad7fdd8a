/**
 * One look at a database that is streamed, for what its stream does not tell: the danger that its slot is in, tables that are
 * others now, keys that changed. Owns no state; how often is table-watch.ts.
 */
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { slotDanger } from '../core/slot-danger.ts';
import { checkTables } from '../core/source-state.ts';
import { type KeyLook, lookAtKeys } from './key-look.ts';
import type { SourceStore } from './source-store.ts';

export interface SourceLook extends KeyLook {
  readonly slotName: string;
  readonly store: Pick<SourceStore, 'state' | 'noteHistory'>;
  /** Told what is wrong, and undefined when it is not any more. */
  readonly note: (what: 'slot' | 'keys', why: FreshetError | undefined) => void;
}

/** Throws SOURCE_NOT_READY when a table is another one, IdentityRestored when a route is to begin anew. */
export async function lookAtSource(wanted: readonly RoutePlan[], at: SourceLook): Promise<void> {
  const { session, slotName, store, note } = at;
  note('slot', slotDanger(slotName, await session.slot(slotName)));
  store.noteHistory();
  checkTables(store.state, await session.published(slotName), wanted);
  note('keys', await lookAtKeys(wanted, at));
}
