/**
 * Which partition an entity is in: murmur2 of the encoded key, as Kafka's default partitioner does, so that records
 * that other producers write by key land where Freshet looks for them.
 */
import { assert } from '@freshet/kit/assert.ts';

const SEED = 0x9747_b28c;
const M = 0x5bd1_e995;

/** The partition, from 0, of a key among a number of partitions. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  assert(partitions >= 1, 'partitionOf: there are no partitions');
  return (murmur2(key) & 0x7fff_ffff) % partitions;
}

/** partitionOf(keyBytes(key), partitions), without making the bytes: the reads' fast path. */
export function partitionOfKeyString(key: string, partitions: number): number {
  assert(partitions >= 1, 'partitionOfKeyString: there are no partitions');
  return (murmur2OfKeyString(key) & 0x7fff_ffff) % partitions;
}

/** The 32-bit hash, signed, as org.apache.kafka.common.utils.Utils.murmur2 computes it. */
export function murmur2(data: Uint8Array): number {
  const length = data.length;
  let h = SEED ^ length;
  const blocks = length & ~3;
  for (let i = 0; i < blocks; i += 4) {
    h = mix(h, at(data, i) | (at(data, i + 1) << 8) | (at(data, i + 2) << 16) | (at(data, i + 3) << 24));
  }
  const left = length - blocks;
  if (left >= 3) h ^= at(data, blocks + 2) << 16;
  if (left >= 2) h ^= at(data, blocks + 1) << 8;
  if (left >= 1) h = Math.imul(h ^ at(data, blocks), M);
  return finish(h);
}

/** murmur2 again, over a string with one character per byte; partition.test.ts holds the two together. */
function murmur2OfKeyString(data: string): number {
  const length = data.length;
  let h = SEED ^ length;
  const blocks = length & ~3;
  for (let i = 0; i < blocks; i += 4) {
    const low = data.charCodeAt(i) | (data.charCodeAt(i + 1) << 8);
    h = mix(h, low | (data.charCodeAt(i + 2) << 16) | (data.charCodeAt(i + 3) << 24));
  }
  const left = length - blocks;
  if (left >= 3) h ^= data.charCodeAt(blocks + 2) << 16;
  if (left >= 2) h ^= data.charCodeAt(blocks + 1) << 8;
  if (left >= 1) h = Math.imul(h ^ data.charCodeAt(blocks), M);
  return finish(h);
}

function at(data: Uint8Array, index: number): number {
  return data[index] as number;
}

function mix(h: number, block: number): number {
  let k = Math.imul(block, M);
  k ^= k >>> 24;
  return Math.imul(h, M) ^ Math.imul(k, M);
}

function finish(hash: number): number {
  let h = hash;
  h ^= h >>> 13;
  h = Math.imul(h, M);
  h ^= h >>> 15;
  return h | 0;
}
