/**
 * A segment: some consecutive records of a partition in one file, and where they lie in it.
 *
 * Owns the file's name and the sparse index in memory (one entry per 256 KiB or so: a few KiB per segment). The index
 * of a segment that this process did not write fills as readers pass through it.
 */
import { join } from 'node:path';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { INDEX_SPACING_BYTES } from './limits.ts';
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment-header.ts';

/** A place where a frame begins. */
export interface FramePlace {
  readonly offset: number;
  readonly position: number;
}

/** What is known to be wrong with a segment. */
export interface SegmentFault {
  readonly error: FreshetError;
  /** Whether nothing of it can be trusted; else every record that is whole is read. */
  readonly whole: boolean;
}

export class Segment {
  readonly path: string;
  readonly firstOffset: number;
  /** Undefined when it is damaged. */
  readonly header: SegmentHeader | undefined;
  /** How many bytes of the file hold its head and durable frames. Grows while the segment is the last one. */
  bytes: number;
  /** Found when the log was opened, or by a scrub; the next scrub that finds it right takes it away. */
  fault: SegmentFault | undefined;
  readonly #places: FramePlace[] = [];

  constructor(options: { path: string; firstOffset: number; header: SegmentHeader | undefined; bytes: number }) {
    this.path = options.path;
    this.firstOffset = options.firstOffset;
    this.header = options.header;
    this.bytes = options.bytes;
  }

  /** Remembers a place, if it is far enough beyond the last one remembered. */
  remember(offset: number, position: number): void {
    const last = this.#places.at(-1);
    if (position - (last?.position ?? 0) >= INDEX_SPACING_BYTES) this.#places.push({ offset, position });
  }

  /** Forgets places at or after an offset: their records were cut. */
  forget(offset: number): void {
    while ((this.#places.at(-1)?.offset ?? -1) >= offset) this.#places.pop();
  }

  /** The nearest place known at or before an offset. */
  placeBefore(offset: number): FramePlace {
    let low = 0;
    let high = this.#places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#places[middle] as FramePlace).offset <= offset) low = middle + 1;
      else high = middle;
    }
    return this.#places[low - 1] ?? { offset: this.firstOffset, position: SEGMENT_HEADER_BYTES };
  }
}

/** The path of the segment that begins with an offset. Names sort as offsets do. */
export function segmentPath(directory: string, firstOffset: number): string {
  return join(directory, `${String(firstOffset).padStart(20, '0')}.log`);
}

/** The first offset that a file's name tells; undefined when it is not a segment's name. */
export function segmentOffset(name: string): number | undefined {
  const match = /^(\d{20})\.log$/.exec(name);
  const offset = match === null ? Number.NaN : Number(match[1]);
  return Number.isSafeInteger(offset) ? offset : undefined;
}
