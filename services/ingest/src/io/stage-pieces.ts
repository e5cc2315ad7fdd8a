/**
 * A file of pieces, so that each is checked as it is read and none is used before:
 *
 *     piece = CRC32C of the rest (4 bytes, little-endian) · its number from 0 (4) · length (4) · that many bytes
 *
 * The number in the checksum shows pieces that were lost, repeated or swapped; whoever reads knows how many there are.
 * R4: one piece is in memory, on either side; a length beyond PIECE_BYTES is damage, and is not allocated.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DiskFile, FileSystem } from '@freshet/log/file-system.ts';
import { crc32c } from '@freshet/store/crc32c.ts';

const HEADER_BYTES = 12;
/** Rows are parsed a piece at a time, so that a piece's work does not hold up everything else for long. The most of one. */
const PIECE_BYTES = 128 * 1024;

/** Writes the bytes as they come, from the first; resolves with the number of pieces, once they are durable. */
export async function writePieces(files: FileSystem, path: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
  const file = await files.open(path, 'overwrite');
  try {
    let count = 0;
    let position = 0;
    let waiting: Uint8Array[] = [];
    let waitingBytes = 0;
    const write = async (): Promise<void> => {
      const piece = pieceOf(count, waiting, waitingBytes);
      await file.write([piece], position);
      position += piece.length;
      count += 1;
      waiting = [];
      waitingBytes = 0;
    };
    for await (const some of bytes) {
      // A large row goes into several pieces: whoever reads puts lines together.
      for (let from = 0; from < some.length; ) {
        const part = some.subarray(from, from + PIECE_BYTES - waitingBytes);
        waiting.push(part);
        waitingBytes += part.length;
        from += part.length;
        if (waitingBytes === PIECE_BYTES) await write();
      }
    }
    if (waitingBytes > 0) await write();
    await file.sync();
    return count;
  } finally {
    await file.close();
  }
}

/** The bytes that were written, a piece at a time. Throws DATA_DAMAGED when they are not. */
export async function* readPieces(files: FileSystem, path: string, count: number): AsyncGenerator<Buffer> {
  const file = await files.open(path, 'read');
  try {
    const size = await file.length();
    let position = 0;
    for (let number = 0; number < count; number++) {
      const header = await readExactly(file, HEADER_BYTES, position, path);
      const length = header.readUInt32LE(8);
      if (length > PIECE_BYTES || position + HEADER_BYTES + length > size) throw damaged(path, position);
      const piece = await readExactly(file, HEADER_BYTES + length, position, path);
      const sound = piece.readUInt32LE(0) === crc32c(piece, 4, piece.length) && piece.readUInt32LE(4) === number;
      if (!sound) throw damaged(path, position);
      yield piece.subarray(HEADER_BYTES);
      position += piece.length;
    }
  } finally {
    await file.close();
  }
}

function pieceOf(number: number, parts: readonly Uint8Array[], length: number): Buffer {
  const piece = Buffer.allocUnsafe(HEADER_BYTES + length);
  piece.writeUInt32LE(number, 4);
  piece.writeUInt32LE(length, 8);
  let at = HEADER_BYTES;
  for (const part of parts) {
    piece.set(part, at);
    at += part.length;
  }
  piece.writeUInt32LE(crc32c(piece, 4, piece.length), 0);
  return piece;
}

async function readExactly(file: DiskFile, length: number, position: number, path: string): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  if ((await file.read(bytes, position)) < length) throw damaged(path, position);
  return bytes;
}

function damaged(path: string, position: number): FreshetError {
  return new FreshetError('DATA_DAMAGED', `a staged snapshot is damaged at byte ${position}`, {
    remedy: 'Nothing: the snapshot is taken anew, as a new generation. If it recurs, look at the disk.',
    place: path,
  });
}
