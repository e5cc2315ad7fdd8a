/**
 * Gathers, of the quarantine and the log, what was decided of rows that may come again (core/earlier-decisions.ts). Owns
 * nothing that lasts. To be asked while nothing of the routes is on its way to either.
 */
import { EarlierDecisions } from '../core/earlier-decisions.ts';
import type { RowPlace } from '../core/quarantine.ts';
import { type SLOT_LANE, SNAPSHOT_LANE } from '../core/route.ts';
import type { RouteState } from '../core/source-state.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import type { SourceStore } from './source-store.ts';

/** By route, of a lane: all rows of a snapshot come again, those of the slot from the acknowledged position on. */
export async function earlierDecisions(
  states: readonly RouteState[],
  lane: typeof SNAPSHOT_LANE | typeof SLOT_LANE,
  of: {
    readonly quarantine: Pick<QuarantineFile, 'newestOf' | 'newestAlone' | 'places'>;
    readonly store: Pick<SourceStore, 'state' | 'logged'>;
  },
): Promise<(route: number) => EarlierDecisions> {
  const { quarantine, store } = of;
  const fromLsn = lane === SNAPSHOT_LANE ? 0n : store.state.acknowledgedLsn;
  const generations = new Map(states.map(({ route, generation }) => [route, generation]));
  const mayComeAgain = (place: RowPlace): boolean =>
    place.lane === lane && generations.get(place.route) === place.generation && place.major >= fromLsn;
  const newest = states.map(({ route, generation }) => quarantine.newestAlone({ route, generation, lane }));
  // The file may be long, and most of the time none of it matters.
  const isAny = newest.some((place) => place !== undefined && mayComeAgain(place));
  const aside = isAny
    ? await quarantine.places((entry) => entry.held === undefined && mayComeAgain(entry))
    : new Set<string>();
  const logged = await store.logged();
  return (route) => {
    const generation = generations.get(route) ?? 0;
    const newestAside = quarantine.newestOf({ route, generation, lane });
    const newestAlone = quarantine.newestAlone({ route, generation, lane });
    return new EarlierDecisions({
      lane,
      aside,
      newestAlone,
      newestAside,
      inLog: logged.newestOf(route, generation, lane),
    });
  };
}
