/**
 * The rows of one joined table, from a beginning on (a route's generation, or a truncation), in front of the cold store.
 *
 * Owns the encoding of a row, which rows are held, which are dirty, and dropping clean ones within the byte budget that
 * key states have too, in the same way (state-cache.ts). A row is kept whole, as its source's contract had it: a view
 * that comes later may read other columns. Does not own when a table begins or which rows are its own (table.ts).
 *
 *     u8      format, 1
 *     varint  version: the offset of the record that brought the row
 *     varint  contract version
 *     per column of the contract: varint length, an encoded freshet.type.v1.Value
 *
 * Invariant R4: evict() brings memory under the budget as far as rows that are dirty, or in a commit that is not durable,
 * allow. Invariant F1: whether a row is held never shows in a value. A row that is gone stays here until the cold store no
 * longer has it.
 */
import type { RecordReader } from '../record/record-reader.ts';
import type { ColdState } from '../shard-fold.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { NOT_STORED, Stage } from '../state/key-state.ts';
import { readVersion } from '../state/state-codec.ts';
import type { CacheUse } from './state-cache.ts';
import { tableRowsName } from './table-name.ts';

const FORMAT = 1;

/** About what the objects, the key and the place in the map take in memory. */
const ROW_BYTES = 220;

interface TableRow {
  readonly key: string;
  /** Undefined: gone. */
  bytes: Uint8Array | undefined;
  storedVersion: number;
  stage: number;
  recent: boolean;
}

export class TableRows {
  readonly route: number;
  /** The offset of the record that they begin with. */
  readonly began: number;
  /** The instance that they were made for, by its number plus one; 0: for the live fold. */
  readonly owner: number;
  /** What the cold store files them under. */
  readonly name: string;
  /** How many there are. */
  keys: number;
  readonly #cold: ColdState;
  readonly #use: CacheUse;
  readonly #rows = new Map<string, TableRow>();
  #isPartial: boolean;
  #dirty: TableRow[] = [];
  #taken: TableRow[] = [];
  #hand: MapIterator<[string, TableRow]> | undefined;
  readonly #writer = new ByteWriter(256);

  constructor(
    place: { readonly route: number; readonly began: number; readonly owner: number },
    options: { readonly cold: ColdState; readonly use: CacheUse; readonly storedKeys?: number | undefined },
  ) {
    this.route = place.route;
    this.began = place.began;
    this.owner = place.owner;
    this.name = tableRowsName(place);
    this.keys = options.storedKeys ?? 0;
    this.#cold = options.cold;
    this.#use = options.use;
    this.#isPartial = options.storedKeys !== undefined;
  }

  /** The encoded row under a key, if there is one. It may be kept by nobody else. */
  find(key: string): Uint8Array | undefined {
    const held = this.#rows.get(key);
    if (held !== undefined) {
      held.recent = true;
      return held.bytes;
    }
    const row = this.#load(key);
    if (row !== undefined) this.#hold(row);
    return row?.bytes;
  }

  /** Takes the row that the reader stands at in the place of what is under its key. */
  put(record: RecordReader, offset: number): void {
    const writer = this.#writer;
    writer.reset();
    writer.byte(FORMAT);
    writer.varint(offset);
    writer.varint(record.contractVersion);
    record.writeColumns(writer);
    this.#set(record.key, writer.take());
  }

  /** Takes what is under a key out. */
  remove(key: string): void {
    if (this.find(key) !== undefined) this.#set(key, undefined);
  }

  /** Whether the cold store may have rows that are not in memory. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  /** The keys of rows in memory, ascending, and of those that the cold store has and that are gone. */
  held(): { readonly keys: string[]; readonly gone: ReadonlySet<string> } {
    const keys: string[] = [];
    const gone = new Set<string>();
    for (const [key, { bytes }] of this.#rows) {
      if (bytes === undefined) gone.add(key);
      else keys.push(key);
    }
    return { keys: keys.sort(), gone };
  }

  /** Hands what changed to `put`, undefined for what is gone; it stays in memory until settle(). */
  take(put: (key: string, bytes: Uint8Array | undefined, replaced: number) => void): void {
    for (const row of this.#dirty) {
      row.stage = Stage.TAKEN;
      this.#taken.push(row);
      if (row.bytes === undefined && row.storedVersion === NOT_STORED) continue;
      put(row.key, row.bytes, row.storedVersion);
      row.storedVersion = row.bytes === undefined ? NOT_STORED : readVersion(row.bytes);
    }
    this.#dirty = [];
  }

  /** What was taken is durable. */
  settle(): void {
    for (const row of this.#taken) {
      if (row.stage !== Stage.TAKEN) continue;
      row.stage = Stage.CLEAN;
      if (row.bytes === undefined) this.#drop(row);
    }
    this.#taken = [];
  }

  /** Drops clean rows until the shard's use is within the limit, or the hand has gone round twice. */
  evict(limitBytes: number): void {
    let left = this.#rows.size * 2;
    while (this.#use.bytes > limitBytes && left > 0) {
      left--;
      this.#hand ??= this.#rows.entries();
      const next = this.#hand.next();
      if (next.done === true) {
        this.#hand = undefined;
        continue;
      }
      const row = next.value[1];
      if (row.recent) row.recent = false;
      else if (row.stage === Stage.CLEAN) {
        this.#drop(row);
        this.#isPartial = true;
      }
    }
  }

  /** Gives up everything in memory; the rows are over. */
  close(): void {
    for (const row of this.#rows.values()) this.#use.bytes -= sizeOf(row);
    this.#rows.clear();
    this.#dirty = [];
    this.#taken = [];
  }

  #set(key: string, bytes: Uint8Array | undefined): void {
    let row = this.#rows.get(key) ?? this.#load(key);
    if (row === undefined) row = { key, bytes: undefined, storedVersion: NOT_STORED, stage: Stage.CLEAN, recent: true };
    if (this.#rows.get(key) !== row) this.#hold(row);
    this.keys += (bytes === undefined ? 0 : 1) - (row.bytes === undefined ? 0 : 1);
    this.#use.bytes -= sizeOf(row);
    row.bytes = bytes;
    row.recent = true;
    this.#use.bytes += sizeOf(row);
    if (row.stage === Stage.DIRTY) return;
    row.stage = Stage.DIRTY;
    this.#use.dirtyBytes += key.length + (bytes?.length ?? 0);
    this.#dirty.push(row);
  }

  #load(key: string): TableRow | undefined {
    if (!this.#isPartial) return undefined;
    const bytes = this.#cold.load(this.name, key);
    if (bytes === undefined) return undefined;
    return { key, bytes, storedVersion: readVersion(bytes), stage: Stage.CLEAN, recent: true };
  }

  #hold(row: TableRow): void {
    this.#rows.set(row.key, row);
    this.#use.bytes += sizeOf(row);
  }

  #drop(row: TableRow): void {
    this.#rows.delete(row.key);
    this.#use.bytes -= sizeOf(row);
  }
}

function sizeOf({ key, bytes }: TableRow): number {
  return ROW_BYTES + key.length + (bytes?.length ?? 0);
}
