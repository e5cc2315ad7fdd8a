/**
 * The keys of a shard's store. Byte order is scan order.
 *
 *     'c'                                                              the commit record
 *     'h' number:u64                                                   a link of the chain, oldest first
 *     'j' to:u64 from:u64 logTime:i64^sign size:u32                    a journal entry, oldest first
 *     'r'                                                              a restore is under way: nothing else counts
 *     's' viewId[16] generation:u32 entityKey                          a key's state, by instance, then key
 *     's' viewId[16] (generation | 2^31):u32 length:u16 entityKey …    what its live rows put in (mutable sources), as
 *                                                                      packages/engine/src/contributions/node-codec.ts says
 *
 * All numbers are big-endian. A journal key carries all that the index in memory needs, so that opening a store reads
 * no journal values but the newest.
 */
import type { JournalSlot } from '../core/journal-index.ts';

const STATE = 0x73;
const JOURNAL = 0x6a;
const LINK = 0x68;
const JOURNAL_KEY_BYTES = 1 + 8 + 8 + 8 + 4;
const SIGN = 1n << 63n;

/** The bytes of an instance: the view's id and the generation. */
export const INSTANCE_BYTES = 20;
const STATE_PREFIX_BYTES = 1 + INSTANCE_BYTES;

export const COMMIT_KEY = Buffer.from('c');
export const RESTORE_KEY = Buffer.from('r');
export const EVERYTHING = { gte: Buffer.of(0), lt: Buffer.of(0xff) } as const;
export const LINK_RANGE = { gte: Buffer.from('h'), lt: Buffer.from('i') } as const;
export const JOURNAL_RANGE = { gte: Buffer.from('j'), lt: Buffer.from('k') } as const;
export const STATE_RANGE = { gte: Buffer.from('s'), lt: Buffer.from('t') } as const;

/** Makes state keys of one instance after the other without decoding the instance's hex each time. */
export class StateKeys {
  readonly #prefixes = new Map<string, Buffer>();

  /** The bytes before the entity key. */
  prefix(instance: string): Buffer {
    let prefix = this.#prefixes.get(instance);
    if (prefix === undefined) {
      prefix = Buffer.concat([Buffer.of(STATE), Buffer.from(instance, 'hex')]);
      if (prefix.length !== STATE_PREFIX_BYTES) throw new TypeError(`"${instance}" is not a view instance`);
      // Bounded by how many views ever were in force while the process runs.
      this.#prefixes.set(instance, prefix);
    }
    return prefix;
  }

  key(instance: string, key: string): Buffer {
    const bytes = Buffer.allocUnsafe(STATE_PREFIX_BYTES + key.length);
    this.prefix(instance).copy(bytes);
    bytes.write(key, STATE_PREFIX_BYTES, 'latin1');
    return bytes;
  }
}

/** The first key after everything of an instance. */
export function afterInstance(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = (end[i] ?? 0) + 1;
    end[i] = byte;
    if (byte <= 0xff) return end;
  }
  throw new TypeError('a state key begins with a letter');
}

/** The instance in a state key. */
export function instanceOf(stateKey: Buffer): string {
  return stateKey.toString('hex', 1, STATE_PREFIX_BYTES);
}

/** The entity key in a state key, as a key string. */
export function entityKeyOf(stateKey: Buffer): string {
  return stateKey.toString('latin1', STATE_PREFIX_BYTES);
}

/** The key of a commit's link. */
export function linkKey(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(9);
  bytes[0] = LINK;
  bytes.writeBigUInt64BE(BigInt(number), 1);
  return bytes;
}

/** The number in a link's key; NaN when it is none. */
export function linkNumber(key: Buffer): number {
  return key.length === 9 ? Number(key.readBigUInt64BE(1)) : Number.NaN;
}

export function journalKey(slot: JournalSlot): Buffer {
  const bytes = Buffer.allocUnsafe(JOURNAL_KEY_BYTES);
  bytes[0] = JOURNAL;
  bytes.writeBigUInt64BE(BigInt(slot.to), 1);
  bytes.writeBigUInt64BE(BigInt(slot.from), 9);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(slot.logTimeUs)) ^ SIGN, 17);
  bytes.writeUInt32BE(slot.bytes, 25);
  return bytes;
}

/** The slot that a journal key says; undefined when it is none. */
export function journalSlot(key: Buffer): JournalSlot | undefined {
  if (key.length !== JOURNAL_KEY_BYTES || key[0] !== JOURNAL) return undefined;
  return {
    to: Number(key.readBigUInt64BE(1)),
    from: Number(key.readBigUInt64BE(9)),
    logTimeUs: Number(BigInt.asIntN(64, key.readBigUInt64BE(17) ^ SIGN)),
    bytes: key.readUInt32BE(25),
  };
}
