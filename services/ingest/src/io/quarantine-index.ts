/**
 * The index of the quarantine's file: a small sealed file beside it that says what the file has up to a position, so that a
 * start reads what came since, and no more.
 *
 *     file   |------- told by the index -------|--- read at the start ---|
 *                                        last line: where it begins, its checksum
 *
 * Owns the index, and that a wrong one is never believed:
 *
 *     it is about durable lines only                       it is written after they were synced, and replaced whole
 *     the file is replaced (entries are taken out)         the index is removed before, durably, and written anew after
 *     it is damaged, or the file has not its last line     the file is read whole, which is told; a file that ends before
 *                                                          where the index does has lost what was durable: damage
 *     a line that it tells of is damaged                   found by whoever reads it, or by reading through it beside the
 *                                                          work (verify): the index goes, and the next start reads it whole
 *
 * It may be missing at any time; that costs a start what it takes to read the file. Its size goes by the routes and generations
 * that have entries, and by the keys that are held one by one, which core/hold.ts bounds.
 */
import { dirname } from 'node:path';
import { must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { DiskFile, FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { AloneIndex, type AloneRows } from '../core/alone-index.ts';
import { HeldIndex, type HeldRoute } from '../core/held-index.ts';
import { type HeldPlaces, Hold } from '../core/hold.ts';
import { laneName, type RowPlace } from '../core/quarantine.ts';
import { crcOf, isSound } from './quarantine-lines.ts';
import type { LastLine, Summary } from './quarantine-survey.ts';

const VERSION = 2;

/** An index as it was found; `why`: it is there, and cannot be used. Neither: it is missing. */
export interface FoundIndex {
  readonly summary?: Summary | undefined;
  readonly why?: string | undefined;
  /** Of one that is whole, and of which the file has not the last line: what the file had, durably. */
  readonly told?: Pick<Summary, 'end' | 'count'> | undefined;
}

export class QuarantineIndex {
  readonly #files: FileSystem;
  readonly #path: string;
  #end: number | undefined;
  #isDistrusted = false;

  /** `path`: the quarantine's file's. */
  constructor(files: FileSystem, path: string) {
    this.#files = files;
    this.#path = `${path}.index`;
  }

  /** Up to where it tells; 0: there is none. */
  get end(): number {
    return this.#end ?? 0;
  }

  /** What it tells of the file. Throws what the disk refuses. */
  async load(file: DiskFile): Promise<FoundIndex> {
    const bytes = await readIfThere(this.#files, this.#path);
    if (bytes === undefined) return {};
    // Whatever it is: it is there.
    this.#end = 0;
    let summary: Summary | undefined;
    try {
      summary = summaryOf(openSealedJson(bytes, this.#path));
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      return { why: error.message };
    }
    if (summary === undefined) return { why: 'it is of another version' };
    if (!(await isOf(file, summary))) return { why: 'it is not of the file as it is', told: summary };
    this.#end = summary.end;
    return { summary };
  }

  /** Replaces it; all that it tells of is durable. Throws what the disk refuses. */
  async save(summary: Summary): Promise<void> {
    if (this.#isDistrusted || summary.last === undefined) return;
    // From here on there may be one, also when this fails half-way.
    this.#end ??= 0;
    await replaceFile(this.#files, this.#path, sealJson(jsonOf(summary)));
    this.#end = summary.end;
    // Found while it was written.
    if (this.#isDistrusted) await this.remove();
  }

  /** Resolves when there is none, durably. Throws what the disk refuses. */
  async remove(): Promise<void> {
    if (this.#end === undefined) return;
    await this.#files.remove(this.#path);
    await this.#files.syncDirectory(dirname(this.#path));
    this.#end = undefined;
  }

  /** The file has damage that a start would not see: there is none until the file was read whole. */
  async distrust(): Promise<void> {
    this.#isDistrusted = true;
    await this.remove();
  }
}

/** Whether the file has the line that the index ends with. */
async function isOf(file: DiskFile, { end, last }: Summary): Promise<boolean> {
  if (last === undefined || end <= last.at || end > (await file.length())) return false;
  const line = Buffer.alloc(end - last.at);
  const length = await file.read(line, last.at);
  const text = line.subarray(0, -1);
  return length === line.length && line.at(-1) === 0x0a && crcOf(text) === last.crc && isSound(text);
}

/** With positions as text: JSON has no integers of 64 bits. */
interface PlaceJson extends Omit<RowPlace, 'major'> {
  readonly major: string;
}

interface HoldJson {
  readonly table?: HoldPlaceJson | undefined;
  readonly keys: readonly (readonly [key: string, place: HoldPlaceJson])[];
}

type HoldPlaceJson = Pick<PlaceJson, 'major' | 'minor'>;

interface HeldJson extends Omit<HeldRoute, 'hold' | 'first' | 'newest'> {
  readonly hold: HoldJson;
  readonly first: PlaceJson;
  readonly newest: PlaceJson;
}

interface IndexJson {
  readonly version: number;
  readonly end: number;
  readonly last: LastLine;
  readonly count: number;
  readonly marks: readonly PlaceJson[];
  readonly alone: readonly PlaceJson[];
  readonly ahead: readonly PlaceJson[];
  readonly held: readonly HeldJson[];
  readonly aloneRows: readonly (Omit<AloneRows, 'newestMajor'> & { readonly newestMajor: string })[];
}

function jsonOf({ marks, alone, ahead, held, aloneRows, count, end, last }: Summary): Record<string, unknown> {
  const json: IndexJson = {
    version: VERSION,
    end,
    last: must(last),
    count,
    marks: [...marks.values()].map(toText),
    alone: [...alone.values()].map(toText),
    ahead: [...ahead.values()].map(toText),
    held: held.all.map(({ hold, first, newest, ...rest }) => ({
      ...rest,
      hold: holdJson(hold.places),
      first: toText(first),
      newest: toText(newest),
    })),
    aloneRows: aloneRows.all.map((rows) => ({ ...rows, newestMajor: rows.newestMajor.toString() })),
  };
  return { ...json };
}

/** Undefined: it is of another version. */
function summaryOf(json: Record<string, unknown>): Summary | undefined {
  if (json['version'] !== VERSION) return undefined;
  const { end, last, count, marks, alone, ahead, held, aloneRows } = json as unknown as IndexJson;
  const byLane = (places: readonly PlaceJson[]): Map<string, RowPlace> =>
    new Map(places.map((place) => [laneName(place), toNumber(place)]));
  return {
    end,
    last,
    count,
    marks: byLane(marks),
    alone: byLane(alone),
    ahead: byLane(ahead),
    held: new HeldIndex(
      held.map(({ hold, first, newest, ...rest }) => ({
        ...rest,
        hold: Hold.restored(heldPlaces(hold)),
        first: toNumber(first),
        newest: toNumber(newest),
      })),
    ),
    aloneRows: new AloneIndex(aloneRows.map((rows) => ({ ...rows, newestMajor: BigInt(rows.newestMajor) }))),
  };
}

function holdJson({ table, keys }: HeldPlaces): HoldJson {
  return { table: table && toText(table), keys: keys.map(([key, place]) => [key, toText(place)]) };
}

function heldPlaces({ table, keys }: HoldJson): HeldPlaces {
  return { table: table && toNumber(table), keys: keys.map(([key, place]) => [key, toNumber(place)]) };
}

function toText<T extends { readonly major: bigint }>(place: T): Omit<T, 'major'> & { readonly major: string } {
  return { ...place, major: place.major.toString() };
}

function toNumber<T extends { readonly major: string }>(place: T): Omit<T, 'major'> & { readonly major: bigint } {
  return { ...place, major: BigInt(place.major) };
}
