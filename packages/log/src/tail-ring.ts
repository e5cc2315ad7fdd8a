/**
 * The newest records of a partition in memory, as frames, so that readers at the tail need no file.
 *
 * A queue of pieces bounded in bytes; policy: the oldest piece is dropped (it lies on disk). Pieces are never changed,
 * so a reader may hold one while it is dropped. Pure. Invariants: pieces are contiguous in offset; R4.
 */
import { assert, must } from '@freshet/kit/assert.ts';
import { walkFrames } from './frame.ts';
import { TAIL_PIECE_OVERHEAD_BYTES } from './limits.ts';

/** Frames back to back. */
export interface Piece {
  readonly firstOffset: number;
  readonly count: number;
  readonly frames: Uint8Array;
}

export class TailRing {
  readonly #bytesMax: number;
  // Live pieces are #pieces[#head..]; the dead front is cut off when it is half of the array.
  #pieces: Piece[] = [];
  #head = 0;
  #bytes = 0;
  #end: number;

  constructor(end: number, bytesMax: number) {
    this.#end = end;
    this.#bytesMax = bytesMax;
  }

  /** The first offset that is here; the end when nothing is. */
  get start(): number {
    return this.#pieces[this.#head]?.firstOffset ?? this.#end;
  }

  /** What the pieces take, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  push(piece: Piece): void {
    assert(piece.firstOffset === this.#end, 'F3: a gap in the tail');
    this.#pieces.push(piece);
    this.#end += piece.count;
    this.#bytes += cost(piece);
    while (this.#bytes > this.#bytesMax) this.#dropOldest();
  }

  /** Drops everything: what is on disk is no longer the same. */
  clear(): void {
    this.#pieces = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  /** Records from an offset on, up to about so many bytes but at least one; undefined when the offset is not here. */
  take(offset: number, bytesMax: number): Piece | undefined {
    if (offset < this.start || offset >= this.#end) return undefined;
    let index = this.#find(offset);
    const first = must(this.#pieces[index]);
    const parts: Piece[] = [part(first, offset, bytesMax)];
    let bytes = must(parts[0]).frames.length;
    let end = offset + must(parts[0]).count;
    while (end === must(this.#pieces[index]).firstOffset + must(this.#pieces[index]).count) {
      const next = this.#pieces[++index];
      if (next === undefined || bytes + next.frames.length > bytesMax) break;
      parts.push(next);
      bytes += next.frames.length;
      end += next.count;
    }
    return parts.length === 1 ? must(parts[0]) : joined(parts, bytes, end);
  }

  /** The index of the piece that holds an offset, by bisection. */
  #find(offset: number): number {
    let low = this.#head;
    let high = this.#pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (must(this.#pieces[middle]).firstOffset <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #dropOldest(): void {
    this.#bytes -= cost(must(this.#pieces[this.#head]));
    this.#head++;
    if (this.#head * 2 < this.#pieces.length) return;
    this.#pieces = this.#pieces.slice(this.#head);
    this.#head = 0;
  }
}

function cost(piece: Piece): number {
  return piece.frames.length + TAIL_PIECE_OVERHEAD_BYTES;
}

/** The piece from an offset on, cut to so many bytes but at least one record. */
function part(piece: Piece, offset: number, bytesMax: number): Piece {
  const { frames, firstOffset } = piece;
  const skipped = walkFrames(frames, 0, frames.length, firstOffset, offset - firstOffset);
  if (frames.length - skipped.end <= bytesMax) {
    return { firstOffset: offset, count: piece.count - skipped.count, frames: frames.subarray(skipped.end) };
  }
  let taken = walkFrames(frames, skipped.end, skipped.end + bytesMax, offset);
  if (taken.count === 0) taken = walkFrames(frames, skipped.end, frames.length, offset, 1);
  return { firstOffset: offset, count: taken.count, frames: frames.subarray(skipped.end, taken.end) };
}

function joined(parts: readonly Piece[], bytes: number, end: number): Piece {
  const frames = new Uint8Array(bytes);
  let at = 0;
  for (const piece of parts) {
    frames.set(piece.frames, at);
    at += piece.frames.length;
  }
  const firstOffset = must(parts[0]).firstOffset;
  return { firstOffset, count: end - firstOffset, frames };
}
