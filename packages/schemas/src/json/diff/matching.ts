/** Maximum bipartite matching: which members of one list can each have a member of the other for themselves. Pure. */

/**
 * For each member on the left its partner on the right, or -1, with as many partners as there can be. `fits` is asked
 * first about the one that `likely` gives (it is asked once for each), so that a partner is mostly found at once.
 */
export function matchMembers(
  left: number,
  right: number,
  fits: (left: number, right: number) => boolean,
  likely: (left: number) => number | undefined,
): readonly number[] {
  const partner = new Array<number>(left).fill(-1);
  const taken = new Array<number>(right).fill(-1);
  for (let start = 0; start < left; start++) {
    const free = likely(start);
    if (free === undefined || taken[free] !== -1 || !fits(start, free)) continue;
    partner[start] = free;
    taken[free] = start;
  }
  for (let start = 0; start < left; start++) {
    if (partner[start] === -1) augment(start, { partner, taken, fits });
  }
  return partner;
}

/** Looks, breadth first, for a chain of changes at whose end a member of the right is free. */
function augment(
  start: number,
  matching: { partner: number[]; taken: number[]; fits: (left: number, right: number) => boolean },
): void {
  const { partner, taken, fits } = matching;
  const from = new Map<number, number>();
  const queue = [start];
  for (const at of queue) {
    for (let index = 0; index < taken.length; index++) {
      if (from.has(index) || !fits(at, index)) continue;
      from.set(index, at);
      const owner = taken[index] ?? -1;
      if (owner !== -1) {
        queue.push(owner);
        continue;
      }
      for (let free = index, by = at; ; ) {
        const previous = partner[by] ?? -1;
        partner[by] = free;
        taken[free] = by;
        if (by === start) return;
        free = previous;
        by = from.get(free) ?? start;
      }
    }
  }
}
