/**
 * The quarantine: a file of lines, each a CRC-32 in hex, a space, and an entry as JSON. Readable with `cut` and `jq`.
 *
 * Owns the file. Appends are durable when they resolve; concurrent ones share an fsync. An entry that is there already
 * (its row came again after a crash) is passed over: entries of a lane come in order, so one mark a lane is enough.
 * A torn last line is cut at open; damage before it is refused. After a failed write nothing is taken any more: what the
 * file holds is not known until it is opened again.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { QuarantineWriter } from '../core/append-pipeline.ts';
import { comparePlaces, laneName, placeName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { LineSplitter } from '../core/types/copy-text.ts';
import { syncDirectory } from './durable-file.ts';

interface Waiting {
  readonly lines: string;
  readonly count: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class QuarantineFile implements QuarantineWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #marks: Map<string, RowPlace>;
  #count: number;
  #waiting: Waiting[] = [];
  #failure: { readonly error: unknown } | undefined;
  #writing: Promise<void> | undefined;

  private constructor(path: string, file: FileHandle, marks: Map<string, RowPlace>, count: number) {
    this.#path = path;
    this.#file = file;
    this.#marks = marks;
    this.#count = count;
  }

  /** Opens the file, or makes it. Throws DATA_DAMAGED when a line before the last is not what was written. */
  static async open(path: string): Promise<QuarantineFile> {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(path, 'a', 0o600);
    await syncDirectory(dirname(path));
    const marks = new Map<string, RowPlace>();
    let count = 0;
    let end = 0;
    const { size } = await file.stat();
    for await (const { text, next } of linesOf(path)) {
      const place = placeOf(text);
      if (place === undefined) {
        // Only the line that was being written when the machine failed may be torn.
        if (next < size) throw damaged(path, count + 1);
        break;
      }
      marks.set(laneName(place), place);
      count += 1;
      end = next;
    }
    if (end < size) await truncate(path, end);
    return new QuarantineFile(path, file, marks, count);
  }

  /** Entries since the file was made. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when the entries are durable. Rejects with what the first write failed with, for good. */
  async append(entries: readonly QuarantineEntry[]): Promise<void> {
    let lines = '';
    let count = 0;
    for (const entry of entries) {
      const mark = this.#marks.get(laneName(entry));
      if (mark !== undefined && comparePlaces(entry, mark) <= 0) continue;
      // Ahead of the write, so that nothing goes twice into one; should it fail, no mark counts any more.
      this.#marks.set(laneName(entry), entry);
      count += 1;
      lines += lineOf(entry);
    }
    // Also when nothing is new: what the entries repeat may still be on its way.
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ lines, count, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** The names of the places of those entries, of all that are on disk or on their way there, that are wanted. */
  async places(wanted: (entry: QuarantineEntry) => boolean): Promise<ReadonlySet<string>> {
    await this.#writing;
    const places = new Set<string>();
    if (this.#count === 0) return places;
    for await (const { text } of linesOf(this.#path)) {
      const entry = entryOf(text);
      if (entry !== undefined && wanted(entry)) places.add(placeName(entry));
    }
    return places;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #write(): Promise<void> {
    // Whoever appends in the same turn shares the write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        if (this.#failure !== undefined) throw this.#failure.error;
        const text = group.map(({ lines }) => lines).join('');
        if (text !== '') {
          await this.#file.appendFile(text);
          await this.#file.datasync();
        }
        for (const { count, resolve } of group) {
          this.#count += count;
          resolve();
        }
      } catch (error) {
        this.#failure ??= { error };
        for (const { reject } of group) reject(error);
      }
    }
    this.#writing = undefined;
  }
}

function lineOf(entry: QuarantineEntry): string {
  const json = JSON.stringify({ ...entry, major: entry.major.toString() });
  return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
}

function placeOf(line: string): RowPlace | undefined {
  const entry = entryOf(line);
  if (entry === undefined) return undefined;
  // Not the entry itself, whose values would be held as well.
  const { route, generation, lane, major, minor, part } = entry;
  return { route, generation, lane, major, minor, part };
}

function entryOf(line: string): QuarantineEntry | undefined {
  const json = line.slice(9);
  if (crc32(json) !== Number.parseInt(line.slice(0, 8), 16) || line[8] !== ' ') return undefined;
  const entry = JSON.parse(json) as Omit<QuarantineEntry, 'major'> & { major: string };
  return { ...entry, major: BigInt(entry.major) };
}

async function* linesOf(path: string): AsyncGenerator<{ text: string; next: number }> {
  const splitter = new LineSplitter();
  let next = 0;
  for await (const bytes of createReadStream(path)) {
    for (const text of splitter.push(bytes as Buffer)) {
      next += Buffer.byteLength(text) + 1;
      yield { text, next };
    }
  }
}

function damaged(path: string, line: number): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'the quarantine file is damaged', {
    remedy: 'Restore it, or move it away: what it kept is then gone.',
    place: `${path}:${line}`,
  });
}
