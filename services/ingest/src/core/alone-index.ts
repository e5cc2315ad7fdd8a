/**
 * How many rows of a route's generation are in the quarantine alone, holding nothing, and how many of them are on their way out
 * to the log. Made while the file is read once or written; bounded by the routes and generations that it has. Pure.
 */
import type { QuarantineEntry } from './quarantine.ts';
import { SLOT_LANE } from './route.ts';

/** Rows of a generation of a route that were put aside alone. */
export interface AloneRows {
  readonly route: number;
  readonly generation: number;
  readonly source: string;
  readonly count: number;
  /** Those that are released, and stay until their records are durable. */
  readonly releasing: number;
  /** The newest commit of the slot that has one of them; 0: none. */
  readonly newestMajor: bigint;
}

export class AloneIndex {
  readonly #routes: Map<string, AloneRows>;

  /** `routes`: what was indexed before. */
  constructor(routes: readonly AloneRows[] = []) {
    this.#routes = new Map(routes.map((rows) => [`${rows.route}/${rows.generation}`, rows]));
  }

  add(entry: QuarantineEntry): void {
    if (entry.held !== undefined) return;
    const { route, generation, source, lane, major, releasing } = entry;
    const name = `${route}/${generation}`;
    const known = this.#routes.get(name) ?? { route, generation, source, count: 0, releasing: 0, newestMajor: 0n };
    this.#routes.set(name, {
      ...known,
      count: known.count + 1,
      releasing: known.releasing + (releasing === undefined ? 0 : 1),
      newestMajor: lane === SLOT_LANE && major > known.newestMajor ? major : known.newestMajor,
    });
  }

  /** Undefined: there are none. */
  of(route: number, generation: number): AloneRows | undefined {
    return this.#routes.get(`${route}/${generation}`);
  }

  get all(): readonly AloneRows[] {
    return [...this.#routes.values()];
  }
}

/** Whether an entry was put aside alone, of the generation. */
export function isAloneOf(route: number, generation: number): (entry: QuarantineEntry) => boolean {
  return (entry) => entry.held === undefined && entry.route === route && entry.generation === generation;
}
