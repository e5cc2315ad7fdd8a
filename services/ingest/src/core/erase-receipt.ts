/**
 * The places of an erase's receipt: who may tell of which, which are still open, and who has not been asked yet. Pure.
 *
 * The Erase record itself goes only when the receipt is complete, and then nobody can fold it any more. So a compute node
 * that has state of the shard and was not reached (it is down, say) must keep the receipt open: come back behind the
 * record's offset, it would find a filler there, go on with the entity, and serve it for ever (F1).
 */
import { clone, create } from '@bufbuild/protobuf';
import { type ErasePlace, ErasePlaceSchema, type EraseState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** What only ingest itself can tell of, and has looked at before an erase is complete. */
const OWN_KINDS: readonly string[] = ['log', 'quarantine'];

/** Initial rows on their way to the log: no erase is begun while there are any, which its receipt says. */
const STAGES = 'stages';

/** Says that nothing was staged when the erase began. */
export function putNoStages(state: EraseState): void {
  putPlace(state, {
    kind: STAGES,
    place: 'ingest',
    done: true,
    detail: 'none: no initial rows were being read when it began; what is read later is what the database still has',
    count: 0n,
  });
}

/** Puts a place into the receipt, instead of what was there of it. */
export function putPlace(state: EraseState, place: Omit<ErasePlace, '$typeName' | '$unknown'>): void {
  const index = state.places.findIndex((one) => one.kind === place.kind && one.place === place.place);
  const message = '$typeName' in place ? clone(ErasePlaceSchema, place as ErasePlace) : create(ErasePlaceSchema, place);
  if (index < 0) state.places.push(message);
  else state.places[index] = message;
}

/** Puts what others tell. Throws INVALID_REQUEST for what is not theirs to tell. */
export function putTold(state: EraseState, places: readonly ErasePlace[]): void {
  const own = places.find(({ kind }) => kind === STAGES || OWN_KINDS.includes(kind));
  if (own !== undefined) {
    throw new FreshetError('INVALID_REQUEST', `what is left in the ${own.kind} only ingest can say`, {
      place: 'places',
      remedy: 'ask for the erase again: ingest tells of its own places then',
    });
  }
  for (const place of places) putPlace(state, place);
}

/** Opens a place for each compute node that has state of the shard and of which nothing was told yet. */
export function putHolders(state: EraseState, nodeIds: readonly string[]): void {
  for (const nodeId of nodeIds) {
    const place = `compute ${nodeId}, shard ${state.partition}`;
    if (state.places.some((one) => one.place === place)) continue;
    const detail = 'it has state of the shard, and was not asked yet: start it, and ask again';
    putPlace(state, { kind: 'shard', place, done: false, detail, count: 0n });
  }
}

/** A place where something is left to be done; undefined: nowhere. What ingest has not looked at yet is open. */
export function openPlace({ places }: EraseState): string | undefined {
  const open = places.find(({ done }) => !done)?.place;
  return open ?? OWN_KINDS.find((kind) => !places.some((place) => place.kind === kind));
}
