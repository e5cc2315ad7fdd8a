/** A commit as CommitRecord, and back. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CommitRecordSchema } from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import type { Commit } from '../core/shard-storage.ts';

/** The layout of the store that this version writes and reads. */
export const FORMAT = 1;

/** What a commit record says beside the commit. */
export interface CommitFrame {
  readonly format: number;
  readonly shard: number;
  readonly chain: Buffer;
}

export function encodeCommit(shard: number, commit: Commit, chain: Buffer): Uint8Array {
  const record = create(CommitRecordSchema, {
    format: FORMAT,
    shard,
    logId: Buffer.from(commit.logId, 'hex'),
    position: BigInt(commit.position),
    logTimeUs: BigInt(commit.logTimeUs),
    recordCrc: commit.recordCrc,
    foldMeta: commit.foldMeta,
    instances: commit.instances.map((i) => ({
      instance: Buffer.from(i.instance, 'hex'),
      complete: i.complete,
      journaledFrom: BigInt(i.journaledFrom),
    })),
    chain,
  });
  return toBinary(CommitRecordSchema, record);
}

/** Throws when the bytes are no commit record. */
export function decodeCommit(bytes: Uint8Array): { commit: Commit; frame: CommitFrame } {
  const record = fromBinary(CommitRecordSchema, bytes);
  const commit: Commit = {
    logId: Buffer.from(record.logId).toString('hex'),
    position: Number(record.position),
    logTimeUs: Number(record.logTimeUs),
    recordCrc: record.recordCrc,
    foldMeta: record.foldMeta,
    instances: record.instances.map((i) => ({
      instance: Buffer.from(i.instance).toString('hex'),
      complete: i.complete,
      journaledFrom: Number(i.journaledFrom),
    })),
  };
  return { commit, frame: { format: record.format, shard: record.shard, chain: Buffer.from(record.chain) } };
}
