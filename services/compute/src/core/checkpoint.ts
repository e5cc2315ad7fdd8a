/**
 * Checkpoints of a shard: what is known of one, which are kept, and what a shard needs of where they lie
 * (io/checkpoint-directory.ts).
 *
 * Invariant L2: the newest of the log that is folded is never removed, and what ingest is told of is the oldest that is
 * kept, so that each of them can still be folded on from.
 */
import type { StateDigest } from './fold-port.ts';
import type { StateSnapshot } from './shard-storage.ts';

/** How states are read and digested; checkpoints of another engine version are of no use. */
export interface CheckpointFormat {
  readonly engineVersion: number;
  /** Hashes committed state into the digest of F1. */
  readonly createDigest: (foldMeta: Uint8Array) => StateDigest;
  /** The version in an encoded state. */
  readonly versionOf: (state: Uint8Array) => number;
}

/** A checkpoint that was verified when it was written. */
export interface CheckpointInfo {
  readonly shard: number;
  /** The log's id in hex. */
  readonly logId: string;
  readonly position: number;
  /** The log time of the last record folded, microseconds. */
  readonly logTimeUs: number;
  /** The CRC of the last record folded. */
  readonly recordCrc: number;
  readonly engineVersion: number;
  /** When it was begun, by the wall clock, microseconds. */
  readonly takenAtUs: number;
  /** Bytes of the file. */
  readonly bytes: number;
  readonly states: number;
  /** The digest of F1, in hex. */
  readonly stateDigest: string;
  /** The file's name. */
  readonly file: string;
}

/** Where a shard's checkpoints lie. */
export interface ShardCheckpoints {
  /** Those there are, newest first. */
  readonly list: readonly CheckpointInfo[];
  /**
   * Writes a checkpoint, reads it back and verifies it, and removes those that are no longer kept. Throws DISK_FULL
   * before it writes when there is no room; DATA_DAMAGED when the store's state, or what was read back, is not right.
   */
  take(snapshot: StateSnapshot, signal: AbortSignal): Promise<CheckpointInfo>;
  /**
   * Fills the shard's store, which must be closed and hold nothing, with a checkpoint. Throws DATA_DAMAGED when the file
   * is not right: it is then out of the list, and the store holds nothing still.
   */
  restore(info: CheckpointInfo, signal: AbortSignal): Promise<void>;
  /**
   * Takes one out of the list that is of no use with the log as it is: of another history that has the same id, or of a
   * position that the log does not reach back to. It is not listed after a restart either; its file goes when the next
   * checkpoint was taken.
   */
  forget(info: CheckpointInfo): Promise<void>;
}

/** Newest first: the furthest, of those the one taken last. */
export function newestFirst(a: CheckpointInfo, b: CheckpointInfo): number {
  return b.position - a.position || b.takenAtUs - a.takenAtUs;
}

/**
 * Those that need not be kept once one was taken: of its log the newest `kept` up to it stay, and of other logs the one
 * taken last, so that a wrong --log is undone by giving the right one again. Those of its log that are further are not
 * newer: the shard was further in another history of the log, or will be there again.
 */
export function checkpointsToRemove(
  all: readonly CheckpointInfo[],
  taken: CheckpointInfo,
  kept: number,
): CheckpointInfo[] {
  const { logId, position } = taken;
  const ours = all.filter((info) => info.logId === logId).sort(newestFirst);
  const upToIt = ours.filter((info) => info.position <= position);
  const others = all.filter((info) => info.logId !== logId).sort((a, b) => b.takenAtUs - a.takenAtUs);
  const further = ours.filter((info) => info.position > position);
  return [...further, ...upToIt.slice(Math.max(1, kept)), ...others.slice(1)];
}

/** The position from which on a log must be kept for these; 0: all of it. */
export function neededFrom(all: readonly CheckpointInfo[], logId: string): number {
  const positions = all.filter((info) => info.logId === logId).map(({ position }) => position);
  return positions.length === 0 ? 0 : Math.min(...positions);
}

const NAME = /^(\d{16})-([0-9a-f]{16})\.ckpt$/;

/** The name of a checkpoint's file: names sort by position. Two nodes' checkpoints at one position have one name (F1). */
export function checkpointName(position: number, stateDigest: string): string {
  return `${String(position).padStart(16, '0')}-${stateDigest.slice(0, 16).padEnd(16, '0')}.ckpt`;
}

export function isCheckpointName(name: string): boolean {
  return NAME.test(name);
}
