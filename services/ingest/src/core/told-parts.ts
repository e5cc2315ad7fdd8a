/**
 * What of that which the stream told of partitions is to outlive it. A connection describes a partition once, and not again what it
 * acknowledged; a partition that rows came out of may be gone, and a table detached again, before the next look. So it is saved
 * with each position, before that is acknowledged, and judged by the looks (io/part-look.ts, io/beside-look.ts). Pure.
 */
import type { PartTells } from './part-tells.ts';
import type { RouteState } from './source-state.ts';

export type ToldParts = Pick<PartTells, 'leavesOf' | 'isToldAsAnother'>;

/** A route with what was told of it by now; `route` itself: nothing that it does not say. */
export function withTold(route: RouteState, tells: ToldParts): RouteState {
  const { phase, parts, torn, unseen: before = [], tableOid, fromLsn } = route;
  if (phase !== 'live' || torn !== undefined) return route;
  // Of a mutable source also what was seen last as a partition of its table.
  const oids = [tableOid, ...(parts?.leaves.map(([oid]) => oid) ?? [])];
  if (oids.some((oid) => tells.isToldAsAnother(tableOid, oid, fromLsn)))
    return { ...route, torn: 'rows came as those of another table, whose partition it was' };
  if (parts === undefined) return route;
  const seen = new Set(parts.leaves.map(([oid]) => oid));
  const unseen = [...new Set([...before, ...tells.leavesOf(tableOid, fromLsn)])].filter((oid) => !seen.has(oid));
  return unseen.length === 0 && before.length === 0 ? route : { ...route, unseen };
}
