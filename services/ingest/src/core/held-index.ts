/**
 * What the quarantine holds, by route and generation: how much, since when, why, and where in the file it begins. Made while
 * the file is read once or written; bounded by the routes that are held and by what hold.ts bounds. Pure.
 */
import { Hold } from './hold.ts';
import { comparePlaces, type QuarantineEntry, type QuarantineReason, type RowPlace } from './quarantine.ts';

/** Rows that are held of a generation of a route. */
export interface HeldRoute {
  readonly route: number;
  readonly generation: number;
  readonly source: string;
  /** "database/schema.table". */
  readonly table: string;
  readonly hold: Hold;
  readonly count: number;
  /** What they take in the file. */
  readonly bytes: number;
  /** The first row, which the others wait for. */
  readonly first: RowPlace;
  readonly reason: QuarantineReason;
  readonly detail: string;
  /** The version that it broke. */
  readonly contractVersion: number;
  /** When it came, microseconds since the Unix epoch, by ingest's clock. */
  readonly sinceUs: number;
  /** Where it begins in the file. */
  readonly offset: number;
  readonly newest: RowPlace;
}

export class HeldIndex {
  readonly #routes: Map<string, HeldRoute>;

  /** `routes`: what was indexed before. */
  constructor(routes: readonly HeldRoute[] = []) {
    this.#routes = new Map(routes.map((route) => [nameOf(route), route]));
  }

  /** Takes an entry that is at an offset of the file, so many bytes long; entries come in their order. */
  add(entry: QuarantineEntry, offset: number, bytes: number): void {
    if (entry.held === undefined) return;
    const name = nameOf(entry);
    const known = this.#routes.get(name);
    const place = placeOnly(entry);
    if (known !== undefined) {
      known.hold.add(entry);
      this.#routes.set(name, { ...known, count: known.count + 1, bytes: known.bytes + bytes, newest: place });
      return;
    }
    const hold = new Hold();
    hold.add(entry);
    const { route, generation, source, table, reason, detail, contractVersion, atUs } = entry;
    this.#routes.set(name, {
      route,
      generation,
      source,
      table,
      hold,
      count: 1,
      bytes,
      first: place,
      reason,
      detail,
      contractVersion,
      sinceUs: atUs,
      offset,
      newest: place,
    });
  }

  /** What is held of a generation; undefined: nothing. */
  of(route: number, generation: number): HeldRoute | undefined {
    return this.#routes.get(nameOf({ route, generation }));
  }

  get all(): readonly HeldRoute[] {
    return [...this.#routes.values()];
  }
}

/** Whether an entry is held of the generation, at or before a place; undefined: anywhere. */
export function isHeldOf(
  route: number,
  generation: number,
  upTo?: Pick<RowPlace, 'major' | 'minor'>,
): (entry: QuarantineEntry) => boolean {
  return (entry) =>
    entry.held !== undefined &&
    entry.route === route &&
    entry.generation === generation &&
    (upTo === undefined || comparePlaces(entry, { ...entry, ...upTo, part: 0 }) <= 0);
}

function nameOf({ route, generation }: { readonly route: number; readonly generation: number }): string {
  return `${route}/${generation}`;
}

/** Not the entry itself, whose values would be kept as well. */
function placeOnly({ route, generation, lane, major, minor, part }: RowPlace): RowPlace {
  return { route, generation, lane, major, minor, part };
}
