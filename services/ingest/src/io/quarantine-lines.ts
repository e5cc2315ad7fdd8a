/**
 * The lines of the quarantine's file: a CRC-32 in hex, a space, and an entry as JSON. Owns their form; whose they are is
 * quarantine-file.ts.
 */
import { crc32 } from 'node:zlib';
import type { DiskFile } from '@freshet/log/file-system.ts';
import type { QuarantineEntry, RowPlace } from '../core/quarantine.ts';
import { LineSplitter } from '../core/types/copy-text.ts';

const READ_BYTES = 64 * 1024;
const SPACE = 0x20;
const NEWLINE = Buffer.from('\n');

/** The lines that are what was written, with their newlines; those behind one that is not say so. */
export async function* soundLines(file: DiskFile): AsyncGenerator<Buffer> {
  let isBehind = false;
  for await (const { line } of rawLinesOf(file)) {
    const entry = isBehind ? entryOf(line.toString('utf8')) : undefined;
    if (!isSound(line)) isBehind = true;
    else if (entry === undefined || entry.late === true) yield Buffer.concat([line, NEWLINE]);
    else yield Buffer.from(lineOf({ ...entry, ahead: true }));
  }
}

/** The bytes from a position to another, or to the end. */
export async function* piecesOf(file: DiskFile, from = 0, to = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  for (let position = from; position < to; ) {
    const piece = Buffer.alloc(Math.min(READ_BYTES, to - position));
    const length = await file.read(piece, position);
    if (length === 0) return;
    yield piece.subarray(0, length);
    position += length;
  }
}

/** The lines with the position after each, counted in bytes of the file, however damaged its text is. */
export async function* linesOf(file: DiskFile, from = 0): AsyncGenerator<{ text: string; next: number }> {
  for await (const { line, next } of rawLinesOf(file, from)) yield { text: line.toString('utf8'), next };
}

/** As linesOf, the bytes. */
export async function* rawLinesOf(file: DiskFile, from = 0): AsyncGenerator<{ line: Buffer; next: number }> {
  const splitter = new LineSplitter();
  let next = from;
  for await (const piece of piecesOf(file, from)) {
    for (const line of splitter.pushBytes(piece)) {
      next += line.length + 1;
      yield { line, next };
    }
  }
}

/** Whether a line is what was written, without its newline. */
export function isSound(line: Buffer): boolean {
  return line[8] === SPACE && crc32(line.subarray(9)) === Number.parseInt(crcOf(line), 16);
}

/** The checksum that a line says it has. */
export function crcOf(line: Buffer | string): string {
  return typeof line === 'string' ? line.slice(0, 8) : line.toString('latin1', 0, 8);
}

export function lineOf(entry: QuarantineEntry): string {
  const json = JSON.stringify({ ...entry, major: entry.major.toString() });
  return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
}

/** Not the entry itself, whose values would be held as well. */
export function placeOf({ route, generation, lane, major, minor, part }: RowPlace): RowPlace {
  return { route, generation, lane, major, minor, part };
}

export function entryOf(line: string): QuarantineEntry | undefined {
  const json = line.slice(9);
  if (crc32(json) !== Number.parseInt(line.slice(0, 8), 16) || line[8] !== ' ') return undefined;
  const entry = JSON.parse(json) as Omit<QuarantineEntry, 'major'> & { major: string };
  return { ...entry, major: BigInt(entry.major) };
}
