/**
 * A checkpoint file: all state of a shard at a commit, so that it can be read back without the store, the log or any
 * other file, and every bit of it is checked.
 *
 *     "FRSHCKP1"                                             8 bytes
 *     frame: u32 length of body │ u8 kind │ body │ u32 CRC32C over kind and body          (little-endian)
 *       1 header   CheckpointHeader
 *       2 states   any number; { u32 key length │ u32 state length │ instance[20] │ entity key │ state } …, ascending
 *       3 footer   CheckpointFooter
 *     u32 length of the footer's frame, by which it is found without reading the rest
 *
 * Owns the frames, writing a file so that its name stands for a whole one, and reading with every check. Does not own
 * which files there are (checkpoint-directory.ts) or when one is taken (core/checkpoint-loop.ts). Memory is bounded by
 * a frame: BLOCK_BYTES and one state.
 *
 * Invariant: what readCheckpoint gave until its end is what was committed at that position: CRC of each frame, SHA-256
 * over the file, the digest of F1, the commit's count and digest of each instance's keys.
 */
import { createHash } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type CheckpointFooter,
  CheckpointFooterSchema,
  type CheckpointHeader,
  CheckpointHeaderSchema,
} from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DiskFile, FileSystem } from '@freshet/log/file-system.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import type { CheckpointFormat } from '../core/checkpoint.ts';
import type { KeySet } from '../core/key-set.ts';
import type { Commit, StateSnapshot, StoredState } from '../core/shard-storage.ts';
import { decodeCommit } from './commit-codec.ts';
import { countIn, differenceOf } from './shard-store.ts';
import { INSTANCE_BYTES } from './store-keys.ts';

export const CHECKPOINT_FORMAT = 1;
const MAGIC = Buffer.from('FRSHCKP1');
const HEADER = 1;
const STATES = 2;
const FOOTER = 3;
const HEAD_BYTES = 5;
const CRC_BYTES = 4;
/** The length behind the footer. */
const TAIL_BYTES = 4;
const LENGTHS_BYTES = 8;
/** States are gathered into frames of about so many bytes. */
const BLOCK_BYTES = 256 * 1024;
/** A frame that claims to be longer is damage, not a reason to take that much memory. */
const FRAME_BYTES_MAX = 512 * 1024 * 1024;

/** What a file holds, once all of it was read. */
export interface CheckpointContent {
  readonly header: CheckpointHeader;
  readonly commit: Commit;
  readonly states: number;
  /** Bytes of the file. */
  readonly bytes: number;
  readonly stateDigest: Uint8Array;
}

/**
 * Writes a file from a snapshot and syncs it. Throws DATA_DAMAGED when the store's state is not what was committed,
 * DISK_FULL and its like; what was written then is not removed.
 */
export async function writeCheckpoint(
  files: FileSystem,
  path: string,
  snapshot: StateSnapshot,
  options: CheckpointFormat & {
    readonly shard: number;
    readonly takenAtUs: number;
    readonly yieldNow: () => Promise<unknown>;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { commit, record, states } = snapshot;
  const header = create(CheckpointHeaderSchema, {
    format: CHECKPOINT_FORMAT,
    engineVersion: options.engineVersion,
    logId: Buffer.from(commit.logId, 'hex'),
    shard: options.shard,
    position: BigInt(commit.position),
    logTimeUs: BigInt(commit.logTimeUs),
    recordCrc: commit.recordCrc,
    commit: record,
    takenAtUs: BigInt(options.takenAtUs),
  });
  const file = await onDisk(path, () => files.open(path, 'overwrite'));
  try {
    const out = new FrameWriter(file, path);
    await out.begin(toBinary(CheckpointHeaderSchema, header));
    const digest = options.createDigest(commit.foldMeta);
    let block = new Block();
    for await (const some of states) {
      options.signal.throwIfAborted();
      for (const [instance, key, state] of some) {
        digest.add(instance, key, state);
        block.add(instance, key, state);
        if (block.bytes < BLOCK_BYTES) continue;
        await out.states(block);
        block = new Block();
      }
      await options.yieldNow();
    }
    if (block.states > 0) await out.states(block);
    await out.finish(digest.finish());
    await onDisk(path, () => file.sync());
  } finally {
    await file.close();
  }
}

/**
 * Reads a file: first its header, then its states as they lie in it. Only when the states came to their end was all of
 * it checked. Throws DATA_DAMAGED, or INVALID_CONFIG when another version wrote it.
 */
export class CheckpointReader {
  readonly header: CheckpointHeader;
  readonly commit: Commit;
  readonly bytes: number;
  readonly #keySets: ReadonlyMap<string, KeySet>;
  readonly #frames: FrameReader;
  readonly #format: CheckpointFormat;

  private constructor(frames: FrameReader, header: CheckpointHeader, format: CheckpointFormat) {
    this.#frames = frames;
    this.#format = format;
    this.header = header;
    this.bytes = frames.length;
    const { commit, frame } = frames.decoded(() => decodeCommit(header.commit));
    this.commit = commit;
    this.#keySets = frame.keySets;
  }

  static async open(files: FileSystem, path: string, format: CheckpointFormat): Promise<CheckpointReader> {
    const file = await onDisk(path, () => files.open(path, 'read'));
    try {
      const frames = new FrameReader(file, path, await file.length());
      const header = await frames.header();
      if (header.format !== CHECKPOINT_FORMAT || header.engineVersion !== format.engineVersion) {
        throw new FreshetError(
          'INVALID_CONFIG',
          `the checkpoint is of format ${header.format}, engine ${header.engineVersion}; ` +
            `this version reads format ${CHECKPOINT_FORMAT}, engine ${format.engineVersion}`,
          { place: path, remedy: 'it is of no more use to this version: the shard is folded from the log' },
        );
      }
      return new CheckpointReader(frames, header, format);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The states, a frame at a time; returns what the file holds once all of it is found to be right. */
  async *states(): AsyncGenerator<readonly StoredState[], CheckpointContent> {
    const { commit, header } = this;
    const seen = new Map<string, KeySet>();
    const digest = this.#frames.decoded(() => this.#format.createDigest(commit.foldMeta));
    let count = 0;
    let before = '';
    for (;;) {
      const some = await this.#frames.statesOrFooter();
      if (!Array.isArray(some)) return this.#whole(some as CheckpointFooter, { seen, count, digest: digest.finish() });
      for (const stored of some as readonly StoredState[]) {
        const [instance, key, state] = stored;
        const place = instance + key;
        if (count > 0 && place <= before) throw this.#frames.damaged('its states are out of order');
        before = place;
        digest.add(instance, key, state);
        countIn(seen, stored, this.#format.versionOf);
        count += 1;
      }
      if (header.position === 0n && count > 0) throw this.#frames.damaged('it has state of no record');
      yield some as readonly StoredState[];
    }
  }

  close(): Promise<void> {
    return this.#frames.close();
  }

  #whole(
    footer: CheckpointFooter,
    { seen, count, digest }: { seen: ReadonlyMap<string, KeySet>; count: number; digest: Uint8Array },
  ): CheckpointContent {
    const missing = differenceOf(this.#keySets, seen);
    if (missing !== undefined) throw this.#frames.damaged(missing);
    if (Number(footer.states) !== count) throw this.#frames.damaged(`it has ${count} states, not ${footer.states}`);
    if (!Buffer.from(footer.stateDigest).equals(digest)) throw this.#frames.damaged('its state has another digest');
    const { header, commit, bytes } = this;
    return { header, commit, states: count, bytes, stateDigest: digest };
  }
}

/** What a file says of itself, read from both its ends: nothing between is looked at. Throws DATA_DAMAGED. */
export async function summarizeCheckpoint(
  files: FileSystem,
  path: string,
): Promise<{ header: CheckpointHeader; footer: CheckpointFooter; bytes: number }> {
  const file = await onDisk(path, () => files.open(path, 'read'));
  try {
    const frames = new FrameReader(file, path, await file.length());
    const header = await frames.header();
    return { header, footer: await frames.footer(), bytes: frames.length };
  } finally {
    await file.close();
  }
}

/** Reads all of a file and checks it; `pause` is awaited after each frame with its bytes. Throws DATA_DAMAGED. */
export async function verifyCheckpoint(
  files: FileSystem,
  path: string,
  format: CheckpointFormat,
  pause: (bytes: number) => Promise<unknown>,
): Promise<CheckpointContent> {
  const reader = await CheckpointReader.open(files, path, format);
  try {
    const states = reader.states();
    for (;;) {
      const next = await states.next();
      if (next.done === true) return next.value;
      await pause(bytesOf(next.value));
    }
  } finally {
    await reader.close();
  }
}

/** What states take in a file, in bytes. */
export function bytesOf(states: readonly StoredState[]): number {
  let bytes = 0;
  for (const [, key, state] of states) bytes += LENGTHS_BYTES + INSTANCE_BYTES + key.length + state.length;
  return bytes;
}

/** States on their way into a frame. */
class Block {
  readonly parts: Buffer[] = [];
  states = 0;
  bytes = 0;

  add(instance: string, key: string, state: Uint8Array): void {
    const part = Buffer.allocUnsafe(LENGTHS_BYTES + INSTANCE_BYTES + key.length + state.length);
    part.writeUInt32LE(INSTANCE_BYTES + key.length, 0);
    part.writeUInt32LE(state.length, 4);
    part.write(instance, LENGTHS_BYTES, 'hex');
    part.write(key, LENGTHS_BYTES + INSTANCE_BYTES, 'latin1');
    part.set(state, part.length - state.length);
    this.parts.push(part);
    this.states += 1;
    this.bytes += part.length;
  }
}

class FrameWriter {
  readonly #file: DiskFile;
  readonly #path: string;
  readonly #hash = createHash('sha256');
  #at = 0;
  #states = 0;
  #stateBytes = 0;

  constructor(file: DiskFile, path: string) {
    this.#file = file;
    this.#path = path;
  }

  async begin(header: Uint8Array): Promise<void> {
    await this.#write([MAGIC]);
    await this.#frame(HEADER, [header]);
  }

  async states(block: Block): Promise<void> {
    await this.#frame(STATES, block.parts);
    this.#states += block.states;
    this.#stateBytes += block.bytes - block.states * LENGTHS_BYTES;
  }

  async finish(stateDigest: Uint8Array): Promise<void> {
    const footer = create(CheckpointFooterSchema, {
      states: BigInt(this.#states),
      stateBytes: BigInt(this.#stateBytes),
      sha256: this.#hash.copy().digest(),
      stateDigest: Uint8Array.from(stateDigest),
    });
    const before = this.#at;
    await this.#frame(FOOTER, [toBinary(CheckpointFooterSchema, footer)]);
    const length = Buffer.allocUnsafe(TAIL_BYTES);
    length.writeUInt32LE(this.#at - before);
    await this.#write([length]);
  }

  async #frame(kind: number, parts: readonly Uint8Array[]): Promise<void> {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const frame = Buffer.allocUnsafe(HEAD_BYTES + length + CRC_BYTES);
    frame.writeUInt32LE(length, 0);
    frame[4] = kind;
    let at = HEAD_BYTES;
    for (const part of parts) {
      frame.set(part, at);
      at += part.length;
    }
    frame.writeUInt32LE(crc32c(frame, 4, at), at);
    await this.#write([frame]);
  }

  async #write(parts: readonly Uint8Array[]): Promise<void> {
    await onDisk(this.#path, () => this.#file.write(parts, this.#at));
    for (const part of parts) {
      this.#hash.update(part);
      this.#at += part.length;
    }
  }
}

class FrameReader {
  readonly #file: DiskFile;
  readonly #path: string;
  readonly length: number;
  readonly #hash = createHash('sha256');
  #at = 0;

  constructor(file: DiskFile, path: string, length: number) {
    this.#file = file;
    this.#path = path;
    this.length = length;
  }

  async header(): Promise<CheckpointHeader> {
    const magic = await this.#take(MAGIC.length);
    if (!magic.equals(MAGIC)) throw this.damaged('it is no checkpoint');
    this.#hash.update(magic);
    const frame = await this.#frame();
    if (frame.kind !== HEADER) throw this.damaged('it has no header');
    this.#hash.update(frame.whole);
    return this.decoded(() => fromBinary(CheckpointHeaderSchema, frame.body));
  }

  async statesOrFooter(): Promise<readonly StoredState[] | CheckpointFooter> {
    const { kind, body, whole } = await this.#frame();
    if (kind === STATES) {
      this.#hash.update(whole);
      return this.#states(body);
    }
    if (kind !== FOOTER || this.#at + TAIL_BYTES !== this.length) throw this.damaged('it does not end with its footer');
    if ((await this.#take(TAIL_BYTES)).readUInt32LE(0) !== whole.length) throw this.damaged('its end is wrong');
    const footer = this.decoded(() => fromBinary(CheckpointFooterSchema, body));
    if (!this.#hash.digest().equals(footer.sha256)) throw this.damaged('it has another SHA-256');
    return footer;
  }

  /** The footer without what is before it. */
  async footer(): Promise<CheckpointFooter> {
    this.#at = Math.max(0, this.length - TAIL_BYTES);
    const length = (await this.#take(TAIL_BYTES)).readUInt32LE(0);
    this.#at = this.length - TAIL_BYTES - length;
    if (this.#at < 0) throw this.damaged('it is cut off');
    const { kind, body } = await this.#frame();
    if (kind !== FOOTER) throw this.damaged('it does not end with its footer');
    return this.decoded(() => fromBinary(CheckpointFooterSchema, body));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  damaged(what: string): FreshetError {
    return damagedCheckpoint(this.#path, what);
  }

  decoded<T>(decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      throw this.damaged(`what it holds cannot be decoded (${String(error)})`);
    }
  }

  async #frame(): Promise<{ kind: number; body: Buffer; whole: Buffer }> {
    const head = await this.#take(HEAD_BYTES);
    const length = head.readUInt32LE(0);
    if (length > FRAME_BYTES_MAX) throw this.damaged('a frame has an impossible length');
    const whole = Buffer.allocUnsafe(HEAD_BYTES + length + CRC_BYTES);
    whole.set(head);
    await this.#fill(whole.subarray(HEAD_BYTES));
    const end = HEAD_BYTES + length;
    if (crc32c(whole, 4, end) !== whole.readUInt32LE(end)) throw this.damaged('a frame has a wrong checksum');
    return { kind: head[4] ?? 0, body: whole.subarray(HEAD_BYTES, end), whole };
  }

  #states(body: Buffer): StoredState[] {
    const found: StoredState[] = [];
    for (let at = 0; at < body.length; ) {
      if (at + LENGTHS_BYTES > body.length) throw this.damaged('a state is cut off');
      const keyEnd = at + LENGTHS_BYTES + body.readUInt32LE(at);
      const end = keyEnd + body.readUInt32LE(at + 4);
      const keyAt = at + LENGTHS_BYTES + INSTANCE_BYTES;
      if (keyEnd < keyAt || end > body.length) throw this.damaged('a state is cut off');
      const instance = body.toString('hex', at + LENGTHS_BYTES, keyAt);
      found.push([instance, body.toString('latin1', keyAt, keyEnd), body.subarray(keyEnd, end)]);
      at = end;
    }
    return found;
  }

  async #take(count: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(count);
    await this.#fill(bytes);
    return bytes;
  }

  async #fill(target: Buffer): Promise<void> {
    if (this.#at + target.length > this.length) throw this.damaged('it is cut off');
    const count = await onDisk(this.#path, () => this.#file.read(target, this.#at));
    if (count < target.length) throw this.damaged('it is cut off');
    this.#at += count;
  }
}

export function damagedCheckpoint(path: string, what: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the checkpoint is damaged: ${what}`, {
    place: path,
    remedy: 'an older one is used, if there is one; the file is kept beside the others under .damaged',
  });
}

/** Does something to a file; throws a state of the disk as what it is. */
export async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskError(error, path) ?? error;
  }
}
