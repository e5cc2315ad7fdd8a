/**
 * A segment: some consecutive records of a partition in one file, and where they lie in it.
 *
 * Owns the file's name and the sparse index in memory (one entry per 256 KiB or so: a few KiB per segment). The index
 * of a segment that this process did not write fills as readers pass through it.
 */
import { join } from 'node:path';
import { INDEX_SPACING_BYTES } from './limits.ts';

/** A place where a frame begins. */
export interface FramePlace {
  readonly offset: number;
  readonly position: number;
}

export class Segment {
  readonly path: string;
  readonly firstOffset: number;
  /** How many bytes of the file hold durable frames. Grows while the segment is the last one. */
  bytes: number;
  readonly #places: FramePlace[] = [];

  constructor(path: string, firstOffset: number, bytes: number) {
    this.path = path;
    this.firstOffset = firstOffset;
    this.bytes = bytes;
  }

  /** Remembers a place, if it is far enough beyond the last one remembered. */
  remember(offset: number, position: number): void {
    const last = this.#places.at(-1);
    if (position - (last?.position ?? 0) >= INDEX_SPACING_BYTES) this.#places.push({ offset, position });
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
    return this.#places[low - 1] ?? { offset: this.firstOffset, position: 0 };
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
