/**
 * Entries that come to the quarantine's file behind newer ones of their lanes: their lines were lost, those behind them were kept,
 * and they were sent again. Each goes to its place, so that the entries of a lane stay in order; one that the file has is passed
 * over, as what was decided first holds. Owns what is left of them. Pure but for that.
 */
import { comparePlaces, laneName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';

/** An entry as it is written. */
export interface Line {
  readonly entry: QuarantineEntry;
  readonly text: string;
}

/** Those that go before entries that the file has, and those that go to its end. `ahead`: by lane, the newest of the former. */
export function byWhereTheyGo(
  lines: readonly Line[],
  ahead: ReadonlyMap<string, RowPlace>,
): { readonly early: readonly QuarantineEntry[]; readonly rest: readonly Line[] } {
  if (ahead.size === 0) return { early: [], rest: lines };
  const isEarly = ({ entry }: Line): boolean => {
    const newest = entry.late === true ? undefined : ahead.get(laneName(entry));
    return newest !== undefined && comparePlaces(entry, newest) <= 0;
  };
  return { early: lines.filter(isEarly).map(({ entry }) => entry), rest: lines.filter((line) => !isEarly(line)) };
}

export class Insertion {
  /** By lane, those that the file was not yet read far enough for, in order. */
  readonly #waiting: Map<string, QuarantineEntry[]>;

  /** `entries`: in order, those of each lane. */
  constructor(entries: readonly QuarantineEntry[]) {
    this.#waiting = Map.groupBy(entries, laneName);
  }

  /** What stands for the next entry of the file: itself, with those before it that go there. */
  at(entry: QuarantineEntry): readonly QuarantineEntry[] {
    const waiting = entry.late === true ? undefined : this.#waiting.get(laneName(entry));
    if (waiting === undefined) return [entry];
    const later = waiting.findIndex((one) => comparePlaces(one, entry) >= 0);
    const before = waiting.splice(0, later === -1 ? waiting.length : later);
    const [next] = waiting;
    if (next !== undefined && comparePlaces(next, entry) === 0) waiting.shift();
    return [...before, entry];
  }
}
