/**
 * The quarantine: a file of lines, each a CRC-32 in hex, a space, and an entry as JSON. Readable with `cut` and `jq`.
 *
 * Owns the file. Appends are durable when they resolve; concurrent ones share an fsync. An entry that is there already
 * (its row came again after a crash) is passed over: entries of a lane come in order, so one mark a lane is enough. What was
 * not put aside when it came first is not put aside before it later (core/earlier-decisions.ts); a late one says that it is.
 * In the file the entries of a lane are in that order always: releases go by it.
 *
 *     a torn last line           cut at open: nobody was told that it is durable
 *     damage anywhere else       the file as it is goes aside whole; its sound lines are kept, the others counted and told.
 *                                A power cut may have lost what was not synced, and kept what was written behind it: those
 *                                behind a loss say so (`ahead`), and what was lost and comes again goes before them
 *     a write that fails         what it left is cut off again, its entries are refused, later tries are taken
 *     as large as it may be      entries wait for room, and with them what they belong to: none is thrown away (C1)
 *     an fsync that fails        nothing is taken any more: what the file holds is not known until it is opened again
 *
 * A start reads what came since the index was written (quarantine-index.ts); what the index tells of is read through beside the
 * work (verify), so that damage is found there too.
 */
import { dirname } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DiskFile, FileSystem } from '@freshet/log/file-system.ts';
import type { AloneIndex, AloneRows } from '../core/alone-index.ts';
import type { QuarantineWriter } from '../core/append-pipeline.ts';
import type { HeldIndex, HeldRoute } from '../core/held-index.ts';
import { comparePlaces, laneName, placeName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { onDisk } from './on-disk.ts';
import { damagedLine, full, type QuarantineDamage, unknownContent } from './quarantine-errors.ts';
import type { QuarantineIndex } from './quarantine-index.ts';
import { byWhereTheyGo, Insertion, type Line } from './quarantine-insertion.ts';
import { crcOf, entryOf, isSound, lineOf, linesOf, placeOf, rawLinesOf } from './quarantine-lines.ts';
import { QuarantineLoans } from './quarantine-loans.ts';
import { type Opening, openingOf, type QuarantineLimits } from './quarantine-opening.ts';
import {
  copyWhole,
  type FoundAtOpen,
  type LastLine,
  type Marks,
  mark,
  markAlone,
  openOrCreate,
  Rewriting,
  type Summary,
  salvage,
  surveyOf,
} from './quarantine-survey.ts';

interface Waiting {
  readonly lines: readonly Line[];
  readonly marks: ReadonlyMap<string, RowPlace>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class QuarantineFile implements QuarantineWriter {
  /** Damage that was found at open; undefined: none. */
  readonly damage: QuarantineDamage | undefined;
  /** Why all of a file was read at open that an index should have told of; undefined: it did, or there was little. */
  readonly readWhole: string | undefined;
  /** Resolves with the first damage that is met after the file was opened, whoever met it: he may tell nobody but who asked. */
  readonly damageMet: Promise<FreshetError>;
  readonly #metDamage: (damage: FreshetError) => void;
  /** Rows of entries on their way to the log. */
  readonly loans = new QuarantineLoans();
  readonly #files: FileSystem;
  readonly #path: string;
  #file: DiskFile;
  /** By lane, the newest entry that is durable, and the newest that is durable or on its way. */
  #durable: Map<string, RowPlace>;
  #marks: Map<string, RowPlace>;
  readonly #alone: Map<string, RowPlace>;
  /** What the file itself has of both. */
  #kept: Marks;
  readonly #bytesMax: number;
  readonly #indexEveryBytes: number;
  readonly #index: QuarantineIndex;
  /** Where that begins which this process has read or written; before it an index told. */
  readonly #unreadBytes: number;
  #last: LastLine | undefined;
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
    { files, path, index, bytesMax, indexEveryBytes }: Opening,
    file: DiskFile,
    { marks, alone, ahead, held, aloneRows, count, end, last }: Summary,
    found: FoundAtOpen,
  ) {
    this.#files = files;
    this.#path = path;
    this.#index = index;
    this.#file = file;
    this.#durable = new Map(marks);
    this.#alone = new Map(alone);
    this.#kept = { marks: new Map(marks), alone: new Map(alone), ahead: new Map(ahead) };
    this.#held = held;
    this.#aloneRows = aloneRows;
    this.#bytesMax = bytesMax;
    this.#indexEveryBytes = indexEveryBytes;
    this.#marks = new Map(marks);
    this.#count = count;
    this.#end = end;
    this.#last = last;
    this.#unreadBytes = found.unreadBytes;
    this.damage = found.damage;
    this.readWhole = found.readWhole;
    ({ promise: this.damageMet, resolve: this.#metDamage } = Promise.withResolvers<FreshetError>());
  }

  /** Opens the file, or makes it. Throws what the disk refuses; damage is mended, and told in `damage`. */
  static open(files: FileSystem, path: string, limits: QuarantineLimits = {}): Promise<QuarantineFile> {
    const opening = openingOf(files, path, limits);
    return onDisk(path, async () => {
      await files.makeDirectory(dirname(path));
      const file = await openOrCreate(files, path);
      try {
        const quarantine = await QuarantineFile.#opened(opening, file);
        await quarantine.#indexIfDue();
        return quarantine;
      } catch (error) {
        await file.close().catch(() => undefined);
        throw error;
      }
    });
  }

  static async #opened(opening: Opening, file: DiskFile): Promise<QuarantineFile> {
    const { files, path, index } = opening;
    const { summary, why, told } = await index.load(file);
    const survey = await surveyOf(file, summary);
    // What an index tells of was durable: the end of the file is then no torn line.
    const lostLines = told !== undefined && survey.end < told.end ? Math.max(1, told.count - survey.count) : 0;
    if (survey.damagedLines + lostLines === 0) {
      const isTorn = survey.end < (await file.length());
      if (isTorn) await file.truncate(survey.end);
      // A process that was killed may have left what it had not made durable, and now it counts; what is cut off never does.
      if (isTorn || survey.end > (summary?.end ?? 0)) await file.sync();
      const isLong = summary === undefined && survey.end >= opening.indexEveryBytes;
      const readWhole = why ?? (isLong ? 'there was none' : undefined);
      return new QuarantineFile(opening, file, survey, { readWhole, unreadBytes: summary?.end ?? 0 });
    }
    // It is about the file of before; and what it tells of may be damaged as well. Where nothing but it tells of a loss it goes once
    // that is kept: a file without its end is never taken for the one that it is about.
    if (survey.damagedLines > 0) await index.remove();
    const { damagedLines } = summary === undefined ? survey : await surveyOf(file);
    const lines = Math.max(damagedLines, lostLines);
    const keptAt = await salvage(files, path, file);
    await index.remove();
    await file.close();
    const sound = await files.open(path, 'write');
    const damage = { lines, keptAt };
    return new QuarantineFile(opening, sound, await surveyOf(sound), { damage, unreadBytes: 0 });
  }

  /** Entries that there are. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when the entries are durable. Rejects with what the write failed with; after a failed fsync for good. */
  async append(entries: readonly QuarantineEntry[]): Promise<void> {
    const marks = new Map<string, RowPlace>();
    const lines: Line[] = [];
    for (const entry of entries) {
      const mark = this.#marks.get(laneName(entry));
      if (entry.late !== true) {
        if (mark !== undefined && comparePlaces(entry, mark) <= 0) continue;
        // Ahead of the write, so that nothing goes twice into one.
        this.#marks.set(laneName(entry), placeOf(entry));
        marks.set(laneName(entry), placeOf(entry));
      }
      markAlone(this.#alone, entry);
      lines.push({ entry, text: lineOf(entry) });
    }
    // Also when nothing is new: what the entries repeat may still be on its way.
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ lines, marks, resolve, reject });
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
    const { file, end } = await this.#openToRead();
    try {
      for await (const { text, next } of linesOf(file)) {
        // What a failed write left.
        if (next > end) break;
        const entry = entryOf(text);
        // Told, and passed over, as the next start does that mends the file.
        if (entry === undefined) await this.#damagedAt(next);
        else if (wanted(entry)) places.add(placeName(entry));
      }
    } finally {
      await file.close();
    }
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
   * call. None when the file is rewritten before it is open, and the offset leads nowhere any more. Throws DATA_DAMAGED at a
   * line that is not what was written.
   */
  async *entries(offset = 0): AsyncGenerator<{ readonly entry: QuarantineEntry; readonly next: number }> {
    const { file, end, isOther } = await this.#openToRead();
    try {
      if (offset >= end || (isOther && offset > 0)) return;
      for await (const { text, next } of linesOf(file, offset)) {
        if (next > end) return;
        const entry = entryOf(text);
        if (entry === undefined) throw await this.#damagedAt(next);
        yield { entry, next };
      }
    } finally {
      await file.close();
    }
  }

  /**
   * Reads through what was not read at the start, which an index told of. Resolves with DATA_DAMAGED when a line there is not what
   * was written, and undefined when all is well, or the file was rewritten, which reads it too. Throws the signal's reason.
   */
  async verify(signal: AbortSignal): Promise<FreshetError | undefined> {
    if (this.#unreadBytes === 0) return undefined;
    const { file } = await this.#openToRead();
    let begins = 0;
    try {
      for await (const { line, next } of rawLinesOf(file)) {
        signal.throwIfAborted();
        if (this.#rewrites > 0 || begins >= this.#unreadBytes) return undefined;
        if (!isSound(line)) return await this.#damagedAt(next);
        begins = next;
      }
      return undefined;
    } finally {
      await file.close();
    }
  }

  /** A line is damaged that ends there: the next start reads the whole file, and mends it. */
  async #damagedAt(next: number): Promise<FreshetError> {
    await this.#index.distrust().catch(() => undefined);
    const damage = damagedLine(this.#path, next);
    this.#metDamage(damage);
    return damage;
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
    const stands = (entry: QuarantineEntry): readonly QuarantineEntry[] => {
      const now = change(entry);
      return now === undefined ? [] : [now];
    };
    const rewriting = onDisk(this.#path, () => this.#rewrite(stands));
    this.#writing = rewriting.then(
      () => this.#write(),
      () => this.#write(),
    );
    return rewriting;
  }

  async #rewrite(stands: (entry: QuarantineEntry) => readonly QuarantineEntry[]): Promise<number> {
    const [files, path, file, oldEnd] = [this.#files, this.#path, this.#file, this.#end];
    const rewriting = new Rewriting();
    const bytes = rewriting.of(file, oldEnd, stands, (at) => this.#damagedAt(at));
    const draft = `${path}.new`;
    await copyWhole(files, draft, bytes);
    if (rewriting.changed === 0) {
      await files.remove(draft);
      return 0;
    }
    await this.#replace(draft, rewriting);
    await file.close().catch(() => undefined);
    if (this.#failure !== undefined) throw this.#failure.error;
    await this.#saveIndex();
    return rewriting.changed;
  }

  /** Gives the draft the file's name, durably; else it fails, and nothing is taken any more. Nobody reads it before. */
  async #replace(draft: string, { held, aloneRows, count, end, last, marks, alone, ahead }: Rewriting): Promise<void> {
    const next = await this.#files.open(draft, 'write');
    try {
      // It is about the file of before.
      await this.#index.remove();
    } catch (error) {
      await next.close().catch(() => undefined);
      throw error;
    }
    const swapped = Promise.withResolvers<void>();
    this.#swapping = swapped.promise;
    try {
      await this.#files.rename(draft, this.#path);
      await this.#files.syncDirectory(dirname(this.#path)).catch((error: unknown) => {
        this.#failure = { error: unknownContent(this.#path, error) };
      });
      // In any case: the old file has no name any more, and what would be written to it is lost.
      this.#file = next;
      this.#held = held;
      this.#aloneRows = aloneRows;
      this.#kept = { marks, alone, ahead };
      this.#rewrites += 1;
      this.#end = end;
      this.#count = count;
      this.#last = last;
      this.#torn = false;
    } finally {
      this.#swapping = undefined;
      swapped.resolve();
    }
  }

  async close(): Promise<void> {
    await this.#writing;
    if (this.#failure === undefined && this.#index.end < this.#end) await this.#saveIndex();
    this.#failure ??= { error: new FreshetError('CANCELLED', 'the quarantine is closed') };
    await this.#file.close();
  }

  async #write(): Promise<void> {
    // Whoever appends in the same turn shares the write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        await this.#put(group.flatMap(({ lines }) => lines));
        for (const { marks, resolve } of group) {
          for (const [lane, place] of marks) this.#durable.set(lane, place);
          resolve();
        }
      } catch (error) {
        // Whoever came meanwhile may have left out what this group had: all of them try again.
        this.#marks = new Map(this.#durable);
        for (const { reject } of [...group, ...this.#waiting.splice(0)]) reject(error);
      }
      await this.#indexIfDue();
    }
    this.#writing = undefined;
  }

  /** Writes lines to the end of the file; those that go before others of their lanes to their places, in one step, before. */
  async #put(lines: readonly Line[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const { early, rest } = byWhereTheyGo(lines, this.#kept.ahead);
    if (early.length > 0) {
      const insertion = new Insertion(early);
      // The limit of bytes is not asked: the file had them before, and a release that makes room may wait for them.
      await onDisk(this.#path, () => this.#rewrite((entry) => insertion.at(entry)));
      // Whatever becomes of the others.
      for (const entry of early) this.#durable.set(laneName(entry), placeOf(entry));
    }
    let begins = this.#end;
    await this.#writeLines(Buffer.from(rest.map(({ text }) => text).join('')));
    for (const { entry, text } of rest) {
      const size = Buffer.byteLength(text);
      this.#held.add(entry, begins, size);
      this.#aloneRows.add(entry);
      mark(this.#kept, entry);
      this.#last = { at: begins, crc: crcOf(text) };
      this.#count += 1;
      begins += size;
    }
  }

  async #indexIfDue(): Promise<void> {
    if (this.#failure === undefined && this.#end - this.#index.end >= this.#indexEveryBytes) await this.#saveIndex();
  }

  /** Writes the index anew. A start can do without: what the disk refuses is tried again when more has come. */
  async #saveIndex(): Promise<void> {
    const { marks, alone, ahead } = this.#kept;
    const [held, aloneRows, count, end, last] = [this.#held, this.#aloneRows, this.#count, this.#end, this.#last];
    await this.#index.save({ marks, alone, ahead, held, aloneRows, count, end, last }).catch(() => undefined);
  }

  async #writeLines(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    this.#isFull = this.#end + bytes.length > this.#bytesMax;
    if (this.#isFull) throw full(this.#path, this.#bytesMax);
    await onDisk(this.#path, async () => {
      if (this.#torn) {
        await this.#file.truncate(this.#end);
        // Durably: a power cut must not find lines of it among those that go there now.
        await this.#synced();
      }
      this.#torn = true;
      await this.#file.write([bytes], this.#end);
      this.#torn = false;
    });
    await this.#synced();
    this.#end += bytes.length;
  }

  async #synced(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      this.#failure = { error: unknownContent(this.#path, error) };
      throw this.#failure.error;
    }
  }
}
