/** Turns records into frames, in pieces of bounded size. Pure. */
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { commitMark, dataViewOf, encodeFrame, frameBytes, RECORD_BYTES_MAX } from './frame.ts';
import { BATCH_BYTES } from './limits.ts';
import type { Piece } from './tail-ring.ts';

/** How many bytes the records take as frames. Throws REQUEST_TOO_LARGE for a record over 16 MiB. */
export function checkRecords(records: readonly Uint8Array[]): number {
  assert(records.length > 0, 'an append without records');
  let bytes = 0;
  for (const record of records) {
    assert(record.length > 0, 'an empty record');
    if (record.length > RECORD_BYTES_MAX) {
      throw new FreshetError(
        'REQUEST_TOO_LARGE',
        `a record of ${record.length} bytes; ${RECORD_BYTES_MAX} are allowed`,
        {
          remedy: 'leave large columns out of the source, or quarantine the row',
        },
      );
    }
    bytes += frameBytes(record.length);
  }
  return bytes;
}

/** The frames of the records of one commit, in pieces of about BATCH_BYTES. */
export function encodePieces(records: readonly Uint8Array[], firstOffset: number, logTimeUs: number): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  while (from < records.length) {
    let bytes = frameBytes(must(records[from]).length);
    let to = from + 1;
    for (; to < records.length; to++) {
      const more = frameBytes(must(records[to]).length);
      if (bytes + more > BATCH_BYTES) break;
      bytes += more;
    }
    const frames = new Uint8Array(bytes);
    const view = dataViewOf(frames);
    let at = 0;
    for (let index = from; index < to; index++) {
      const mark = commitMark(index, records.length);
      at = encodeFrame(frames, view, at, firstOffset + index, logTimeUs, mark, must(records[index]));
    }
    pieces.push({ firstOffset: firstOffset + from, count: to - from, frames });
    from = to;
  }
  return pieces;
}
