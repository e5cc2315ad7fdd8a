/**
 * Where the contributions of a key lie in the cold store, and their bytes there.
 *
 *     key     u16be length of the entity key, the entity key; further leaves of it: u32be hash and u56be offset of the
 *             first contribution that a leaf may hold
 *     leaf        1  varint version  varint count  contributions (contribution.ts)
 *     directory   2  varint version  varint leaves  u32le hash and varint offset of each leaf but the first
 *
 * A key with few rows has one entry, a leaf. One with many has a directory there, and the leaves (the first too) beside it.
 * Owns the layout. The order of keys is that of (entity key's length, entity key), then of the contributions.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { type Bound, FIRST_BOUND, Leaf } from './leaf.ts';

export const LEAF = 1;
export const DIRECTORY = 2;

const LENGTH_CHARS = 2;

export interface DecodedNode {
  readonly version: number;
  /** Of a directory: where each leaf begins, ascending, the first at FIRST_BOUND. */
  readonly bounds: Bound[] | undefined;
  /** Empty when it is a directory. */
  readonly leaf: Leaf;
}

/** The store's key of an entity's only leaf, or of its directory. */
export function rootKey(entityKey: string): string {
  return String.fromCharCode(entityKey.length >> 8, entityKey.length & 0xff) + entityKey;
}

/** The store's key of one of several leaves. */
export function leafKey(entityKey: string, { hash, offset }: Bound): string {
  const high = Math.floor(offset / 2 ** 32);
  const low = offset >>> 0;
  const chars = [
    ...[24, 16, 8, 0].map((shift) => (hash >>> shift) & 0xff),
    ...[16, 8, 0].map((shift) => (high >>> shift) & 0xff),
    ...[24, 16, 8, 0].map((shift) => (low >>> shift) & 0xff),
  ];
  return rootKey(entityKey) + String.fromCharCode(...chars);
}

/** The entity key in a store's key, and where its leaf begins; no bound: the root. */
export function parseKey(key: string): { readonly entityKey: string; readonly bound: Bound | undefined } {
  const length = key.charCodeAt(0) * 256 + key.charCodeAt(1);
  const end = LENGTH_CHARS + length;
  const entityKey = key.slice(LENGTH_CHARS, end);
  if (key.length === end) return { entityKey, bound: undefined };
  if (key.length !== end + 11) throw new FreshetError('DATA_DAMAGED', 'The key of stored contributions is none.');
  const number = (from: number, to: number): number => {
    let value = 0;
    for (let i = from; i < to; i++) value = value * 256 + key.charCodeAt(end + i);
    return value;
  };
  return { entityKey, bound: { hash: number(0, 4), offset: number(4, 11) } };
}

export function encodeLeaf(writer: ByteWriter, version: number, leaf: Leaf): Uint8Array {
  writer.reset();
  writer.byte(LEAF);
  writer.varint(version);
  writer.varint(leaf.count);
  writer.raw(leaf.bytes.subarray(0, leaf.length));
  return writer.takeShared();
}

export function encodeDirectory(writer: ByteWriter, version: number, bounds: readonly Bound[]): Uint8Array {
  writer.reset();
  writer.byte(DIRECTORY);
  writer.varint(version);
  writer.varint(bounds.length);
  for (let i = 1; i < bounds.length; i++) {
    const { hash, offset } = bounds[i] as Bound;
    for (let shift = 0; shift < 32; shift += 8) writer.byte((hash >>> shift) & 0xff);
    writer.varint(offset);
  }
  return writer.takeShared();
}

/** A copy of what the bytes hold. Throws DATA_DAMAGED when they hold nothing of this kind. */
export function decodeNode(bytes: Uint8Array): DecodedNode {
  const reader = new ByteReader(bytes);
  const format = reader.byte();
  const version = reader.varint();
  const count = reader.varint();
  const leaf = new Leaf();
  if (format === LEAF) {
    leaf.bytes = reader.rest();
    leaf.length = leaf.bytes.length;
    leaf.count = count;
    return { version, bounds: undefined, leaf };
  }
  if (format !== DIRECTORY) throw new FreshetError('DATA_DAMAGED', `Stored contributions have format ${format}.`);
  const bounds: Bound[] = [FIRST_BOUND];
  while (bounds.length < count) {
    const hash = (reader.byte() | (reader.byte() << 8) | (reader.byte() << 16) | (reader.byte() << 24)) >>> 0;
    bounds.push({ hash, offset: reader.varint() });
  }
  return { version, bounds, leaf };
}
