/**
 * Encodes and decodes freshet.compute.v1.JournalEntry by hand: a commit may change a hundred thousand keys, and the
 * general encoder takes several times as long on the thread that folds. Equality with it is tested.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { ChangedKeys } from '../core/fold-port.ts';
import type { StoredChanges } from '../core/shard-storage.ts';

/** The length of the chain in front, and of the bytes that hold it: field 1 is always written first. */
export const CHAIN_BYTES = 16;
export const CHAIN_FIELD_BYTES = 2 + CHAIN_BYTES;

const VIEW_ID_BYTES = 16;
const FIELD_CHAIN = (1 << 3) | WireType.LengthDelimited;
const FIELD_CRC = (2 << 3) | WireType.Bit32;
const FIELD_VIEWS = (3 << 3) | WireType.LengthDelimited;
const FIELD_VIEW_ID = (1 << 3) | WireType.LengthDelimited;
const FIELD_KEYS = (2 << 3) | WireType.LengthDelimited;

/** The entry. Its chain is left for the caller to write. */
export function encodeJournalEntry(recordCrc: number, changed: ChangedKeys): Buffer {
  let length = CHAIN_FIELD_BYTES + 5;
  const bodies: number[] = [];
  for (const keys of changed.values()) {
    let body = 2 + VIEW_ID_BYTES;
    for (const key of keys) body += 1 + varintBytes(key.length) + key.length;
    bodies.push(body);
    length += 1 + varintBytes(body) + body;
  }
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  bytes[at] = FIELD_CHAIN;
  bytes[at + 1] = CHAIN_BYTES;
  bytes.fill(0, at + 2, at + CHAIN_FIELD_BYTES);
  at += CHAIN_FIELD_BYTES;
  bytes[at] = FIELD_CRC;
  at = bytes.writeUInt32LE(recordCrc, at + 1);
  let index = 0;
  for (const [viewId, keys] of changed) {
    bytes[at] = FIELD_VIEWS;
    at = writeVarint(bytes, bodies[index++] ?? 0, at + 1);
    bytes[at] = FIELD_VIEW_ID;
    bytes[at + 1] = VIEW_ID_BYTES;
    at += 2 + bytes.write(viewId, at + 2, 'hex');
    for (const key of keys) {
      bytes[at] = FIELD_KEYS;
      at = writeVarint(bytes, key.length, at + 1);
      at += bytes.write(key, at, 'latin1');
    }
  }
  return bytes;
}

/** The changes in an encoded entry. Throws when the bytes are no entry. */
export function decodeJournalEntry(bytes: Buffer): StoredChanges {
  const reader = new BinaryReader(bytes);
  const changed = new Map<string, Set<string>>();
  let recordCrc = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 2) recordCrc = reader.fixed32();
    else if (field === 3) decodeView(bytes, reader, changed);
    else reader.skip(type, field);
  }
  return { recordCrc, changed };
}

function decodeView(bytes: Buffer, reader: BinaryReader, changed: Map<string, Set<string>>): void {
  const end = reader.uint32() + reader.pos;
  let viewId = '';
  const keys = new Set<string>();
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field !== 1 && field !== 2) {
      reader.skip(type, field);
      continue;
    }
    const length = reader.uint32();
    const start = reader.pos;
    reader.pos += length;
    if (field === 1) viewId = bytes.toString('hex', start, reader.pos);
    else keys.add(bytes.toString('latin1', start, reader.pos));
  }
  changed.set(viewId, keys);
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

function writeVarint(bytes: Buffer, value: number, start: number): number {
  let at = start;
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 0x80;
  bytes[at++] = rest;
  return at;
}
