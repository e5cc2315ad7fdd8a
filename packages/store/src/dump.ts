/**
 * A store as lines of JSON, for copies that people keep and move: a header, a line per entry with its checksum, an end that
 * says how many there were and what they were together. A copy that was cut off, or in which a byte is another, is refused.
 *
 *     {"freshet":"store","format":1}
 *     {"key":"<base64>","value":"<base64>","crc":<CRC32C over key and value>}
 *     {"entries":<n>,"crc":<CRC32C over all lines before, with their line ends>}
 *
 * Owns the lines. Does not own files, or what lies under which key. Memory: a piece of the store at a time; a line is bounded.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { crc32c } from './crc32c.ts';
import type { KeyValueStore } from './key-value-store.ts';

const HEADER = '{"freshet":"store","format":1}\n';
/** Keys from the first to the last there can be: keys of stores are shorter. */
const ALL = { gte: Buffer.alloc(0), lt: Buffer.alloc(64, 0xff) };
const PIECE = 16;
/** The longest line that is read: a value of the largest store is some 16 MiB, and a third more in base64. */
const LINE_CHARS_MAX = 64 * 1024 * 1024;
const BATCH_BYTES = 4 * 1024 * 1024;

/** The store's lines, in the order of keys, as it was when this began. Throws DATA_DAMAGED. */
export async function* dumpStore(store: KeyValueStore): AsyncGenerator<string> {
  let crc = checksum(HEADER, 0);
  let entries = 0;
  yield HEADER;
  const scan = store.entries(ALL);
  try {
    for (;;) {
      const piece = await scan.next(PIECE);
      if (piece.length === 0) break;
      for (const [key, value] of piece) {
        const line = `${JSON.stringify({ key: key.toString('base64'), value: value.toString('base64'), crc: entryCrc(key, value) })}\n`;
        crc = checksum(line, crc);
        entries += 1;
        yield line;
      }
    }
  } finally {
    await scan.close();
  }
  yield `${JSON.stringify({ entries, crc })}\n`;
}

/** Checks the lines (without their ends) from the header to the end, and resolves with how many entries. Throws DATA_DAMAGED. */
export async function verifyDump(lines: AsyncIterable<string>, place: string): Promise<number> {
  let count = 0;
  for await (const _entry of readDump(lines, place)) count += 1;
  return count;
}

/** Puts the entries of a dump into an empty store. Verify it first: an import stops in the middle where a line is wrong. */
export async function restoreDump(store: KeyValueStore, lines: AsyncIterable<string>, place: string): Promise<number> {
  let batch = store.batch();
  let bytes = 0;
  let count = 0;
  for await (const [key, value] of readDump(lines, place)) {
    batch.put(key, value);
    bytes += key.length + value.length;
    count += 1;
    if (bytes < BATCH_BYTES) continue;
    await batch.write({ sync: true });
    batch = store.batch();
    bytes = 0;
  }
  await batch.write({ sync: true });
  return count;
}

/** Whether nothing is in the store. */
export async function isEmpty(store: KeyValueStore): Promise<boolean> {
  return (await store.keys(ALL, 1)).length === 0;
}

/** The entries, each checked as it comes; that they are all of them is known at the end only. Throws DATA_DAMAGED. */
export async function* readDump(
  lines: AsyncIterable<string>,
  place: string,
): AsyncGenerator<readonly [key: Buffer, value: Buffer]> {
  let number = 0;
  let entries = 0;
  let crc = 0;
  let isComplete = false;
  for await (const line of lines) {
    number += 1;
    const at = `${place}:${number}`;
    if (isComplete) throw damaged('something follows the end', at);
    if (line.length > LINE_CHARS_MAX) throw damaged('the line is too long', at);
    if (number === 1) {
      if (`${line}\n` !== HEADER) throw damaged('this is no copy of a store, or one of a newer version', at);
    } else {
      const { key, value, crc: told, entries: all } = parse(line, at);
      if (typeof all === 'number') {
        if (all !== entries) throw damaged(`there are ${entries} entries of ${all}`, at);
        if (told !== crc) throw damaged('the checksum of the whole is another', at);
        isComplete = true;
        continue;
      }
      if (typeof key !== 'string' || typeof value !== 'string') throw damaged('the line is no entry', at);
      const [k, v] = [Buffer.from(key, 'base64'), Buffer.from(value, 'base64')];
      if (told !== entryCrc(k, v)) throw damaged('the checksum of the entry is another', at);
      entries += 1;
      yield [k, v];
    }
    crc = checksum(`${line}\n`, crc);
  }
  if (!isComplete) throw damaged('the end is missing: the copy was cut off', `${place}:${number}`);
}

function parse(line: string, at: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw damaged('the line is no JSON object', at);
}

function entryCrc(key: Uint8Array, value: Uint8Array): number {
  return crc32c(value, 0, value.length, crc32c(key, 0, key.length));
}

function checksum(line: string, before: number): number {
  const bytes = Buffer.from(line);
  return crc32c(bytes, 0, bytes.length, before);
}

function damaged(message: string, place: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the copy is damaged: ${message}`, {
    remedy: 'take another copy; nothing of this one is used',
    place,
  });
}
