/**
 * How far the fold is in a route: its generation, and a mark per lane.
 *
 * Owns which records of a route count. Invariant F3: a record whose sequence is not newer than its lane's mark is
 * skipped, so that what ingest appends at least once is folded exactly once; marks never go back within a lane.
 * Records of a generation other than the newest begun are skipped and move no mark.
 */
import { create } from '@bufbuild/protobuf';
import { type RouteState, RouteStateSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { normaliseInteger } from '../numbers/integers.ts';
import type { Major, RecordReader } from '../record/record-reader.ts';

interface Mark {
  major: Major;
  minor: Major;
  part: number;
}

export class RouteProgress {
  readonly route: number;
  /** 0: not begun. */
  generation = 0;
  /** The offset of the record that began the generation. */
  beginOffset = 0;
  snapshotEnded = false;
  readonly #marks = new Map<number, Mark>();

  constructor(route: number) {
    this.route = route;
  }

  static fromProto(state: RouteState): RouteProgress {
    const progress = new RouteProgress(state.route);
    progress.generation = state.generation;
    progress.beginOffset = Number(state.beginOffset);
    progress.snapshotEnded = state.snapshotEnded;
    for (const { lane, major, minor, part } of state.marks) {
      progress.#marks.set(lane, { major: normaliseInteger(major), minor: normaliseInteger(minor), part });
    }
    return progress;
  }

  /** Without contracts, which are not the route's own. */
  toProto(): RouteState {
    const marks = [...this.#marks].sort(([a], [b]) => a - b);
    return create(RouteStateSchema, {
      route: this.route,
      generation: this.generation,
      beginOffset: BigInt(this.beginOffset),
      snapshotEnded: this.snapshotEnded,
      marks: marks.map(([lane, { major, minor, part }]) => ({
        lane,
        major: BigInt(major),
        minor: BigInt(minor),
        part,
      })),
    });
  }

  /** Begins a generation; false when it is not newer than the one that runs. */
  begin(generation: number, offset: number): boolean {
    if (generation <= this.generation) return false;
    this.generation = generation;
    this.beginOffset = offset;
    this.snapshotEnded = false;
    this.#marks.clear();
    return true;
  }

  /** Whether the generation is the one that runs. */
  endSnapshot(generation: number): boolean {
    if (generation !== this.generation || generation === 0) return false;
    this.snapshotEnded = true;
    return true;
  }

  /** Whether the record that the reader stands at is to be folded; moves its lane's mark if so. */
  accept(record: RecordReader): boolean {
    if (record.generation !== this.generation || this.generation === 0) return false;
    const { major, minor, part } = record;
    const mark = this.#marks.get(record.lane);
    if (mark === undefined) {
      this.#marks.set(record.lane, { major, minor, part });
      return true;
    }
    if (!isNewer(record, mark)) return false;
    mark.major = major;
    mark.minor = minor;
    mark.part = part;
    return true;
  }
}

function isNewer(a: Mark, b: Mark): boolean {
  // Only < and >: they order a number and a bigint by value, === does not.
  if (a.major < b.major) return false;
  if (a.major > b.major) return true;
  if (a.minor < b.minor) return false;
  if (a.minor > b.minor) return true;
  return a.part > b.part;
}
