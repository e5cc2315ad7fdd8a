/** Judges whether our slot is about to be lost: in time to do something, which after its loss is only a resync. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { SlotFacts } from './source-state.ts';

/** What is wrong with a slot that is still sound; undefined: nothing. */
export function slotDanger(slotName: string, slot: SlotFacts | undefined): FreshetError | undefined {
  if (slot === undefined || slot.walStatus !== 'unreserved') return undefined;
  const bytes = slot.safeWalBytes === undefined ? '' : ` (${slot.safeWalBytes} bytes left)`;
  return new FreshetError(
    'SLOT_LOST',
    `the replication slot ${slotName} is about to be lost: the server will remove log that was not captured yet${bytes}`,
    {
      remedy:
        'ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf(); -- and see why capture is behind: freshet status',
      place: `replication slot ${slotName}`,
    },
  );
}
