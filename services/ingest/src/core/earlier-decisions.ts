/**
 * What was decided of rows that come again after a stop: each was put aside, or went to the log, by what was asked of it then.
 * Rules, contracts and clocks may be others by now, and a null rate has forgotten its rows; what was decided holds, or a row
 * would be in the log and in quarantine, or in neither (C1, F3).
 *
 *     in quarantine by its own place                          set aside: nothing is left to do
 *     not there, and before an entry of its lane              passed: entries of a batch are durable before its records,
 *                                                             and before any later entry (append-pipeline.ts)
 *     at or before the newest of its lane in its partition    passed: its record is in the log
 *     else                                                    judged, as a row that never came
 *
 * Rows that are held are known by what holds them (hold.ts), and are not in here. Pure.
 */
import { comparePlaces, placeName, type RowPlace } from './quarantine.ts';

export interface LaneDecisions {
  readonly lane: number;
  /** The places (placeName) of rows that were put aside alone, of those that may come again. */
  readonly aside: ReadonlySet<string>;
  /** The newest of them, or one beyond; undefined: there are none. */
  readonly newestAlone: RowPlace | undefined;
  /**
   * The newest entry of the lane in quarantine, of whatever kind, before which nothing was lost that is still to come; undefined: none.
   */
  readonly newestAside: RowPlace | undefined;
  /** By partition, the newest record of the lane in the log. */
  readonly inLog: ReadonlyMap<number, RowPlace>;
}

/** `in_log`: its record is there. `passed`: it is there, or was on its way there. */
export type Decision = 'aside' | 'in_log' | 'passed';

export class EarlierDecisions {
  static readonly NONE = new EarlierDecisions({
    lane: 0,
    aside: new Set(),
    newestAlone: undefined,
    newestAside: undefined,
    inLog: new Map(),
  });
  readonly #of: LaneDecisions;
  readonly #newest: RowPlace | undefined;

  constructor(of: LaneDecisions) {
    this.#of = of;
    const places = [...of.inLog.values(), of.newestAside, of.newestAlone].filter((place) => place !== undefined);
    this.#newest = places.toSorted(comparePlaces).at(-1);
  }

  /** Whether something may have been decided of rows of the commit: asked of every row. */
  mayKnow({ lane, major }: Pick<RowPlace, 'lane' | 'major'>): boolean {
    return this.#newest !== undefined && major <= this.#newest.major && lane === this.#of.lane;
  }

  /** Whether something was decided of the row, or of one behind it. */
  reaches({ lane, major, minor }: Pick<RowPlace, 'lane' | 'major' | 'minor'>): boolean {
    if (this.#newest === undefined || lane !== this.#of.lane) return false;
    return major < this.#newest.major || (major === this.#newest.major && minor <= this.#newest.minor);
  }

  /** What was decided of a row of a partition; undefined: nothing that is durable. */
  of(place: RowPlace, partition: number | undefined): Decision | undefined {
    const { aside, newestAside, inLog } = this.#of;
    if (aside.has(placeName(place))) return 'aside';
    const mark = partition === undefined ? undefined : inLog.get(partition);
    if (mark !== undefined && comparePlaces(place, mark) <= 0) return 'in_log';
    return newestAside !== undefined && comparePlaces(place, newestAside) <= 0 ? 'passed' : undefined;
  }
}
