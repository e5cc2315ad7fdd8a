/**
 * What of a source's lanes is in the log beyond what is acknowledged: rows that come again are known by it
 * (core/earlier-decisions.ts).
 *
 * Owns where that part of the log begins, noted with the source's state, and the newest place of each lane in each partition,
 * read from there on. A note is of a moment: all that was in the log by then is of commits that were read by then. So once
 * everything that was read by then is acknowledged, what comes again is behind the note. While a route is built nothing is
 * noted: what its snapshot and its catch-up brought is of other commits than the stream's.
 *
 * Bounded: `NOTES_MAX` notes, the older of them further apart; one place a lane, partition and route. Read once: later only
 * what was appended since, and may come again.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Log } from '@freshet/log/log.ts';
import type { LoggedCommit } from '../core/commit-trail.ts';
import { laterLsn } from '../core/lsn.ts';
import { comparePlaces, type RowPlace } from '../core/quarantine.ts';
import { type Placed, placeOf } from '../core/record-place.ts';
import { SLOT_LANE } from '../core/route.ts';

const NOTES_MAX = 16;
/** Between one piece of the log and the next. */
const REST_MS_MIN = 1;

interface Note {
  /** The newest commit of which anything was read. */
  readonly reachedLsn: bigint;
  /** Where each partition ended before that. */
  readonly ends: readonly number[];
}

interface LaneMarks {
  readonly generation: number;
  readonly newest: Map<number, Placed>;
}

const NOTHING: ReadonlyMap<number, Placed> = new Map();

export class LogTail {
  readonly #log: Pick<Log, 'describe' | 'read'>;
  readonly #clock: Clock;
  #notes: Note[] = [];
  /** The newest commit of which anything was ever read, as far as it is known. */
  #reachedLsn = 0n;
  /** By partition, where to read on. */
  readonly #next: number[] = [];
  readonly #lanes = new Map<string, LaneMarks>();

  constructor(log: Pick<Log, 'describe' | 'read'>, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Notes a moment. `ends` are of before anything was read beyond the commit, now; in lives before more may have been. */
  note(readLsn: bigint, ends: readonly number[]): void {
    const reachedLsn = laterLsn(this.#reachedLsn, readLsn);
    if (this.#notes.at(-1)?.reachedLsn === reachedLsn) return;
    this.#reachedLsn = reachedLsn;
    // The older half more rarely: a note that is too old costs reading, and nothing else.
    if (this.#notes.length === NOTES_MAX) this.#notes = this.#notes.filter((_, i) => i >= NOTES_MAX / 2 || i % 2 === 0);
    this.#notes.push({ reachedLsn, ends });
  }

  /** Forgets what was read of a history that is lost: positions of the one that is captured from now on may be smaller. */
  startOver(): void {
    this.#notes = [];
    this.#reachedLsn = 0n;
    this.#lanes.clear();
  }

  /** Where what comes again begins once all before a position is acknowledged; undefined: where it began before. */
  from(acknowledgedLsn: bigint): readonly number[] | undefined {
    const index = this.#notes.findLastIndex(({ reachedLsn }) => reachedLsn < acknowledgedLsn);
    if (index < 0) return undefined;
    const found = this.#notes[index];
    this.#notes = this.#notes.slice(index);
    return found?.ends;
  }

  /**
   * Reads what was appended of routes from the positions on, and since the last call: what is before either cannot come again, or
   * is known. Nothing of the routes that are asked for may be on its way.
   */
  async read(routes: ReadonlySet<number>, from: readonly number[]): Promise<void> {
    const { partitions } = await this.#log.describe();
    for (const [partition, { start, end }] of partitions.entries()) {
      const next = Math.max(start, from[partition] ?? start, this.#next[partition] ?? start);
      if (next < end) await this.#readUntrimmed(partition, next, end, routes);
      this.#next[partition] = end;
    }
  }

  /** By partition, the newest record of a lane. */
  newestOf(route: number, generation: number, lane: number): ReadonlyMap<number, RowPlace> {
    return this.#placed(route, generation, lane);
  }

  /** The newest commit of which the stream's rows are in the log; undefined: of none, as far as was read. */
  newestCommit(routes: readonly { readonly route: number; readonly generation: number }[]): LoggedCommit | undefined {
    let newest: LoggedCommit | undefined;
    for (const { route, generation } of routes) {
      for (const { major, atUs } of this.#placed(route, generation, SLOT_LANE).values()) {
        if (atUs !== undefined && major > (newest?.commitLsn ?? -1n)) newest = { commitLsn: major, atUs };
      }
    }
    return newest;
  }

  #placed(route: number, generation: number, lane: number): ReadonlyMap<number, Placed> {
    const marks = this.#lanes.get(`${route}/${lane}`);
    return marks?.generation === generation ? marks.newest : NOTHING;
  }

  /** Reads on behind what is trimmed meanwhile: as if it had been before. */
  async #readUntrimmed(partition: number, from: number, end: number, routes: ReadonlySet<number>): Promise<void> {
    for (let next = from; next < end; ) {
      try {
        return await this.#readPartition(partition, next, end, routes);
      } catch (error) {
        if (!isFreshetError(error, 'OFFSET_OUT_OF_RANGE')) throw error;
        const start = (await this.#log.describe()).partitions[partition]?.start ?? end;
        if (start <= next) throw error;
        next = start;
      }
    }
  }

  async #readPartition(partition: number, from: number, end: number, routes: ReadonlySet<number>): Promise<void> {
    const ended = new AbortController();
    let sinceUs = this.#clock.monotonicUs();
    for await (const { entries } of this.#log.read(partition, from, ended.signal)) {
      for (const { offset, record } of entries) {
        const place = offset < end ? placeOf(record) : undefined;
        if (place !== undefined && routes.has(place.route)) this.#take(partition, place);
      }
      if ((entries.at(-1)?.offset ?? 0) >= end - 1) break;
      // A live stream may go on beside this: it has as much time as this takes.
      await this.#clock.sleep(Math.max(REST_MS_MIN, (this.#clock.monotonicUs() - sinceUs) / 1000));
      sinceUs = this.#clock.monotonicUs();
    }
    ended.abort();
  }

  #take(partition: number, place: Placed): void {
    if (place.lane === SLOT_LANE) this.#reachedLsn = laterLsn(this.#reachedLsn, place.major);
    const name = `${place.route}/${place.lane}`;
    const marks = this.#lanes.get(name);
    if (marks === undefined || marks.generation < place.generation) {
      this.#lanes.set(name, { generation: place.generation, newest: new Map([[partition, place]]) });
      return;
    }
    if (marks.generation > place.generation) return;
    const mark = marks.newest.get(partition);
    if (mark === undefined || comparePlaces(place, mark) > 0) marks.newest.set(partition, place);
  }
}
