/**
 * LevelDB's files as far as their checksums go: tables (*.ldb) and logs (*.log, MANIFEST-*).
 *
 * Owns reading those two formats, from LevelDB's documents of them (doc/table_format.md, doc/log_format.md). Pure: a
 * file's bytes in, a fault or nothing out. Does not own what a block's entries mean.
 */
import { uncompressSync } from 'snappy';
import { crc32c } from './crc32c.ts';

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
/** LevelDB's magic number, as it lies at the end of a table. */
const MAGIC = Buffer.from('57fb808b247547db', 'hex');
const NO_COMPRESSION = 0;
const SNAPPY = 1;

const LOG_HEADER_BYTES = 7;
const LOG_TYPE_MAX = 4;
const FULL = 1;
const FIRST = 2;
const LAST = 4;

const EDIT_COMPARATOR = 1;
const EDIT_LOG_NUMBER = 2;
const EDIT_NEXT_FILE = 3;
const EDIT_LAST_SEQUENCE = 4;
const EDIT_COMPACT_POINTER = 5;
const EDIT_DELETED_FILE = 6;
const EDIT_NEW_FILE = 7;
const EDIT_PREVIOUS_LOG = 9;

/** LevelDB stores its checksums rotated and shifted, so that a checksum over bytes with checksums stays a good one. */
const MASK_DELTA = 0xa282ead8;

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

interface Handle {
  readonly offset: number;
  readonly length: number;
}

/** What is wrong with a table, in a few words; undefined: every block agrees with its checksum. */
export function tableFault(file: Buffer): string | undefined {
  if (file.length < FOOTER_BYTES) return 'the table is shorter than its footer';
  const footer = file.subarray(file.length - FOOTER_BYTES);
  if (!footer.subarray(FOOTER_BYTES - MAGIC.length).equals(MAGIC)) return 'the table has no footer';
  const reader = new Reader(footer);
  const metaindex = reader.handle();
  const index = reader.handle();
  if (metaindex === undefined || index === undefined) return 'the footer cannot be read';
  const indexBlock = contents(file, index);
  if (indexBlock === undefined) return 'the index does not agree with its checksum';
  const metaBlock = contents(file, metaindex);
  if (metaBlock === undefined) return 'the metaindex does not agree with its checksum';
  const blocks = handlesOf(indexBlock);
  // The filter: a bit of it that is off hides a key.
  const filters = handlesOf(metaBlock);
  if (blocks === undefined || filters === undefined) return 'the index cannot be read';
  let end = 0;
  for (const block of [...blocks, ...filters]) {
    // Blocks lie one after the other: a gap or an overlap is an index that belongs to another table.
    if (block.offset !== end) return `the index has a gap at ${end}`;
    end = block.offset + block.length + TRAILER_BYTES;
    if (!agrees(file, block)) return `the block at ${block.offset} does not agree with its checksum`;
  }
  return undefined;
}

/** Whether a block lies in the file and agrees with its checksum, which covers its type too. */
function agrees(file: Buffer, { offset, length }: Handle): boolean {
  const end = offset + length;
  return end + TRAILER_BYTES <= file.length && masked(crc32c(file, offset, end + 1)) === file.readUInt32LE(end + 1);
}

function contents(file: Buffer, handle: Handle): Buffer | undefined {
  if (!agrees(file, handle)) return undefined;
  const raw = file.subarray(handle.offset, handle.offset + handle.length);
  switch (file[handle.offset + handle.length]) {
    case NO_COMPRESSION:
      return raw;
    case SNAPPY:
      try {
        return uncompressSync(raw, { asBuffer: true }) as Buffer;
      } catch {
        return undefined;
      }
    default:
      return undefined;
  }
}

/** The blocks that an index block names, in its order; undefined when it is none. */
function handlesOf(block: Buffer): Handle[] | undefined {
  if (block.length < 4) return undefined;
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  if (end < 0) return undefined;
  const reader = new Reader(block.subarray(0, end));
  const handles: Handle[] = [];
  while (!reader.done) {
    const [shared, unshared, length] = [reader.varint(), reader.varint(), reader.varint()];
    if (shared === undefined || unshared === undefined || length === undefined) return undefined;
    reader.skip(unshared);
    const handle = reader.handle();
    if (handle === undefined) return undefined;
    handles.push(handle);
  }
  return reader.overrun ? undefined : handles;
}

/** The length of the blocks that LogScan is to be given. */
export const LOG_BLOCK_BYTES = 32_768;

/**
 * A file in LevelDB's log format, looked at a block at a time: a log or a manifest may be longer than is read at once.
 * A crash tears the end. A record that is not whole with a whole one behind it is damage, and LevelDB would skip it in
 * silence.
 */
export class LogScan {
  readonly #onRecord: (record: Buffer) => void;
  #blockStart = 0;
  #torn: number | undefined;
  #parts: Buffer[] = [];
  #fault: string | undefined;

  /** `onRecord` is given the whole records up to the first that is not whole; it must not keep them. */
  constructor(onRecord: (record: Buffer) => void = () => {}) {
    this.#onRecord = onRecord;
  }

  /** What is wrong, in a few words; undefined: nothing that a crash could not have left. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** Takes some whole blocks; at the file's end also a part of one. */
  push(blocks: Buffer): void {
    for (let start = 0; start < blocks.length; start += LOG_BLOCK_BYTES) {
      this.#block(blocks.subarray(start, start + LOG_BLOCK_BYTES));
      this.#blockStart += LOG_BLOCK_BYTES;
    }
    // What is not whole yet must outlive the blocks, which may be overwritten.
    this.#parts = this.#parts.map((part) => Buffer.from(part));
  }

  #block(block: Buffer): void {
    for (let at = 0; block.length - at >= LOG_HEADER_BYTES; ) {
      const next = recordEnd(block, at, block.length);
      if (next === undefined) {
        if (this.#torn !== undefined) return;
        this.#torn = this.#blockStart + at;
        // Within the torn block a whole record may still follow: look for one at each byte.
        if (hasRecord(block, at + 1)) this.#damaged(this.#torn);
        return;
      }
      if (this.#torn === undefined) this.#take(block, at, next);
      else this.#damaged(this.#torn);
      at = next;
    }
  }

  #take(block: Buffer, at: number, end: number): void {
    const type = block[at + 6];
    if (type === FULL || type === FIRST) this.#parts = [];
    this.#parts.push(block.subarray(at + LOG_HEADER_BYTES, end));
    if (type !== FULL && type !== LAST) return;
    this.#onRecord(Buffer.concat(this.#parts));
    this.#parts = [];
  }

  #damaged(torn: number): void {
    this.#fault ??= `a record at ${torn} is damaged, and there are whole ones behind it`;
  }
}

/**
 * The numbers of the tables that a manifest names, from its records in order. Others may lie beside them: a compaction
 * that did not come to its end leaves a part of one, which LevelDB removes.
 */
export class NamedTables {
  readonly #named = new Set<number>();
  #unknown = false;

  /** Undefined when the manifest says something that is not known here. */
  get numbers(): ReadonlySet<number> | undefined {
    return this.#unknown ? undefined : this.#named;
  }

  take(record: Buffer): void {
    const reader = new Reader(record);
    while (!reader.done && !this.#unknown) this.#unknown = !readEdit(reader, this.#named);
    this.#unknown ||= reader.overrun;
  }
}

/** Reads one field of a version edit (LevelDB's version_edit.cc); false when it is none. */
function readEdit(reader: Reader, named: Set<number>): boolean {
  switch (reader.varint()) {
    case EDIT_COMPARATOR:
      reader.skip(reader.varint() ?? 0);
      return true;
    case EDIT_LOG_NUMBER:
    case EDIT_NEXT_FILE:
    case EDIT_LAST_SEQUENCE:
    case EDIT_PREVIOUS_LOG:
      reader.varint();
      return true;
    case EDIT_COMPACT_POINTER:
      reader.varint();
      reader.skip(reader.varint() ?? 0);
      return true;
    case EDIT_DELETED_FILE:
      reader.varint();
      named.delete(reader.varint() ?? -1);
      return true;
    case EDIT_NEW_FILE:
      reader.varint();
      named.add(reader.varint() ?? -1);
      reader.varint();
      reader.skip(reader.varint() ?? 0);
      reader.skip(reader.varint() ?? 0);
      return true;
    default:
      return false;
  }
}

/** Where the record at a place ends; undefined when it is not whole. */
function recordEnd(file: Buffer, at: number, blockEnd: number): number | undefined {
  const length = file.readUInt16LE(at + 4);
  const type = file[at + 6] ?? 0;
  const end = at + LOG_HEADER_BYTES + length;
  if (type < 1 || type > LOG_TYPE_MAX || end > blockEnd) return undefined;
  return masked(crc32c(file, at + 6, end)) === file.readUInt32LE(at) ? end : undefined;
}

/** Whether a whole record begins anywhere in the rest of a block. */
function hasRecord(block: Buffer, from: number): boolean {
  for (let at = from; at + LOG_HEADER_BYTES <= block.length; at++) {
    if (recordEnd(block, at, block.length) !== undefined) return true;
  }
  return false;
}

/** Reads LevelDB's varints; gives undefined beyond the end, and remembers that. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  overrun = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.overrun || this.#at >= this.#bytes.length;
  }

  skip(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length) this.overrun = true;
  }

  varint(): number | undefined {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    this.overrun = true;
    return undefined;
  }

  handle(): Handle | undefined {
    const offset = this.varint();
    const length = this.varint();
    return offset === undefined || length === undefined ? undefined : { offset, length };
  }
}
