/**
 * The replica's bytes at rest: keys and values of its LevelDB. Owns the layout; what the messages mean is
 * proto/freshet/serve/v1/storage.proto.
 *
 *     'm'                                    StoredReplica
 *     'd'                                    StoredDefinitions
 *     's' shard:u32 copy:u32                 StoredShard
 *     'r' table:u32 entity key               a row: its version (varint), then the encoded Row; a tombstone has no Row
 *
 * Integers in keys are big-endian, so that a shard's copies and a table's rows lie together. Each value's checksum is
 * the store's (packages/store); the digest by which a table proves that no row is missing or old is here.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { crc32c } from '@freshet/store/crc32c.ts';

export const FORMAT = 2;

export const REPLICA_KEY: Buffer = Buffer.from('m');
export const DEFINITIONS_KEY: Buffer = Buffer.from('d');
export const SHARDS_RANGE = { gte: Buffer.from('s'), lt: Buffer.from('t') } as const;
export const ROWS_RANGE = { gte: Buffer.from('r'), lt: Buffer.from('s') } as const;

export function shardKey(shard: number, copy: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = 0x73;
  key.writeUInt32BE(shard, 1);
  key.writeUInt32BE(copy, 5);
  return key;
}

export function shardOfKey(key: Buffer): { shard: number; copy: number } {
  return { shard: key.readUInt32BE(1), copy: key.readUInt32BE(5) };
}

/** A row's key, from its key string. */
export function rowKey(table: number, key: string): Buffer {
  const bytes = Buffer.allocUnsafe(5 + key.length);
  bytes[0] = 0x72;
  bytes.writeUInt32BE(table, 1);
  bytes.write(key, 5, 'latin1');
  return bytes;
}

export function tableOfRow(key: Buffer): number {
  return key.readUInt32BE(1);
}

export function keyOfRow(key: Buffer): string {
  return key.toString('latin1', 5);
}

/** All rows of a table. */
export function tableRange(table: number): { gte: Buffer; lt: Buffer } {
  return { gte: rowKey(table, ''), lt: rowKey(table + 1, '') };
}

/** What the keys of a table's rows begin with. */
export function rowPrefix(table: number): Buffer {
  return rowKey(table, '');
}

// One row at a time is encoded here: key, then value.
let scratch = Buffer.allocUnsafe(8192);

/** An encoded row; `value` is good until the next call. */
export interface EncodedRow {
  readonly value: Buffer;
  readonly digest: number;
}

/** A row's value. `bytes` is the encoded Row as a string of one character per byte; empty for a tombstone. */
export function encodeRow(prefix: Buffer, key: string, version: number, bytes: string): EncodedRow {
  const start = prefix.length + key.length;
  const most = start + 8 + bytes.length;
  if (scratch.length < most) scratch = Buffer.allocUnsafe(most * 2);
  scratch.set(prefix);
  scratch.write(key, prefix.length, 'latin1');
  let at = start;
  let rest = version;
  while (rest >= 0x80) {
    scratch[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  scratch[at++] = rest;
  at += scratch.write(bytes, at, 'latin1');
  return { value: scratch.subarray(start, at), digest: mixed(crc32c(scratch, 0, at)) };
}

export interface RowParts {
  readonly version: number;
  readonly bytes: string;
  readonly digest: number;
}

/** A row from its value. Throws DATA_DAMAGED. */
export function decodeRow(key: Buffer, value: Buffer): RowParts {
  const end = key.length + value.length;
  if (scratch.length < end) scratch = Buffer.allocUnsafe(end * 2);
  scratch.set(key);
  scratch.set(value, key.length);
  let version = 0;
  let scale = 1;
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number;
    version += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (byte >= 0x80) continue;
    return { version, bytes: value.toString('latin1', at + 1), digest: mixed(crc32c(scratch, 0, end)) };
  }
  throw new FreshetError('DATA_DAMAGED', 'a stored row has no version', { place: `key ${key.toString('hex')}` });
}

/**
 * A digest that can be summed, never 0. CRCs themselves cannot: rows that change by the same bits change their CRCs by
 * the same bits, and two such changes may cancel out in a sum.
 */
function mixed(crc: number): number {
  let h = crc ^ 0x5bd1_e995;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85eb_ca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2_ae35);
  h ^= h >>> 16;
  return h === 0 ? 1 : h;
}
