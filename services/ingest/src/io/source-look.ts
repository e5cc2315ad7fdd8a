/**
 * One look at a database that is streamed, for what its stream does not tell: the danger that its slot is in, tables that are
 * others now, keys that changed, values that were computed anew, partitions that came or went, tables that became partitions.
 * Owns no state; how often is table-watch.ts.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { slotDanger } from '../core/slot-danger.ts';
import { checkTables } from '../core/source-state.ts';
import { type BesideLook, lookBeside } from './beside-look.ts';
import { lookAtFills, valuesNotice } from './fill-look.ts';
import { keepsContract } from './kept-contract.ts';
import { type KeyLook, lookAtKeys } from './key-look.ts';
import { lookAtParts, type PartLook } from './part-look.ts';
import type { Wanted } from './source-parts.ts';
import type { SourceStore } from './source-store.ts';

export interface SourceLook extends KeyLook {
  readonly stream: Pick<ChangeStream, 'distrust' | 'routes' | 'noteValues'>;
  readonly slotName: string;
  readonly parts: Omit<PartLook, 'session' | 'store'> & Pick<BesideLook, 'tells'>;
  readonly store: Pick<SourceStore, 'state' | 'noteHistory' | 'update'>;
  /** Told what is wrong, and undefined when it is not any more. */
  readonly note: (what: 'slot' | 'keys' | 'values', why: FreshetError | undefined) => void;
  readonly clock: Pick<Clock, 'nowUs'>;
}

/**
 * Throws SOURCE_NOT_READY when a table is another one or has other values, IdentityRestored when a route is to begin anew.
 */
export async function lookAtSource(wanted: Wanted, at: SourceLook): Promise<void> {
  const { session, slotName, store, parts, note, clock } = at;
  note('slot', slotDanger(slotName, await session.slot(slotName)));
  store.noteHistory();
  const published = await session.published(slotName);
  checkTables(store.state, published, wanted.routes);
  note('keys', await lookAtKeys(wanted.routes, at));
  await lookAtValues(wanted, at);
  note('values', valuesNotice(wanted, { store, nowUs: clock.nowUs() }));
  await lookAtParts(wanted, { ...parts, session, store });
  await lookBeside(wanted, { session, store, tells: parts.tells, published });
}

async function lookAtValues(wanted: Wanted, { session, store, stream, clock }: SourceLook): Promise<void> {
  const oids = store.state.routes.flatMap(({ phase, tableOid }) => (phase === 'live' ? [tableOid] : []));
  await lookAtFills(wanted, {
    fills: await session.fills([...new Set(oids)]),
    keeps: (plan) => keepsContract(plan, wanted, session),
    store,
    stream,
    nowUs: clock.nowUs(),
    mustSave: false,
  });
}
