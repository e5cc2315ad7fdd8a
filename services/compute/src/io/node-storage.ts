/**
 * Where a node keeps its shards, below its data directory:
 *
 *     shards/3/                    the store of shard 3
 *     shards/3.aside-0001/         one that was put out of the way
 *     shards/3.discarding          the names of what lies put aside and stays; the rest is to go
 *     checkpoints/shard-3/         its checkpoints
 *
 * Owns these places. Does not own what is in them (shard-store.ts, checkpoint-directory.ts).
 */
import { basename, dirname, join } from 'node:path';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type FileSystem, removeDurably } from '@freshet/log/file-system.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import type { CheckpointFormat } from '../core/checkpoint.ts';
import type { ShardHostOptions } from '../core/shard-host.ts';
import { CheckpointDirectory, type CheckpointDirectoryOptions } from './checkpoint-directory.ts';
import { onDisk } from './checkpoint-file.ts';
import { ShardStore, type ShardStoreOptions, storeRules } from './shard-store.ts';
import { StateKeys } from './store-keys.ts';

export interface NodeStorageOptions {
  readonly stores: Stores;
  readonly files: FileSystem;
  readonly dataDir: string;
  readonly clock: Pick<Clock, 'nowUs'>;
  readonly yieldNow: () => Promise<unknown>;
  readonly format: CheckpointFormat;
  readonly checkpointsKept: number;
  /** Of each shard's store. */
  readonly blockCacheBytes?: number | undefined;
  readonly writeBufferBytes?: number | undefined;
}

/** A disk that took no write is tried again only with so much free: what a commit and its compaction may take at once. */
const FREE_BYTES = 32 * 1024 * 1024;
const PROBE_BYTES = 64 * 1024;

export type NodeStorage = Pick<
  ShardHostOptions,
  'openStorage' | 'setAside' | 'discard' | 'openCheckpoints' | 'checkDisk' | 'compact' | 'asides' | 'removeAside'
>;

export function shardDirectory(dataDir: string, shard: number): string {
  return join(dataDir, 'shards', String(shard));
}

export function checkpointDirectory(dataDir: string, shard: number): string {
  return join(dataDir, 'checkpoints', `shard-${shard}`);
}

export function nodeStorage(options: NodeStorageOptions): NodeStorage {
  const { stores, files, dataDir } = options;
  return {
    openStorage: async (shard) => {
      await endDiscarding(files, dataDir, shard);
      return ShardStore.open(storeOptions(options, shard));
    },
    setAside: (shard) => stores.setAside(shardDirectory(dataDir, shard)),
    discard: (shard) => discard(options, shard),
    openCheckpoints: (shard) => CheckpointDirectory.open(checkpointOptions(options, shard)),
    checkDisk: () => checkDisk(files, dataDir),
    compact: (shard, states) => {
      const keys = new StateKeys();
      const names = states.map(([instance, key]) => keys.key(instance, key));
      return stores.compact(shardDirectory(dataDir, shard), storeRules(storeOptions(options, shard)), names);
    },
    asides: (shard) => asidesOf(files, dataDir, shard),
    removeAside: (path) => onDisk(path, () => removeDurably(files, path)),
  };
}

/** What lies there of a shard that was put aside because it was damaged, or of another log: paths. */
async function asidesOf(files: FileSystem, dataDir: string, shard: number): Promise<string[]> {
  const isDamaged = (name: string): boolean => name.endsWith('.damaged');
  const checkpoints = await namesIn(files, checkpointDirectory(dataDir, shard), isDamaged);
  return [...(await storesAside(files, dataDir, shard)), ...checkpoints];
}

function storesAside(files: FileSystem, dataDir: string, shard: number): Promise<string[]> {
  return namesIn(files, join(dataDir, 'shards'), (name) => name.startsWith(`${shard}.aside-`));
}

function namesIn(files: FileSystem, directory: string, is: (name: string) => boolean): Promise<string[]> {
  return onDisk(directory, async () => {
    if ((await files.stat(directory))?.kind !== 'directory') return [];
    return (await files.list(directory)).flatMap(({ name }) => (is(name) ? [join(directory, name)] : []));
  });
}

/**
 * A directory cannot be removed in one step, and what is left of a half removed store would be opened. So what lies aside and
 * stays is written down first, then the store is put aside, and what is not written down goes: now, or before the next opening.
 */
async function discard({ files, stores, dataDir }: NodeStorageOptions, shard: number): Promise<void> {
  const kept = await storesAside(files, dataDir, shard);
  const path = discardingPath(dataDir, shard);
  await onDisk(path, async () => {
    await files.makeDirectory(dirname(path));
    const file = await files.open(`${path}.new`, 'overwrite');
    try {
      await file.write([Buffer.from(JSON.stringify(kept.map((each) => basename(each))))], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(`${path}.new`, path);
    await files.syncDirectory(dirname(path));
  });
  await stores.setAside(shardDirectory(dataDir, shard));
  await endDiscarding(files, dataDir, shard);
}

async function endDiscarding(files: FileSystem, dataDir: string, shard: number): Promise<void> {
  const path = discardingPath(dataDir, shard);
  await onDisk(path, async () => {
    const size = (await files.stat(path))?.size;
    if (size === undefined) return;
    const text = Buffer.alloc(size);
    const file = await files.open(path, 'read');
    try {
      await file.read(text, 0);
    } finally {
      await file.close();
    }
    const kept = new Set(JSON.parse(text.toString()) as string[]);
    for (const each of await storesAside(files, dataDir, shard)) {
      if (!kept.has(basename(each))) await files.removeDirectory(each);
    }
    // Durably, and before the note goes: a power cut must not bring the store back without it, nor the note alone, by which what
    // is put aside later would go.
    await files.syncDirectory(dirname(path));
    await files.remove(path);
    await files.syncDirectory(dirname(path));
  });
}

function discardingPath(dataDir: string, shard: number): string {
  return join(dataDir, 'shards', `${shard}.discarding`);
}

export function checkpointOptions(options: NodeStorageOptions, shard: number): CheckpointDirectoryOptions {
  const { files, dataDir, clock, yieldNow, format, checkpointsKept } = options;
  const directory = checkpointDirectory(dataDir, shard);
  return {
    ...format,
    files,
    directory,
    shard,
    kept: checkpointsKept,
    clock,
    yieldNow,
    store: storeOptions(options, shard),
  };
}

function storeOptions(options: NodeStorageOptions, shard: number): ShardStoreOptions {
  const { stores, dataDir, yieldNow, format, blockCacheBytes, writeBufferBytes } = options;
  const directory = shardDirectory(dataDir, shard);
  const { versionOf } = format;
  return { stores, directory, shard, yieldNow, versionOf, blockCacheBytes, writeBufferBytes };
}

/** Throws what the disk says when it takes no writes, or has hardly any room. */
async function checkDisk(files: FileSystem, dataDir: string): Promise<void> {
  const path = join(dataDir, 'probe.new');
  await onDisk(dataDir, async () => {
    const free = await files.freeBytes(dataDir);
    if (free < FREE_BYTES) {
      throw new FreshetError('DISK_FULL', `${Math.floor(free / 1024)} KiB are free`, {
        place: dataDir,
        remedy: 'free some room on it; work goes on by itself',
      });
    }
    const file = await files.open(path, 'overwrite');
    try {
      await file.write([new Uint8Array(PROBE_BYTES)], 0);
      await file.sync();
    } finally {
      await file.close();
      await files.remove(path);
    }
  });
}
