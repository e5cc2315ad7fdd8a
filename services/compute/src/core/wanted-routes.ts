/**
 * Which routes the shards need from their beginning and do not find in the log.
 *
 * Two reasons there are: a view whose build begins with records that were trimmed, and a shard that lost all its state and
 * began where the log begins now, after its routes had. The rows of a view that joins are wanted behind its tables then: with
 * what the tables were before only others can have joined them. Not sooner: a table that has not begun may be one that is new,
 * and rows that are read for nothing are without those that were deleted since. Pure.
 *
 * A shard asks only where it has folded all that the log has: what it needs may be yet to come.
 */
import { toHex } from '@freshet/kit/hex.ts';
import type { GenerationWanted } from '@freshet/log/generation-requests.ts';
import type { Shard } from './shard.ts';

/** By route: each with the newest generation that does not serve some shard. */
export function wantedRoutes(shards: readonly Shard[]): ReadonlyMap<number, GenerationWanted> {
  const wanted = new Map<number, GenerationWanted>();
  // Every partition has every definition, but one that begins late may not have them any more.
  const definitions = shards
    .map(({ fold }) => fold.definitions)
    .reduce((a, b) => ((b?.generation ?? 0n) > (a?.generation ?? 0n) ? b : a), undefined);
  for (const shard of shards) {
    if (shard.position < shard.logEnd) continue;
    const { fold } = shard;
    // One that began anew meanwhile is no build any more.
    const building = new Set(fold.builds().map(({ viewId }) => viewId));
    const lost = new Set(shard.lostBuilds.filter((viewId) => building.has(viewId)));
    const waiting = fold.waitingForRoutes();
    const needed = (definitions?.views ?? []).flatMap(({ viewId, route, joins }) =>
      [route, ...joins.map((join) => join.route)].map((of) => ({ viewId, route: of })),
    );
    // A build reads its tables from their beginnings too.
    for (const { viewId, route } of needed) {
      const isLost = lost.has(toHex(viewId));
      const aboveGeneration = fold.routeGeneration(route);
      const isUnbegun = (fold.origin > 0 && aboveGeneration === 0) || waiting.includes(route);
      if (!isLost && !isUnbegun) continue;
      const known = wanted.get(route);
      if (known !== undefined && known.aboveGeneration >= aboveGeneration) continue;
      const reason = isLost
        ? `shard ${shard.shard} cannot build a view from the log: it lacks the route's beginning, or cannot be read there`
        : `shard ${shard.shard} lost its state, and the log begins at ${fold.origin}`;
      wanted.set(route, { route, aboveGeneration, reason });
    }
  }
  return wanted;
}
