/**
 * Which runs of a node announce it, to tell two nodes with one id from one that was started again. A node that is started again
 * is heard of as another run once, and the one before is heard of no more, but for a call that was on its way; of two nodes,
 * each is heard of behind the other, time and again.
 *
 *     run a, a, b, a, b, b     started again
 *     run a, b, a, b, a        two: three times one came back behind the other, within a lease
 *
 * Owns the runs of a lease's length; pure, told the present. Limit: `RUNS_MAX` runs of a node, policy: the oldest is forgotten.
 */

const RUNS_MAX = 8;
/** A call of the run before a start that comes late is one, and the new run behind it is the second. */
const BACKS_OF_TWO = 3;

interface Run {
  readonly address: string;
  readonly heardUs: number;
  /** How often it came back behind another one. */
  readonly backs: number;
}

export class RunTable {
  readonly #leaseUs: number;
  readonly #byNode = new Map<string, Map<string, Run>>();

  constructor(leaseUs: number) {
    this.#leaseUs = leaseUs;
  }

  /**
   * Takes an announcement. The addresses of the other nodes that announce under the id: none when it is alone; undefined when
   * that is not known, because the other run may be the one before a start. Runs that do not say who they are are told by their
   * addresses.
   */
  notice(nodeId: string, run: string, address: string, nowUs: number): string[] | undefined {
    const key = run === '' ? address : run;
    const runs = this.#byNode.get(nodeId) ?? new Map<string, Run>();
    this.#byNode.set(nodeId, runs);
    for (const [other, { heardUs }] of runs) if (nowUs - heardUs >= this.#leaseUs) runs.delete(other);
    const before = runs.get(key);
    const isBack = before !== undefined && [...runs.keys()].at(-1) !== key;
    const backs = runs.size <= 1 ? Number(isBack) : (before?.backs ?? 0) + Number(isBack);
    // The newest last.
    runs.delete(key);
    runs.set(key, { address, heardUs: nowUs, backs });
    if (runs.size > RUNS_MAX) for (const first of runs.keys()) if (runs.delete(first)) break;
    if (runs.size === 1) return [];
    const all = [...runs.values()].reduce((sum, one) => sum + one.backs, 0);
    if (all < BACKS_OF_TWO) return undefined;
    return [...runs].flatMap(([other, one]) => (other === key ? [] : [one.address]));
  }

  forget(nodeId: string): void {
    this.#byNode.delete(nodeId);
  }
}
