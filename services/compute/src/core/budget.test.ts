/**
 * Goal: R4 by arithmetic: what the parts of a shard may take together stays inside its share, whatever is asked for.
 * Method: random budgets and numbers of shards; the parts are added up as budget.ts says they are used.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shardBudget } from './budget.ts';

const MIB = 2 ** 20;

describe('shardBudget', () => {
  it('R4: the parts of all shards are within the budget of the process', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 256 }), fc.integer({ min: 4, max: 4096 }), (shards, mibEach) => {
        const bytes = shards * mibEach * MIB;
        const part = shardBudget(bytes, shards);
        const commit = 3 * 4 * part.commitBytes;
        const stores = part.blockCacheBytes + 2 * part.writeBufferBytes;
        const all = part.cacheBytes + commit + part.tailBytes + part.rowCacheBytes + stores;
        expect(all * shards).toBeLessThanOrEqual(0.95 * bytes);
        // What is dirty cannot be dropped from the cache: five times what it is encoded, four commits of it.
        expect(5 * 4 * part.commitBytes).toBeLessThanOrEqual(part.cacheBytes);
      }),
    );
  });

  it('says how much is needed when it is too little', () => {
    expect(() => shardBudget(64 * MIB, 64)).toThrow('--cache-bytes is too little for 64 shards');
  });
});
