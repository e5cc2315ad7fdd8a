/**
 * The replica's bytes at rest: keys and values of its LevelDB. Owns the layout; what the messages mean is
 * proto/freshet/serve/v1/storage.proto.
 *
 *     'm'                                    StoredReplica
 *     'd'                                    StoredDefinitions
 *     's' shard:u32 copy:u32                 StoredShard
 *     'r' table:u32 entity key               a row: its version (varint), then the encoded Row; a tombstone has no Row
 *
 * Integers in keys are big-endian, so that a shard's copies and a table's rows lie together. Every value begins with the
 * CRC-32 of the key and of the rest of the value: LevelDB does not check what it reads back unless told to, and hands out flipped bits.
 */
import { crc32 } from 'node:zlib';
import { FreshetError } from '@freshet/kit/errors.ts';

export const FORMAT = 1;

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

/** The value with its checksum before it. */
export function seal(key: Buffer, body: Uint8Array): Buffer {
  const value = Buffer.allocUnsafe(4 + body.length);
  value.set(body, 4);
  value.writeUInt32LE(crc32(body, crc32(key)), 0);
  return value;
}

/** The value without its checksum. Throws DATA_DAMAGED when they do not agree. */
export function unseal(key: Buffer, value: Buffer): Buffer {
  const body = value.subarray(4);
  if (value.length < 4 || value.readUInt32LE(0) !== crc32(body, crc32(key))) {
    throw new FreshetError('DATA_DAMAGED', 'a stored value does not agree with its checksum', {
      place: `key ${key.toString('hex')}`,
    });
  }
  return body;
}

/** A row's sealed value. `bytes` is the encoded Row as a string of one character per byte; empty for a tombstone. */
export function rowValue(key: Buffer, version: number, bytes: string): Buffer {
  const value = Buffer.allocUnsafe(4 + 8 + bytes.length);
  let at = 4;
  let rest = version;
  while (rest >= 0x80) {
    value[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  value[at++] = rest;
  at += value.write(bytes, at, 'latin1');
  const sealed = value.subarray(0, at);
  sealed.writeUInt32LE(crc32(sealed.subarray(4), crc32(key)), 0);
  return sealed;
}

export interface RowParts {
  readonly version: number;
  readonly bytes: string;
}

/** A row from its sealed value. Throws DATA_DAMAGED. */
export function rowParts(key: Buffer, value: Buffer): RowParts {
  const body = unseal(key, value);
  let version = 0;
  let scale = 1;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at] as number;
    version += (byte & 0x7f) * scale;
    scale *= 0x80;
    if (byte < 0x80) return { version, bytes: body.toString('latin1', at + 1) };
  }
  throw new FreshetError('DATA_DAMAGED', 'a stored row has no version', { place: `key ${key.toString('hex')}` });
}
