/**
 * The checkpoint files of one shard in a directory.
 *
 *     <position>-<digest>.ckpt        whole and verified: a file gets this name only after it was read back
 *     draft.new                       one that was being written; removed at the next start
 *     <…>.ckpt.useless                one of another history of the log; removed with the next one that is taken
 *     <…>.ckpt.damaged                one that was found damaged later; the newest is kept for who wants to look
 *
 * Owns which files there are, their names, and room on the disk. Does not own what is in one (checkpoint-file.ts), which
 * are kept (core/checkpoint.ts), or when one is taken (core/checkpoint-loop.ts).
 */
import { join } from 'node:path';
import type { CheckpointHeader } from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import {
  type CheckpointFormat,
  type CheckpointInfo,
  checkpointName,
  checkpointsToRemove,
  isCheckpointName,
  newestFirst,
  type ShardCheckpoints,
} from '../core/checkpoint.ts';
import type { StateSnapshot } from '../core/shard-storage.ts';
import {
  type CheckpointContent,
  CheckpointReader,
  onDisk,
  summarizeCheckpoint,
  verifyCheckpoint,
  writeCheckpoint,
} from './checkpoint-file.ts';
import { restoreShard } from './shard-restore.ts';
import type { ShardStoreOptions } from './shard-store.ts';

const DRAFT = 'draft.new';
const DAMAGED = '.damaged';
const USELESS = '.useless';
/** A checkpoint is only begun when so much stays free beside it. */
export const RESERVE_BYTES = 64 * 1024 * 1024;
/** What a checkpoint may be larger than the one before it, and what a first one is taken to be, at least. */
const GROWTH = 1.25;
const FIRST_BYTES = 1024 * 1024;

export interface CheckpointDirectoryOptions extends CheckpointFormat {
  readonly files: FileSystem;
  /** The directory of this shard's checkpoints. */
  readonly directory: string;
  readonly shard: number;
  /** How many of the log that is folded are kept; the newest always is. */
  readonly kept: number;
  readonly clock: Pick<Clock, 'nowUs'>;
  readonly yieldNow: () => Promise<unknown>;
  /** Where a restore writes to. */
  readonly store: ShardStoreOptions;
}

export class CheckpointDirectory implements ShardCheckpoints {
  readonly #options: CheckpointDirectoryOptions;
  #list: CheckpointInfo[] = [];
  /** Files of another version of the engine, of another history, or that were copied here from another shard. */
  #useless: string[] = [];

  private constructor(options: CheckpointDirectoryOptions) {
    this.#options = options;
  }

  /** Looks what is there. Throws DISK_FULL and its like. */
  static async open(options: CheckpointDirectoryOptions): Promise<CheckpointDirectory> {
    const { files, directory } = options;
    const opened = new CheckpointDirectory(options);
    await onDisk(directory, () => files.makeDirectory(directory));
    await onDisk(directory, () => files.remove(join(directory, DRAFT)));
    // A process that was killed may have given a draft its name without seeing it there durably. From here on the log is trimmed
    // by it, and older ones are removed.
    await onDisk(directory, () => files.syncDirectory(directory));
    for (const info of await listCheckpoints(files, directory, (name) => opened.#disown(name))) {
      if (info.shard === options.shard && info.engineVersion === options.engineVersion) opened.#list.push(info);
      else opened.#useless.push(info.file);
    }
    const names = (await onDisk(directory, () => files.list(directory))).map(({ name }) => name);
    opened.#useless.push(...names.filter((name) => name.endsWith(USELESS)));
    return opened;
  }

  get list(): readonly CheckpointInfo[] {
    return this.#list;
  }

  async take(snapshot: StateSnapshot, signal: AbortSignal): Promise<CheckpointInfo> {
    const { files, directory, shard, kept, clock, yieldNow } = this.#options;
    const draft = join(directory, DRAFT);
    try {
      await this.#checkRoom();
      await writeCheckpoint(files, draft, snapshot, {
        ...this.#options,
        shard,
        takenAtUs: clock.nowUs(),
        yieldNow,
        signal,
      });
      const content = await verifyCheckpoint(files, draft, this.#options, async () => {
        signal.throwIfAborted();
        await yieldNow();
      });
      const info = infoOf(content, checkpointName(content.commit.position, toHex(content.stateDigest)));
      await onDisk(draft, () => files.rename(draft, join(directory, info.file)));
      await onDisk(directory, () => files.syncDirectory(directory));
      this.#list = [info, ...this.#list.filter(({ file }) => file !== info.file)].sort(newestFirst);
      await this.#prune(info, kept);
      return info;
    } catch (error) {
      await files.remove(draft).catch(() => undefined);
      throw error;
    }
  }

  async restore(info: CheckpointInfo, signal: AbortSignal): Promise<void> {
    const { files, directory, store, yieldNow } = this.#options;
    try {
      const reader = await CheckpointReader.open(files, join(directory, info.file), this.#options);
      try {
        await restoreShard(store, reader, async () => {
          signal.throwIfAborted();
          await yieldNow();
        });
      } finally {
        await reader.close();
      }
    } catch (error) {
      if (isFreshetError(error, 'DATA_DAMAGED') && error.place === join(directory, info.file)) {
        this.#list = this.#list.filter(({ file }) => file !== info.file);
        await this.#disown(info.file);
      }
      throw error;
    }
  }

  async forget(info: CheckpointInfo): Promise<void> {
    const { files, directory } = this.#options;
    const name = info.file + USELESS;
    this.#list = this.#list.filter((one) => one !== info);
    this.#useless.push(name);
    await onDisk(directory, async () => {
      await files.rename(join(directory, info.file), join(directory, name));
      await files.syncDirectory(directory);
    });
  }

  async removeOthers(kept: CheckpointInfo): Promise<number> {
    const { files, directory } = this.#options;
    const others = [...this.#useless, ...this.#list.map(({ file }) => file)].filter((file) => file !== kept.file);
    for (const file of others) {
      await onDisk(directory, () => files.remove(join(directory, file)));
      this.#list = this.#list.filter((info) => info.file !== file);
      this.#useless = this.#useless.filter((one) => one !== file);
    }
    await onDisk(directory, () => files.syncDirectory(directory));
    return others.length;
  }

  /** Puts a file that is not right out of the way, in place of one put there before. */
  async #disown(name: string): Promise<void> {
    const { files, directory } = this.#options;
    await onDisk(directory, async () => {
      for (const entry of await files.list(directory)) {
        if (entry.name.endsWith(DAMAGED)) await files.remove(join(directory, entry.name));
      }
      await files.rename(join(directory, name), join(directory, name + DAMAGED));
    });
  }

  async #prune(taken: CheckpointInfo, kept: number): Promise<void> {
    const { files, directory } = this.#options;
    for (const file of this.#useless) {
      // One of another version of the engine may have had the name that this one has.
      if (file !== taken.file) await onDisk(directory, () => files.remove(join(directory, file)));
    }
    this.#useless = [];
    for (const old of checkpointsToRemove(this.#list, taken, kept)) {
      await onDisk(directory, () => files.remove(join(directory, old.file)));
      this.#list = this.#list.filter((info) => info !== old);
    }
  }

  /** Throws DISK_FULL when a checkpoint would not fit. */
  async #checkRoom(): Promise<void> {
    const { files, directory, shard } = this.#options;
    const expected = Math.max(FIRST_BYTES, (this.#list[0]?.bytes ?? 0) * GROWTH);
    const free = await onDisk(directory, () => files.freeBytes(directory));
    if (free >= expected + RESERVE_BYTES) return;
    throw new FreshetError(
      'DISK_FULL',
      `shard ${shard} takes no checkpoint: it needs about ${mib(expected)} with ${mib(RESERVE_BYTES)} to spare, ` +
        `and ${mib(free)} are free`,
      { place: directory, remedy: 'free some room on the disk; the log is kept from the last checkpoint on meanwhile' },
    );
  }
}

/** The checkpoints in a shard's directory, newest first, as they say of themselves; `onDamaged` is told the names of others. */
export async function listCheckpoints(
  files: FileSystem,
  directory: string,
  onDamaged: (name: string, error: FreshetError) => void | Promise<void>,
): Promise<CheckpointInfo[]> {
  const found: CheckpointInfo[] = [];
  for (const { name, kind } of await onDisk(directory, () => files.list(directory))) {
    if (kind !== 'file' || !isCheckpointName(name)) continue;
    try {
      const { header, footer, bytes } = await summarizeCheckpoint(files, join(directory, name));
      const { states, stateDigest } = footer;
      found.push(describe(header, { states: Number(states), bytes, stateDigest }, name));
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      await onDamaged(name, error);
    }
  }
  return found.sort(newestFirst);
}

export function infoOf(content: CheckpointContent, file: string): CheckpointInfo {
  return describe(content.header, content, file);
}

function describe(
  header: CheckpointHeader,
  content: { readonly states: number; readonly bytes: number; readonly stateDigest: Uint8Array },
  file: string,
): CheckpointInfo {
  return {
    shard: header.shard,
    logId: toHex(header.logId),
    position: Number(header.position),
    logTimeUs: Number(header.logTimeUs),
    recordCrc: header.recordCrc,
    engineVersion: header.engineVersion,
    takenAtUs: Number(header.takenAtUs),
    bytes: content.bytes,
    states: content.states,
    stateDigest: toHex(content.stateDigest),
    file,
  };
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
