/**
 * What each part of a shard may take, given what all shards of a process may take together (R4). Pure.
 *
 * Of a shard's share, at most at once:
 *
 *     1/2    key state in memory; what is dirty of it cannot be dropped until it is committed. A quarter of it at most is what is
 *            known of the rows of keys that have very many (packages/engine/src/contributions/partials-share.ts)
 *     3/16   a commit: four times commitBytes, as encoded state, as sealed copies, and as the store's batch
 *     1/16   the newest changes, kept for followers
 *     1/16   encoded rows, kept for several followers
 *     1/32   the store's block cache
 *     1/16   the store's writes that are no table yet, twice
 *
 * The rest, a tenth, is for pages, frames and checkpoints under way. What the process takes beside that is told by
 * docs/running.md.
 */
import { FreshetError } from '@freshet/kit/errors.ts';

export interface ShardBudget {
  readonly cacheBytes: number;
  readonly commitBytes: number;
  readonly tailBytes: number;
  readonly rowCacheBytes: number;
  readonly blockCacheBytes: number;
  readonly writeBufferBytes: number;
}

const MIB = 1024 * 1024;
/** Below it a shard commits and reads its store again and again. */
const SHARD_BYTES_MIN = 4 * MIB;
const COMMIT_BYTES_MAX = 16 * MIB;
const TAIL_BYTES_MAX = 16 * MIB;
const BLOCK_CACHE_BYTES_MAX = 8 * MIB;
const WRITE_BUFFER_BYTES_MAX = 8 * MIB;

/** Divides a process's bytes over its shards. Throws INVALID_CONFIG when that is too little for each. */
export function shardBudget(processBytes: number, shards: number): ShardBudget {
  const share = Math.floor(processBytes / Math.max(1, shards));
  if (share < SHARD_BYTES_MIN) {
    const least = `${(SHARD_BYTES_MIN * shards) / MIB}MiB`;
    throw new FreshetError('INVALID_CONFIG', `--cache-bytes is too little for ${shards} shards`, {
      remedy: `give at least --cache-bytes ${least} (4 MiB a shard), or fold fewer shards here with --shards`,
    });
  }
  return {
    cacheBytes: Math.floor(share / 2),
    commitBytes: Math.min(COMMIT_BYTES_MAX, Math.floor(share / 64)),
    tailBytes: Math.min(TAIL_BYTES_MAX, Math.floor(share / 16)),
    rowCacheBytes: Math.min(TAIL_BYTES_MAX, Math.floor(share / 16)),
    blockCacheBytes: Math.min(BLOCK_CACHE_BYTES_MAX, Math.floor(share / 32)),
    writeBufferBytes: Math.min(WRITE_BUFFER_BYTES_MAX, Math.floor(share / 32)),
  };
}
