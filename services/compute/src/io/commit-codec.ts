/** A commit as CommitRecord, and back. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CommitRecordSchema } from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import { KeySet } from '../core/key-set.ts';
import type { Commit } from '../core/shard-storage.ts';

/** The layout of the store that this version writes and reads. */
export const FORMAT = 2;

/** What a commit record says beside the commit. */
export interface CommitFrame {
  readonly format: number;
  readonly shard: number;
  readonly chain: Buffer;
  /** The number of the commit. */
  readonly commits: number;
  readonly journalStart: number;
  /** By instance of the commit. */
  readonly keySets: ReadonlyMap<string, KeySet>;
}

export function encodeCommit(commit: Commit, frame: CommitFrame): Uint8Array {
  const record = create(CommitRecordSchema, {
    format: frame.format,
    shard: frame.shard,
    logId: Buffer.from(commit.logId, 'hex'),
    position: BigInt(commit.position),
    logTimeUs: BigInt(commit.logTimeUs),
    recordCrc: commit.recordCrc,
    foldMeta: commit.foldMeta,
    instances: commit.instances.map((i) => ({
      instance: Buffer.from(i.instance, 'hex'),
      complete: i.complete,
      journaledFrom: BigInt(i.journaledFrom),
      keys: BigInt(frame.keySets.get(i.instance)?.keys ?? 0),
      keyDigest: frame.keySets.get(i.instance)?.digest ?? 0n,
      begunAt: BigInt(i.begunAt ?? 0),
    })),
    chain: frame.chain,
    commits: BigInt(frame.commits),
    journalStart: BigInt(frame.journalStart),
    begunAt: BigInt(commit.begunAt),
    erasedBelow: BigInt(commit.erasedBelow),
  });
  return toBinary(CommitRecordSchema, record);
}

/** Throws when the bytes are no commit record. */
export function decodeCommit(bytes: Uint8Array): { commit: Commit; frame: CommitFrame } {
  const record = fromBinary(CommitRecordSchema, bytes);
  const keySets = new Map<string, KeySet>();
  const instances = record.instances.map((i) => {
    const instance = Buffer.from(i.instance).toString('hex');
    keySets.set(instance, new KeySet(Number(i.keys), i.keyDigest));
    const begunAt = i.begunAt === 0n ? {} : { begunAt: Number(i.begunAt) };
    return { instance, complete: i.complete, journaledFrom: Number(i.journaledFrom), ...begunAt };
  });
  const commit: Commit = {
    logId: Buffer.from(record.logId).toString('hex'),
    position: Number(record.position),
    logTimeUs: Number(record.logTimeUs),
    recordCrc: record.recordCrc,
    foldMeta: record.foldMeta,
    instances,
    begunAt: Number(record.begunAt),
    erasedBelow: Number(record.erasedBelow),
  };
  const { format, shard, commits, journalStart } = record;
  const chain = Buffer.from(record.chain);
  return {
    commit,
    frame: { format, shard, chain, commits: Number(commits), journalStart: Number(journalStart), keySets },
  };
}
