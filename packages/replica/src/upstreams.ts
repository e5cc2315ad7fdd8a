/**
 * Which node each shard is followed from. Owns the choice, which is a pure function of who offers what, what was chosen
 * before, and who is suspect; the streams themselves are follower.ts.
 */

/** A node that offers changes. */
export interface Upstream {
  /** "host:port". */
  readonly address: string;
  readonly shards: readonly number[];
}

/** Shards by the address that they are followed from; shards ascending. */
export type Assignment = ReadonlyMap<string, readonly number[]>;

/**
 * Assigns every offered shard to one address. A shard stays where it is as long as that node offers it, unless the node
 * is suspect and another one that offers the shard is not; a shard that moves goes to the node with the fewest shards.
 */
export function assignShards(
  upstreams: readonly Upstream[],
  before: Assignment,
  suspects: ReadonlySet<string>,
): Assignment {
  const offers = new Map<number, string[]>();
  for (const { address, shards } of upstreams) {
    for (const shard of new Set(shards)) offers.set(shard, [...(offers.get(shard) ?? []), address]);
  }
  const current = new Map<number, string>();
  for (const [address, shards] of before) for (const shard of shards) current.set(shard, address);
  const assigned = new Map<string, number[]>();
  for (const shard of [...offers.keys()].sort((a, b) => a - b)) {
    const address = choose(offers.get(shard) ?? [], current.get(shard), suspects, assigned);
    if (address !== undefined) assigned.set(address, [...(assigned.get(address) ?? []), shard]);
  }
  return assigned;
}

function choose(
  offering: readonly string[],
  current: string | undefined,
  suspects: ReadonlySet<string>,
  assigned: ReadonlyMap<string, readonly number[]>,
): string | undefined {
  const trusted = offering.filter((address) => !suspects.has(address));
  const candidates = trusted.length > 0 ? trusted : offering;
  if (current !== undefined && candidates.includes(current)) return current;
  const load = (address: string): number => assigned.get(address)?.length ?? 0;
  return [...candidates].sort((a, b) => load(a) - load(b) || (a < b ? -1 : 1))[0];
}
