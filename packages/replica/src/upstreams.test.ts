/**
 * Goal: every offered shard is followed from exactly one node, without needless moves.
 * Method: the choice is a pure function; its cases one by one, and its laws at random.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignShards, type Upstream } from './upstreams.ts';

const none = new Map<string, readonly number[]>();
const trusted = new Set<string>();

describe('assignShards', () => {
  it('spreads shards that several nodes offer', () => {
    const both = [
      { address: 'a:1', shards: [0, 1, 2, 3] },
      { address: 'b:1', shards: [0, 1, 2, 3] },
    ];
    const assigned = assignShards(both, none, trusted);
    expect(assigned.get('a:1')).toHaveLength(2);
    expect(assigned.get('b:1')).toHaveLength(2);
  });

  it('leaves a shard where it is when another node comes, and moves it when its own is suspect and another is not', () => {
    const both = [
      { address: 'a:1', shards: [0] },
      { address: 'b:1', shards: [0] },
    ];
    const before = new Map([['b:1', [0]]]);
    expect(assignShards(both, before, trusted).get('b:1')).toEqual([0]);
    expect(assignShards(both, before, new Set(['b:1'])).get('a:1')).toEqual([0]);
    expect(assignShards(both, before, new Set(['a:1', 'b:1'])).get('b:1')).toEqual([0]);
    // A node that is alone is followed however suspect it is.
    expect(assignShards([both[0] as Upstream], none, new Set(['a:1'])).get('a:1')).toEqual([0]);
  });

  it('assigns each offered shard once, to a node that offers it', () => {
    const upstreams = fc.array(
      fc.record({ address: fc.constantFrom('a', 'b', 'c'), shards: fc.array(fc.integer({ min: 0, max: 5 })) }),
    );
    const suspects = fc.subarray(['a', 'b', 'c']);
    fc.assert(
      fc.property(upstreams, upstreams, suspects, (first, second, suspect) => {
        const assigned = assignShards(second, assignShards(first, none, trusted), new Set(suspect));
        const shards = [...assigned.values()].flat();
        expect(new Set(shards).size).toBe(shards.length);
        expect(new Set(shards)).toEqual(new Set(second.flatMap((u) => u.shards)));
        for (const [address, list] of assigned) {
          for (const shard of list)
            expect(second.some((u) => u.address === address && u.shards.includes(shard))).toBe(true);
        }
      }),
    );
  });
});
