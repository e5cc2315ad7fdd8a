/**
 * Which node a shard is followed from. Owns the choice: a function of who offers the shard, how each has done, and how
 * much it is asked already. The streams themselves are shard-link.ts.
 *
 * A node that failed for a shard rests for it: a moment at first, twice as long with each failure, up to a bound, with
 * jitter, so that neither one node that is down nor all of them is asked in a storm.
 */

/** A node that offers changes. */
export interface Upstream {
  /** "host:port". */
  readonly address: string;
  readonly shards: readonly number[];
}

/** Why a node was left. */
export type Fault =
  /** It cannot be reached, ended the stream, was silent or stood still. */
  | 'failed'
  /** It would begin the shard's rows anew: it has another log, or another history of ours. */
  | 'foreign';

const REST_FIRST_US = 50_000;
// A node that restarts is back within a second or two; what is lost by asking that often is little.
const REST_US_MAX = 1_000_000;
/** A node with another log has it for long: only as long as there is none with ours is it worth asking. */
const FOREIGN_REST_US = 30_000_000;
/** A node with our log that failed so often in a row does not keep us from one with another. */
const GIVEN_UP = 5;

interface Record {
  failures: number;
  restsUntilUs: number;
  foreign: boolean;
}

/** How the nodes that offer one shard have done for it. */
export class Standing {
  readonly #random: () => number;
  readonly #records = new Map<string, Record>();

  /** @param random a number in [0, 1) */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Forgets nodes that no longer offer the shard. */
  keep(addresses: readonly string[]): void {
    for (const address of this.#records.keys()) if (!addresses.includes(address)) this.#records.delete(address);
  }

  /** The node does well. */
  clear(address: string): void {
    this.#records.delete(address);
  }

  note(address: string, fault: Fault, nowUs: number): void {
    const failures = (this.#records.get(address)?.failures ?? 0) + 1;
    const ceiling =
      fault === 'foreign' ? FOREIGN_REST_US : Math.min(REST_US_MAX, REST_FIRST_US * 2 ** Math.min(failures - 1, 20));
    const restsUntilUs = nowUs + Math.ceil(ceiling / 2 + (this.#random() * ceiling) / 2);
    this.#records.set(address, { failures, restsUntilUs, foreign: fault === 'foreign' });
  }

  /** When the node is to be asked again, monotonic microseconds; in the past: at once. */
  restsUntilUs(address: string): number {
    return this.#records.get(address)?.restsUntilUs ?? -Infinity;
  }

  /** Whether another of the nodes is worth asking now rather than this one. */
  hasBetterThan(address: string, offering: readonly string[], nowUs: number): boolean {
    return offering.some((other) => other !== address && this.restsUntilUs(other) <= nowUs);
  }

  /** Whether no other node can be hoped to have the rows as we have them, so that beginning anew is right. */
  mayBeginAnew(address: string, offering: readonly string[]): boolean {
    return offering.every((other) => {
      const record = this.#records.get(other);
      return other === address || record?.foreign === true || (record?.failures ?? 0) >= GIVEN_UP;
    });
  }
}

export interface Choice {
  readonly address: string;
  /** Not to be asked before, monotonic microseconds. */
  readonly notBeforeUs: number;
}

/**
 * The node to follow a shard from; undefined when nobody offers it. Of those that do not rest, the one that it was
 * followed from last, else the one with the least load; when all rest, the one whose rest ends first.
 */
export function chooseUpstream(
  offering: readonly string[],
  last: string | undefined,
  standing: Standing,
  options: { readonly nowUs: number; readonly load: (address: string) => number },
): Choice | undefined {
  const { nowUs, load } = options;
  const rested = offering.filter((address) => standing.restsUntilUs(address) <= nowUs);
  if (last !== undefined && rested.includes(last)) return { address: last, notBeforeUs: nowUs };
  const byLoad = [...rested].sort((a, b) => load(a) - load(b) || (a < b ? -1 : 1));
  if (byLoad[0] !== undefined) return { address: byLoad[0], notBeforeUs: nowUs };
  const byRest = [...offering].sort((a, b) => standing.restsUntilUs(a) - standing.restsUntilUs(b) || (a < b ? -1 : 1));
  return byRest[0] === undefined ? undefined : { address: byRest[0], notBeforeUs: standing.restsUntilUs(byRest[0]) };
}
