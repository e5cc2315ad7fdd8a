/**
 * What of a log may go and must go: pure policy.
 *
 *     wanted away    what is older than the age, and then the oldest while all together is more than the bytes
 *     allowed away   what lies below the partition's oldest verified checkpoint, of every node that folds it
 *
 * What is wanted and not allowed stays, and is told as an overrun with its numbers: a limit that is not kept without a
 * word is how disks fill up. What is allowed and not wanted stays as well: it makes new shards and views cheaper.
 * Age is measured against the newest log time of the whole log, not a clock: log time takes no leaps, so a clock that
 * leaps a year ahead ages nothing.
 *
 * Invariants: L2 (nothing at or above a partition's checkpoint is ever trimmed; without a checkpoint nothing is).
 */
import type { SegmentSummary } from './log.ts';

/** How much of a log is kept; undefined: no limit. */
export interface RetentionLimits {
  /** The age of the newest record of a segment at which the segment goes, in microseconds. */
  readonly ageUs?: number | undefined;
  /** What all segments of all partitions may take together, in bytes. */
  readonly bytes?: number | undefined;
}

export interface RetainedPartition {
  readonly partition: number;
  /** Oldest first; the last one takes what is appended and is never trimmed. */
  readonly segments: readonly SegmentSummary[];
  /** The offset below which every node has it in a verified checkpoint; undefined: some node may have none. */
  readonly allowedBelow: number | undefined;
}

/** A trim that keeps to the limits and is allowed. */
export interface Trim {
  readonly partition: number;
  readonly below: number;
}

/** A limit that cannot be kept. */
export interface RetentionOverrun {
  readonly limit: 'age' | 'bytes';
  /**
   * no-checkpoint: nobody told of a verified checkpoint of the partition. checkpoint-behind: the oldest one is below what
   * would have to go. open-segments: what is left are segments that still take records.
   */
  readonly reason: 'no-checkpoint' | 'checkpoint-behind' | 'open-segments';
  /** The partition that holds it up; undefined when it is all of them together (open-segments). */
  readonly partition: number | undefined;
  /** By how much: microseconds for the age, bytes for the bytes. */
  readonly over: number;
  /** What is wrong, in a sentence with its numbers. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface RetentionDecision {
  readonly trims: readonly Trim[];
  readonly overruns: readonly RetentionOverrun[];
}

/** Decides what to trim, and which limit cannot be kept. */
export function decideRetention(partitions: readonly RetainedPartition[], limits: RetentionLimits): RetentionDecision {
  const plan = new Plan(partitions);
  if (limits.ageUs !== undefined) plan.byAge(limits.ageUs);
  if (limits.bytes !== undefined) plan.byBytes(limits.bytes);
  return { trims: plan.trims(), overruns: plan.overruns };
}

class Plan {
  readonly #partitions: readonly RetainedPartition[];
  /** Per partition, how many of its oldest segments go. */
  readonly #going: number[];
  readonly overruns: RetentionOverrun[] = [];

  constructor(partitions: readonly RetainedPartition[]) {
    this.#partitions = partitions;
    this.#going = partitions.map(() => 0);
  }

  byAge(ageUs: number): void {
    const newestUs = Math.max(-Infinity, ...this.#partitions.flatMap(({ segments }) => segments.map(newestOf)));
    for (const [index, retained] of this.#partitions.entries()) {
      const { segments, partition } = retained;
      let wanted = 0;
      while (wanted < segments.length - 1 && newestUs - newestOf(at(segments, wanted)) > ageUs) wanted++;
      const going = Math.min(wanted, allowedCount(retained));
      this.#going[index] = Math.max(this.#going[index] ?? 0, going);
      if (going === wanted) continue;
      const over = newestUs - newestOf(at(segments, going)) - ageUs;
      const below = at(segments, wanted - 1).end;
      this.overruns.push({
        limit: 'age',
        ...why(retained),
        over,
        message:
          `partition ${partition} keeps records that are ${duration(over)} older than the limit of ` +
          `${duration(ageUs)}: ${held(retained, below)}`,
      });
    }
  }

  byBytes(bytesMax: number): void {
    let bytes = 0;
    for (const [index, { segments }] of this.#partitions.entries()) {
      for (const segment of segments.slice(this.#going[index])) bytes += segment.bytes;
    }
    let passed = 0;
    const blocking = new Map<RetainedPartition, { bytes: number; below: number }>();
    for (const { index, segment } of this.#oldestFirst()) {
      if (bytes - passed <= bytesMax) break;
      const retained = at(this.#partitions, index);
      const going = this.#going[index] ?? 0;
      if (segment.end <= (retained.allowedBelow ?? -1) && retained.segments[going] === segment) {
        this.#going[index] = going + 1;
        bytes -= segment.bytes;
      } else {
        // It would go if it might; the overrun names it.
        passed += segment.bytes;
        blocking.set(retained, { bytes: (blocking.get(retained)?.bytes ?? 0) + segment.bytes, below: segment.end });
      }
    }
    if (bytes > bytesMax) this.#tellBytes(bytes, bytesMax, blocking);
  }

  trims(): Trim[] {
    const trims: Trim[] = [];
    for (const [index, { partition, segments }] of this.#partitions.entries()) {
      const going = this.#going[index] ?? 0;
      if (going > 0) trims.push({ partition, below: at(segments, going - 1).end });
    }
    return trims;
  }

  /** What may still go by age of its newest record, whichever partition it is of; never a partition's last segment. */
  #oldestFirst(): { index: number; segment: SegmentSummary }[] {
    const all = this.#partitions.flatMap(({ segments }, index) =>
      segments.slice(this.#going[index], -1).map((segment) => ({ index, segment })),
    );
    // Stable, and segments of a partition have ascending times: they stay in their order.
    return all.sort((a, b) => compare(newestOf(a.segment), newestOf(b.segment)));
  }

  #tellBytes(
    bytes: number,
    bytesMax: number,
    blocking: ReadonlyMap<RetainedPartition, { bytes: number; below: number }>,
  ): void {
    const over = bytes - bytesMax;
    const head = `the log takes ${size(bytes)}, ${size(over)} more than its limit of ${size(bytesMax)}`;
    for (const [retained, { bytes: held_, below }] of blocking) {
      this.overruns.push({
        limit: 'bytes',
        ...why(retained),
        over,
        message: `${head}; ${size(held_)} of it in partition ${retained.partition}: ${held(retained, below)}`,
      });
    }
    if (blocking.size > 0) return;
    this.overruns.push({
      limit: 'bytes',
      reason: 'open-segments',
      partition: undefined,
      over,
      message: `${head}: all of it in the segments that still take records, one for each partition`,
      remedy: 'raise the limit of bytes to more than one segment (64 MiB) for each partition',
    });
  }
}

/** How many of the oldest segments lie wholly below the checkpoint; never the last one. */
function allowedCount({ segments, allowedBelow }: RetainedPartition): number {
  let count = 0;
  while (count < segments.length - 1 && at(segments, count).end <= (allowedBelow ?? -1)) count++;
  return count;
}

function why({
  partition,
  allowedBelow,
}: RetainedPartition): Pick<RetentionOverrun, 'reason' | 'partition' | 'remedy'> {
  return allowedBelow === undefined
    ? {
        reason: 'no-checkpoint',
        partition,
        remedy:
          `see that a compute node folds shard ${partition} and takes checkpoints of it (freshet status); a node that ` +
          'will not come back is to be forgotten',
      }
    : {
        reason: 'checkpoint-behind',
        partition,
        remedy:
          `see why the compute node with the oldest checkpoint of shard ${partition} takes no newer one (freshet ` +
          'checkpoint list); a node that will not come back is to be forgotten',
      };
}

function held({ allowedBelow }: RetainedPartition, below: number): string {
  return allowedBelow === undefined
    ? `no verified checkpoint of it is known, and one at offset ${below} or later would be needed`
    : `its oldest verified checkpoint is at offset ${allowedBelow}, and one at ${below} or later would be needed`;
}

function newestOf(segment: SegmentSummary): number {
  return segment.newestLogTimeUs ?? -Infinity;
}

function at<T>(list: readonly T[], index: number): T {
  return list[index] as T;
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Bytes for people: "1.5 GiB". */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Microseconds for people: "2.5 h". */
export function duration(us: number): string {
  const seconds = us / 1e6;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7_200) return `${(seconds / 60).toFixed(1)} min`;
  return seconds < 172_800 ? `${(seconds / 3_600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}
