/**
 * Decodes pgoutput messages, protocol version 1.
 *
 * Owns the byte format. Does not own meaning: relations and transactions are change-stream.ts's. Pure; strings are
 * copied out, so that nothing decoded pins the received buffer (but a logical message's content, which is a view).
 * A message that ends too early or has bytes left over is DATA_DAMAGED: guessing would make rows up (I2).
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { OldTuple, PgOutputMessage, RelationColumn, Tuple, TupleValue } from './messages.ts';

/** Microseconds between the Unix epoch and Postgres', 2000-01-01. */
export const POSTGRES_EPOCH_US = 946_684_800_000_000;

const TAG = {
  begin: 0x42,
  commit: 0x43,
  relation: 0x52,
  insert: 0x49,
  update: 0x55,
  delete: 0x44,
  truncate: 0x54,
  type: 0x59,
  origin: 0x4f,
  message: 0x4d,
  new: 0x4e,
  key: 0x4b,
  old: 0x4f,
  null: 0x6e,
  unchanged: 0x75,
  text: 0x74,
} as const;

/** Stream start, stop, commit, abort; two-phase begin, prepare, commit, rollback, stream prepare. */
const LATER_VERSIONS = new Set([0x53, 0x45, 0x63, 0x41, 0x62, 0x50, 0x4b, 0x72, 0x70]);

/** One message. Throws DATA_DAMAGED when the bytes are not one. */
export function decodePgOutput(bytes: Buffer): PgOutputMessage {
  const reader = new Reader(bytes);
  const tag = reader.uint8();
  if (LATER_VERSIONS.has(tag)) return { kind: 'ignored', tag: String.fromCharCode(tag) };
  const message = decodeBody(tag, reader);
  if (!reader.atEnd) throw damaged(bytes, 'it has bytes after its end');
  return message;
}

function decodeBody(tag: number, reader: Reader): PgOutputMessage {
  switch (tag) {
    case TAG.begin:
      return { kind: 'begin', commitLsn: reader.uint64(), commitTimeUs: reader.timeUs(), xid: reader.uint32() };
    case TAG.commit:
      reader.uint8(); // flags, none defined
      return { kind: 'commit', commitLsn: reader.uint64(), endLsn: reader.uint64(), commitTimeUs: reader.timeUs() };
    case TAG.relation:
      return decodeRelation(reader);
    case TAG.insert: {
      const relationId = reader.uint32();
      reader.expect(TAG.new);
      return { kind: 'insert', relationId, row: decodeTuple(reader) };
    }
    case TAG.update: {
      const relationId = reader.uint32();
      const old = decodeOld(reader, reader.uint8());
      if (old !== undefined) reader.expect(TAG.new);
      return { kind: 'update', relationId, old, row: decodeTuple(reader) };
    }
    case TAG.delete: {
      const relationId = reader.uint32();
      const old = decodeOld(reader, reader.uint8());
      if (old === undefined) throw damaged(reader.bytes, 'a delete without an old row');
      return { kind: 'delete', relationId, old };
    }
    case TAG.truncate: {
      const count = reader.uint32();
      const options = reader.uint8();
      const relationIds: number[] = [];
      for (let i = 0; i < count; i++) relationIds.push(reader.uint32());
      return { kind: 'truncate', relationIds, cascade: (options & 1) !== 0, restartIdentity: (options & 2) !== 0 };
    }
    case TAG.type:
      return { kind: 'type', oid: reader.uint32(), schema: reader.text(), name: reader.text() };
    case TAG.origin:
      return { kind: 'origin', lsn: reader.uint64(), name: reader.text() };
    case TAG.message:
      return {
        kind: 'message',
        transactional: (reader.uint8() & 1) !== 0,
        lsn: reader.uint64(),
        prefix: reader.text(),
        content: reader.slice(reader.uint32()),
      };
    default:
      throw damaged(reader.bytes, 'no message begins so');
  }
}

function decodeRelation(reader: Reader): PgOutputMessage {
  const id = reader.uint32();
  // The empty name stands for pg_catalog.
  const schema = reader.text() || 'pg_catalog';
  const table = reader.text();
  const replicaIdentity = String.fromCharCode(reader.uint8());
  const count = reader.uint16();
  const columns: RelationColumn[] = [];
  for (let i = 0; i < count; i++) {
    const identity = (reader.uint8() & 1) !== 0;
    columns.push({ identity, name: reader.text(), typeOid: reader.uint32(), typeModifier: reader.int32() });
  }
  return { kind: 'relation', relation: { id, schema, table, replicaIdentity, columns } };
}

function decodeOld(reader: Reader, tag: number): OldTuple | undefined {
  if (tag === TAG.new) return undefined;
  if (tag !== TAG.key && tag !== TAG.old) throw damaged(reader.bytes, 'a row of an unknown sort');
  return { whole: tag === TAG.old, values: decodeTuple(reader) };
}

function decodeTuple(reader: Reader): Tuple {
  const count = reader.uint16();
  const values: TupleValue[] = new Array<TupleValue>(count);
  for (let i = 0; i < count; i++) {
    switch (reader.uint8()) {
      case TAG.text:
        values[i] = reader.textOf(reader.uint32());
        break;
      case TAG.null:
        values[i] = null;
        break;
      case TAG.unchanged:
        values[i] = undefined;
        break;
      default:
        throw damaged(reader.bytes, `column ${i} is neither text nor null nor unchanged`);
    }
  }
  return values;
}

class Reader {
  readonly bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.bytes.length;
  }

  uint8(): number {
    return this.bytes.readUInt8(this.#advance(1));
  }

  uint16(): number {
    return this.bytes.readUInt16BE(this.#advance(2));
  }

  uint32(): number {
    return this.bytes.readUInt32BE(this.#advance(4));
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#advance(4));
  }

  uint64(): bigint {
    return this.bytes.readBigUInt64BE(this.#advance(8));
  }

  /** Microseconds since Postgres' epoch, as those since the Unix epoch. */
  timeUs(): number {
    return Number(this.bytes.readBigInt64BE(this.#advance(8))) + POSTGRES_EPOCH_US;
  }

  /** Text up to a zero byte. */
  text(): string {
    const end = this.bytes.indexOf(0, this.#at);
    if (end < 0) throw damaged(this.bytes, 'a name without an end');
    const text = this.bytes.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }

  textOf(length: number): string {
    const start = this.#advance(length);
    return this.bytes.toString('utf8', start, start + length);
  }

  slice(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.bytes.subarray(start, start + length);
  }

  expect(tag: number): void {
    if (this.uint8() !== tag) throw damaged(this.bytes, 'a row is missing');
  }

  #advance(length: number): number {
    const start = this.#at;
    if (start + length > this.bytes.length) throw damaged(this.bytes, 'it ends too early');
    this.#at = start + length;
    return start;
  }
}

function damaged(bytes: Buffer, reason: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `a pgoutput message cannot be read: ${reason}`, {
    remedy: 'Report it with these bytes; nothing was acknowledged to the database past the message before.',
    place: bytes.subarray(0, 64).toString('hex'),
  });
}
