/**
 * Fills a shard's empty store with the state of a checkpoint.
 *
 *     mark ──▶ states, batch by batch ──▶ all of the file was checked ──▶ one batch: commit record in, mark out
 *
 * Owns that order. A crash before the last batch leaves the mark, by which the store counts as empty, and the restore
 * begins again. Every batch is synced: the store may have forgotten its own log of an earlier one by the time of a later,
 * and a hole between them would only show when all state is read.
 *
 * The chain goes on from the checkpoint's; the journal begins at its position, so that followers behind it get a pass.
 */
import { assert } from '@freshet/kit/assert.ts';
import { bytesOf, type CheckpointContent, type CheckpointReader } from './checkpoint-file.ts';
import { CommitChain } from './commit-chain.ts';
import { decodeCommit, encodeCommit, FORMAT } from './commit-codec.ts';
import { openStore, type ShardStoreOptions } from './shard-store.ts';
import { COMMIT_KEY, EVERYTHING, RESTORE_KEY, StateKeys } from './store-keys.ts';

/** What is gathered into a batch, in bytes. */
const BATCH_BYTES = 4 * 1024 * 1024;
const CLEAR_KEYS = 5_000;

/**
 * Restores what a reader that was just opened reads; `pause` is awaited after each piece with its bytes. Throws
 * DATA_DAMAGED of the file, with the file as its place, and then leaves a store that counts as empty; DISK_FULL and its
 * like.
 */
export async function restoreShard(
  options: ShardStoreOptions,
  reader: CheckpointReader,
  pause: (bytes: number) => Promise<void>,
): Promise<CheckpointContent> {
  const store = await openStore(options);
  try {
    assert((await store.get(COMMIT_KEY)) === undefined, 'a checkpoint is restored into a store that holds nothing');
    while ((await store.clear(EVERYTHING, CLEAR_KEYS)) > 0) await pause(0);
    const keys = new StateKeys();
    let batch = store.batch();
    let bytes = 0;
    batch.put(RESTORE_KEY, new Uint8Array(0));
    const states = reader.states();
    let next = await states.next();
    for (; next.done !== true; next = await states.next()) {
      for (const [instance, key, state] of next.value) batch.putUnder(keys.prefix(instance), key, state);
      bytes += bytesOf(next.value);
      await pause(bytesOf(next.value));
      if (bytes < BATCH_BYTES) continue;
      await batch.write({ sync: true });
      batch = store.batch();
      bytes = 0;
    }
    await batch.write({ sync: true });
    const last = store.batch();
    const { commit, frame } = decodeCommit(reader.header.commit);
    const chain = new CommitChain();
    chain.chain = frame.chain;
    chain.number = frame.commits;
    const begun = { ...frame, format: FORMAT, commits: frame.commits + 1, journalStart: commit.position };
    const unchained = encodeCommit(commit, { ...begun, chain: Buffer.alloc(0) });
    const place = { from: commit.position, to: commit.position, bytes: unchained.length };
    const link = chain.extend(last, place, [unchained]);
    last.put(COMMIT_KEY, encodeCommit(commit, { ...begun, chain: link.chain }));
    last.delete(RESTORE_KEY);
    await last.write({ sync: true });
    return next.value;
  } finally {
    await store.close();
  }
}
