/**
 * What the quarantine's file has, without its rows: what is asked of it all the time is answered of this. Made by reading the
 * file, from its beginning or from where an index ends (quarantine-index.ts), and mending it where it is damaged. Owns neither.
 */
import { dirname } from 'node:path';
import { type DiskFile, type FileSystem, isErrno } from '@freshet/log/file-system.ts';
import { AloneIndex } from '../core/alone-index.ts';
import { HeldIndex } from '../core/held-index.ts';
import { comparePlaces, laneName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import type { QuarantineDamage } from './quarantine-errors.ts';
import { crcOf, entryOf, lineOf, linesOf, piecesOf, placeOf, soundLines } from './quarantine-lines.ts';
import { asidePath } from './set-aside.ts';

const WRITE_BYTES = 256 * 1024;

/** A line by which a file is known again: where it begins, and its checksum. */
export interface LastLine {
  readonly at: number;
  readonly crc: string;
}

/** All of a file up to a position. */
export interface Summary {
  /** By lane, the newest entry. */
  readonly marks: ReadonlyMap<string, RowPlace>;
  /** By lane, the newest entry of a row that was put aside alone. */
  readonly alone: ReadonlyMap<string, RowPlace>;
  /** By lane, the newest entry before which others may yet come: the marks say nothing of it. */
  readonly ahead: ReadonlyMap<string, RowPlace>;
  readonly held: HeldIndex;
  readonly aloneRows: AloneIndex;
  readonly count: number;
  /** Where the next line goes. */
  readonly end: number;
  /** Undefined: there is no line. */
  readonly last: LastLine | undefined;
}

export interface Survey extends Summary {
  /** Lines that are not what was written. */
  readonly damagedLines: number;
}

/** What is known of a file beside what it has. */
export interface FoundAtOpen {
  readonly damage?: QuarantineDamage | undefined;
  readonly readWhole?: string | undefined;
  /** Where what was read begins. */
  readonly unreadBytes: number;
}

/** Opens a file to write, or makes it; its name is durable then. */
export async function openOrCreate(files: FileSystem, path: string): Promise<DiskFile> {
  const file = await files.open(path, 'write').catch((error: unknown) => {
    if (!isErrno(error, 'ENOENT')) throw error;
    return files.open(path, 'create');
  });
  try {
    // A process that was killed may have put another file here, and left it to a power cut to take that back with all that came since.
    await files.syncDirectory(dirname(path));
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  return file;
}

/** Reads the file from where a summary of it ends, or whole: what it holds, and how much of it is not what was written. */
export async function surveyOf(file: DiskFile, since?: Summary): Promise<Survey> {
  const size = await file.length();
  const marks = new Map(since?.marks);
  const alone = new Map(since?.alone);
  const ahead = new Map(since?.ahead);
  const held = since?.held ?? new HeldIndex();
  const aloneRows = since?.aloneRows ?? new AloneIndex();
  let { count, end, last }: Pick<Summary, 'count' | 'end' | 'last'> = since ?? { count: 0, end: 0, last: undefined };
  let [damagedLines, begins] = [0, end];
  for await (const { text, next } of linesOf(file, end)) {
    const entry = entryOf(text);
    if (entry !== undefined) {
      held.add(entry, begins, next - begins);
      aloneRows.add(entry);
      mark({ marks, alone, ahead }, entry);
      count += 1;
      end = next;
      last = { at: begins, crc: crcOf(text) };
    } else if (next < size) {
      // Only the line that was being written when the machine failed may be torn.
      damagedLines += 1;
    }
    begins = next;
  }
  return { marks, alone, ahead, held, aloneRows, count, end, last, damagedLines };
}

/** By lane, the newest entries that a file has. */
export interface Marks {
  readonly marks: Map<string, RowPlace>;
  readonly alone: Map<string, RowPlace>;
  readonly ahead: Map<string, RowPlace>;
}

/** Takes the next entry of a file. One that is late is not in its lane's order, and says nothing of what was before. */
export function mark({ marks, alone, ahead }: Marks, entry: QuarantineEntry): void {
  markAlone(alone, entry);
  if (entry.late === true) return;
  const lane = laneName(entry);
  if (entry.ahead === true) {
    ahead.set(lane, placeOf(entry));
    return;
  }
  marks.set(lane, placeOf(entry));
  // Entries are in order, and this one came when all before it had.
  ahead.delete(lane);
}

/** Takes the next entry, if it holds nothing. */
export function markAlone(alone: Map<string, RowPlace>, entry: QuarantineEntry): void {
  if (entry.held !== undefined) return;
  const newest = alone.get(laneName(entry));
  if (newest === undefined || comparePlaces(entry, newest) > 0) alone.set(laneName(entry), placeOf(entry));
}

/**
 * Keeps a copy of the file as it is, and then replaces it by its sound lines; resolves with where the copy is. Each line behind
 * damage says so from then on, whatever ends the process: what was lost before it may come again, if it was never acknowledged.
 */
export async function salvage(files: FileSystem, path: string, file: DiskFile): Promise<string> {
  const keptAt = await asidePath(files, path);
  await copyWhole(files, keptAt, piecesOf(file));
  const draft = `${path}.new`;
  await copyWhole(files, draft, soundLines(file));
  await files.rename(draft, path);
  await files.syncDirectory(dirname(path));
  return keptAt;
}

/** Writes a file of these bytes, durably. */
export async function copyWhole(files: FileSystem, path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const copy = await files.open(path, 'overwrite');
  try {
    let [position, waiting]: [number, Uint8Array[]] = [0, []];
    let size = 0;
    const write = async (): Promise<void> => {
      await copy.write([Buffer.concat(waiting)], position);
      position += size;
      [waiting, size] = [[], 0];
    };
    for await (const piece of bytes) {
      waiting.push(piece);
      size += piece.length;
      // Lines are short, and a write each takes longer than all else.
      if (size >= WRITE_BYTES) await write();
    }
    if (size > 0) await write();
    await copy.sync();
  } finally {
    await copy.close();
  }
  await files.syncDirectory(dirname(path));
}

/** A file that is written anew, entry by entry: what it becomes. */
export class Rewriting implements Summary {
  readonly marks = new Map<string, RowPlace>();
  readonly alone = new Map<string, RowPlace>();
  readonly ahead = new Map<string, RowPlace>();
  readonly held = new HeldIndex();
  readonly aloneRows = new AloneIndex();
  count = 0;
  end = 0;
  last: LastLine | undefined;
  /** For how many entries something else stands. */
  changed = 0;

  /**
   * The bytes of the file anew: `stands` gives what stands for an entry. None before the first that is not the same, since mostly
   * there is none. Throws what `damagedAt` gives for a line that is not what was written.
   */
  async *of(
    file: DiskFile,
    end: number,
    stands: (entry: QuarantineEntry) => readonly QuarantineEntry[],
    damagedAt: (next: number) => Promise<Error>,
  ): AsyncGenerator<Buffer> {
    let same = 0;
    for await (const { text, next } of linesOf(file)) {
      // What a failed write left.
      if (next > end) return;
      const entry = entryOf(text);
      if (entry === undefined) throw await damagedAt(next);
      const all = stands(entry);
      const isSame = all.length === 1 && all[0] === entry;
      if (!isSame) this.changed += 1;
      if (this.changed === 0) same = next;
      if (this.changed === 1 && !isSame) yield* piecesOf(file, 0, same);
      for (const now of all) {
        const line = Buffer.from(now === entry ? `${text}\n` : lineOf(now));
        this.#add(now, line);
        if (this.changed > 0) yield line;
      }
    }
  }

  #add(entry: QuarantineEntry, line: Buffer): void {
    this.held.add(entry, this.end, line.length);
    this.aloneRows.add(entry);
    mark(this, entry);
    this.last = { at: this.end, crc: crcOf(line) };
    this.count += 1;
    this.end += line.length;
  }
}
