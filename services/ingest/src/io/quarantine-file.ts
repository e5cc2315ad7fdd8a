/**
 * The quarantine: a file of lines, each a CRC-32 in hex, a space, and an entry as JSON. Readable with `cut` and `jq`.
 *
 * Owns the file. Appends are durable when they resolve; concurrent ones share an fsync. An entry that is there already
 * (its row came again after a crash) is passed over: entries of a lane come in order, so one mark a lane is enough. What was
 * not put aside when it came first is not put aside before it later (core/earlier-decisions.ts); a late one says that it is.
 *
 *     a torn last line           cut at open: nobody was told that it is durable
 *     damage anywhere else       the file as it is goes aside whole; its sound lines are kept, the others counted and told
 *     a write that fails         what it left is cut off again, its entries are refused, later tries are taken
 *     as large as it may be      entries wait for room, and with them what they belong to: none is thrown away (C1)
 *     an fsync that fails        nothing is taken any more: what the file holds is not known until it is opened again
 */
import { dirname } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type DiskFile, type FileSystem, isErrno } from '@freshet/log/file-system.ts';
import { AloneIndex, type AloneRows } from '../core/alone-index.ts';
import type { QuarantineWriter } from '../core/append-pipeline.ts';
import { HeldIndex, type HeldRoute } from '../core/held-index.ts';
import { comparePlaces, laneName, placeName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { onDisk } from './on-disk.ts';
import { entryOf, lineOf, linesOf, piecesOf, placeOf, soundLines } from './quarantine-lines.ts';
import { QuarantineLoans } from './quarantine-loans.ts';
import { asidePath } from './set-aside.ts';

/** The most that the file may take. Millions of rows: whoever has as many has something else to mend first. */
const QUARANTINE_BYTES_MAX = 1024 ** 3;

interface Waiting {
  readonly lines: string;
  readonly count: number;
  readonly marks: ReadonlyMap<string, RowPlace>;
  /** What the indexes are told, with how far into the lines each begins, and how long it is, in bytes. */
  readonly indexed: readonly { readonly entry: QuarantineEntry; readonly at: number; readonly size: number }[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface Survey {
  readonly marks: Map<string, RowPlace>;
  /** By lane, the newest entry of a row that was put aside alone. */
  readonly alone: Map<string, RowPlace>;
  readonly held: HeldIndex;
  readonly aloneRows: AloneIndex;
  readonly count: number;
  /** Where the next line goes. */
  readonly end: number;
  /** Lines that are not what was written. */
  readonly damagedLines: number;
}

/** What was found of damage when the quarantine was opened. */
export interface QuarantineDamage {
  readonly lines: number;
  /** Where the file is kept as it was found. */
  readonly keptAt: string;
}

export class QuarantineFile implements QuarantineWriter {
  /** Damage that was found at open; undefined: none. */
  readonly damage: QuarantineDamage | undefined;
  /** Rows of entries on their way to the log. */
  readonly loans = new QuarantineLoans();
  readonly #files: FileSystem;
  readonly #path: string;
  #file: DiskFile;
  /** By lane, the newest entry that is durable, and the newest that is durable or on its way. */
  #durable: Map<string, RowPlace>;
  #marks: Map<string, RowPlace>;
  readonly #alone: Map<string, RowPlace>;
  readonly #bytesMax: number;
  #held: HeldIndex;
  #aloneRows: AloneIndex;
  /** How often the file was rewritten: offsets of before are none of its. */
  #rewrites = 0;
  /** While the file gets another one's name: whoever opens it then may have either. */
  #swapping: Promise<void> | undefined;
  #count: number;
  #end: number;
  /** A write failed, and may have left something after the end. */
  #torn = false;
  #isFull = false;
  #waiting: Waiting[] = [];
  #failure: { readonly error: unknown } | undefined;
  #writing: Promise<void> | undefined;

  private constructor(
    files: FileSystem,
    path: string,
    file: DiskFile,
    { marks, alone, held, aloneRows, count, end }: Survey,
    bytesMax: number,
    damage: QuarantineDamage | undefined,
  ) {
    this.#files = files;
    this.#path = path;
    this.#file = file;
    this.#durable = marks;
    this.#alone = alone;
    this.#held = held;
    this.#aloneRows = aloneRows;
    this.#bytesMax = bytesMax;
    this.#marks = new Map(marks);
    this.#count = count;
    this.#end = end;
    this.damage = damage;
  }

  /** Opens the file, or makes it. Throws what the disk refuses; damage is mended, and told in `damage`. */
  static open(files: FileSystem, path: string, bytesMax: number = QUARANTINE_BYTES_MAX): Promise<QuarantineFile> {
    return onDisk(path, async () => {
      await files.makeDirectory(dirname(path));
      const file = await openOrCreate(files, path);
      try {
        const survey = await surveyOf(file);
        if (survey.damagedLines === 0) {
          if (survey.end < (await file.length())) await file.truncate(survey.end);
          return new QuarantineFile(files, path, file, survey, bytesMax, undefined);
        }
        const keptAt = await salvage(files, path, file);
        await file.close();
        const sound = await files.open(path, 'write');
        const { count, end, held, aloneRows } = await surveyOf(sound);
        // Marks of before the damage: what comes again after a lost line is written again, rather than passed over.
        const damage = { lines: survey.damagedLines, keptAt };
        const mended = { ...survey, held, aloneRows, count, end };
        return new QuarantineFile(files, path, sound, mended, bytesMax, damage);
      } catch (error) {
        await file.close().catch(() => undefined);
        throw error;
      }
    });
  }

  /** Entries that there are. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when the entries are durable. Rejects with what the write failed with; after a failed fsync for good. */
  async append(entries: readonly QuarantineEntry[]): Promise<void> {
    let lines = '';
    let [count, bytes] = [0, 0];
    const marks = new Map<string, RowPlace>();
    const indexed: { entry: QuarantineEntry; at: number; size: number }[] = [];
    for (const entry of entries) {
      const mark = this.#marks.get(laneName(entry));
      if (entry.late !== true) {
        if (mark !== undefined && comparePlaces(entry, mark) <= 0) continue;
        // Ahead of the write, so that nothing goes twice into one.
        this.#marks.set(laneName(entry), placeOf(entry));
        marks.set(laneName(entry), placeOf(entry));
      }
      if (entry.held === undefined) this.#alone.set(laneName(entry), placeOf(entry));
      const line = lineOf(entry);
      const size = Buffer.byteLength(line);
      indexed.push({ entry, at: bytes, size });
      count += 1;
      lines += line;
      bytes += size;
    }
    // Also when nothing is new: what the entries repeat may still be on its way.
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ lines, count, marks, indexed, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** The newest entry of a lane that is durable; undefined: none came. */
  newestOf(lane: Pick<RowPlace, 'route' | 'generation' | 'lane'>): RowPlace | undefined {
    return this.#durable.get(laneName(lane));
  }

  /** The newest that was put aside alone: where there is none that matters, places() need not be read. */
  newestAlone(lane: Pick<RowPlace, 'route' | 'generation' | 'lane'>): RowPlace | undefined {
    return this.#alone.get(laneName(lane));
  }

  /** The names of the places of those entries, of all that are on disk or on their way there, that are wanted. */
  async places(wanted: (entry: QuarantineEntry) => boolean): Promise<ReadonlySet<string>> {
    await this.#writing;
    const places = new Set<string>();
    if (this.#count === 0) return places;
    await onDisk(this.#path, async () => {
      const file = await this.#files.open(this.#path, 'read');
      try {
        for await (const { text } of linesOf(file)) {
          const entry = entryOf(text);
          if (entry !== undefined && wanted(entry)) places.add(placeName(entry));
        }
      } finally {
        await file.close();
      }
    });
    return places;
  }

  /** What is held of a generation of a route, durably; undefined: nothing. */
  heldOf(route: number, generation: number): HeldRoute | undefined {
    return this.#held.of(route, generation);
  }

  /** All that is held. */
  get held(): readonly HeldRoute[] {
    return this.#held.all;
  }

  /** What of a generation of a route was put aside alone, durably; undefined: nothing. */
  aloneOf(route: number, generation: number): AloneRows | undefined {
    return this.#aloneRows.of(route, generation);
  }

  /** All that was put aside alone. */
  get alone(): readonly AloneRows[] {
    return this.#aloneRows.all;
  }

  /** Whether half of what the file may take is taken. */
  get isHalfFull(): boolean {
    return this.#end > this.#bytesMax / 2;
  }

  /** Whether the newest entries found no room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Changes when the file was rewritten: offsets of before lead nowhere then. */
  get rewrites(): number {
    return this.#rewrites;
  }

  /**
   * The entries from the line that begins at an offset on, each with the offset after it; those only that are durable at the
   * call. None when the file is rewritten before it is open, and the offset leads nowhere any more. Throws DATA_DAMAGED at a line that is not what was written.
   */
  async *entries(offset = 0): AsyncGenerator<{ readonly entry: QuarantineEntry; readonly next: number }> {
    const { file, end, isOther } = await this.#openToRead();
    try {
      if (offset >= end || (isOther && offset > 0)) return;
      for await (const { text, next } of linesOf(file, offset)) {
        if (next > end) return;
        const entry = entryOf(text);
        if (entry === undefined) throw damagedLine(this.#path, next);
        yield { entry, next };
      }
    } finally {
      await file.close();
    }
  }

  /** The file with where it ends, both of one rewriting; and whether that is another one than at the call. */
  async #openToRead(): Promise<{ file: DiskFile; end: number; isOther: boolean }> {
    const asked = this.#rewrites;
    for (;;) {
      while (this.#swapping !== undefined) await this.#swapping;
      const [rewrites, end] = [this.#rewrites, this.#end];
      const file = await onDisk(this.#path, () => this.#files.open(this.#path, 'read'));
      if (this.#swapping === undefined && rewrites === this.#rewrites)
        return { file, end, isOther: rewrites !== asked };
      await file.close();
    }
  }

  /**
   * Takes entries out, in one step: the file is replaced, durably. Resolves with how many. What is appended meanwhile
   * waits; an entry that was taken out and comes again is passed over, as any other. Throws DATA_DAMAGED when a line was
   * damaged since the file was opened: whose it is cannot be told, and it is not to go without a word (C1).
   */
  remove(isUnwanted: (entry: QuarantineEntry) => boolean): Promise<number> {
    return this.rewrite((entry) => (isUnwanted(entry) ? undefined : entry));
  }

  /**
   * As remove, for entries that become others as well: `change` gives what stands for an entry, itself for one that stays as it
   * is. Each is asked once, in order; nothing is changed when it throws. Resolves with how many went or are others. The limit of
   * bytes is not asked: what becomes larger waits to go.
   */
  async rewrite(change: (entry: QuarantineEntry) => QuarantineEntry | undefined): Promise<number> {
    while (this.#writing !== undefined) await this.#writing;
    if (this.#failure !== undefined) throw this.#failure.error;
    const rewriting = onDisk(this.#path, () => this.#rewrite(change));
    this.#writing = rewriting.then(
      () => this.#write(),
      () => this.#write(),
    );
    return rewriting;
  }

  async #rewrite(change: (entry: QuarantineEntry) => QuarantineEntry | undefined): Promise<number> {
    const [files, path, file, oldEnd] = [this.#files, this.#path, this.#file, this.#end];
    let [changed, count, end] = [0, 0, 0];
    const held = new HeldIndex();
    const aloneRows = new AloneIndex();
    async function* kept(): AsyncGenerator<Buffer> {
      for await (const { text, next } of linesOf(file)) {
        // What a failed write left.
        if (next > oldEnd) return;
        const entry = entryOf(text);
        if (entry === undefined) throw damagedLine(path, next);
        const now = change(entry);
        if (now !== entry) changed += 1;
        if (now === undefined) continue;
        const line = Buffer.from(now === entry ? `${text}\n` : lineOf(now));
        held.add(now, end, line.length);
        aloneRows.add(now);
        count += 1;
        end += line.length;
        yield line;
      }
    }
    const draft = `${path}.new`;
    await copyWhole(files, draft, kept());
    if (changed === 0) {
      await files.remove(draft);
      return 0;
    }
    const next = await files.open(draft, 'write');
    const swapped = Promise.withResolvers<void>();
    this.#swapping = swapped.promise;
    try {
      await files.rename(draft, path);
      // At once: the old file has no name any more, and what would be written to it is lost.
      this.#file = next;
      this.#held = held;
      this.#aloneRows = aloneRows;
      this.#rewrites += 1;
      this.#end = end;
      this.#count = count;
      this.#torn = false;
    } finally {
      this.#swapping = undefined;
      swapped.resolve();
    }
    await file.close().catch(() => undefined);
    try {
      await files.syncDirectory(dirname(path));
    } catch (error) {
      this.#failure = { error: unknownContent(path, error) };
      throw this.#failure.error;
    }
    return changed;
  }

  async close(): Promise<void> {
    await this.#writing;
    this.#failure ??= { error: new FreshetError('CANCELLED', 'the quarantine is closed') };
    await this.#file.close();
  }

  async #write(): Promise<void> {
    // Whoever appends in the same turn shares the write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      let begins = this.#end;
      try {
        await this.#writeLines(Buffer.from(group.map(({ lines }) => lines).join('')));
        for (const { lines, count, marks, indexed, resolve } of group) {
          this.#count += count;
          for (const { entry, at, size } of indexed) {
            this.#held.add(entry, begins + at, size);
            this.#aloneRows.add(entry);
          }
          begins += Buffer.byteLength(lines);
          for (const [lane, place] of marks) this.#durable.set(lane, place);
          resolve();
        }
      } catch (error) {
        // Whoever came meanwhile may have left out what this group had: all of them try again.
        this.#marks = new Map(this.#durable);
        for (const { reject } of [...group, ...this.#waiting.splice(0)]) reject(error);
      }
    }
    this.#writing = undefined;
  }

  async #writeLines(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (bytes.length === 0) return;
    this.#isFull = this.#end + bytes.length > this.#bytesMax;
    if (this.#isFull) throw full(this.#path, this.#bytesMax);
    await onDisk(this.#path, async () => {
      if (this.#torn) await this.#file.truncate(this.#end);
      this.#torn = true;
      await this.#file.write([bytes], this.#end);
      this.#torn = false;
    });
    try {
      await this.#file.sync();
    } catch (error) {
      this.#failure = { error: unknownContent(this.#path, error) };
      throw this.#failure.error;
    }
    this.#end += bytes.length;
  }
}

/** What to say of damage that was found. */
export function quarantineDamaged({ lines, keptAt }: QuarantineDamage): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the quarantine was damaged: ${lines} of its lines cannot be read`, {
    remedy:
      'The file as it was found is kept beside it. Look there for rows that are missing, and at the disk; rows that were ' +
      'being written when the machine lost power are among them, and come again by themselves.',
    place: keptAt,
  });
}

async function openOrCreate(files: FileSystem, path: string): Promise<DiskFile> {
  try {
    return await files.open(path, 'write');
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  const file = await files.open(path, 'create');
  await files.syncDirectory(dirname(path));
  return file;
}

/** Reads the whole file: what it holds, and how much of it is not what was written. */
async function surveyOf(file: DiskFile): Promise<Survey> {
  const size = await file.length();
  const marks = new Map<string, RowPlace>();
  const alone = new Map<string, RowPlace>();
  const held = new HeldIndex();
  const aloneRows = new AloneIndex();
  let [count, end, damagedLines, begins] = [0, 0, 0, 0];
  for await (const { text, next } of linesOf(file)) {
    const entry = entryOf(text);
    if (entry !== undefined) {
      held.add(entry, begins, next - begins);
      aloneRows.add(entry);
      if (damagedLines === 0) marks.set(laneName(entry), placeOf(entry));
      if (entry.held === undefined) alone.set(laneName(entry), placeOf(entry));
      count += 1;
      end = next;
    } else if (next < size) {
      // Only the line that was being written when the machine failed may be torn.
      damagedLines += 1;
    }
    begins = next;
  }
  return { marks, alone, held, aloneRows, count, end, damagedLines };
}

/** Keeps a copy of the file as it is, and then replaces it by its sound lines; resolves with where the copy is. */
async function salvage(files: FileSystem, path: string, file: DiskFile): Promise<string> {
  const keptAt = await asidePath(files, path);
  await copyWhole(files, keptAt, piecesOf(file));
  const draft = `${path}.new`;
  await copyWhole(files, draft, soundLines(file));
  await files.rename(draft, path);
  await files.syncDirectory(dirname(path));
  return keptAt;
}

async function copyWhole(files: FileSystem, path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const copy = await files.open(path, 'overwrite');
  try {
    let position = 0;
    for await (const piece of bytes) {
      await copy.write([piece], position);
      position += piece.length;
    }
    await copy.sync();
  } finally {
    await copy.close();
  }
  await files.syncDirectory(dirname(path));
}

function full(path: string, bytesMax: number): FreshetError {
  return new FreshetError(
    'DISK_FULL',
    `the quarantine has ${Math.round(bytesMax / 1024 ** 2)} MiB, which is its limit`,
    {
      remedy:
        'Capture waits, and loses nothing. Release or discard what is held, which makes room (freshet quarantine list, release, ' +
        'discard). Do not move the file away while anything is held: what is in it would be forgotten.',
      place: path,
    },
  );
}

function damagedLine(path: string, end: number): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'a line of the quarantine was damaged while ingest ran', {
    remedy: 'Start ingest again, which puts the file aside and goes on with its sound lines; then ask again.',
    place: `${path}, the line that ends at byte ${end}`,
  });
}

function unknownContent(path: string, cause: unknown): FreshetError {
  return new FreshetError('LOG_HALTED', 'the quarantine takes no more entries: a write to it failed half-way', {
    remedy: 'look at the disk; the process starts again by itself, and what was not acknowledged is sent again',
    place: path,
    cause,
  });
}
