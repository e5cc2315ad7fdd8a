/**
 * Goal: a shard is followed from a node that can be hoped to have it, without storms and without needless moves.
 * Method: the choice is a function of what was noted; its cases one by one, its laws at random.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseUpstream, Standing } from './upstreams.ts';

const NOTHING = (): number => 0;
const HALF = (): number => 0.5;

function choose(offering: readonly string[], standing: Standing, nowUs = 0, last?: string): string | undefined {
  return chooseUpstream(offering, last, standing, { nowUs, load: NOTHING })?.address;
}

describe('which node a shard is followed from', () => {
  it('is the one with the least load, and stays the one that it was', () => {
    const loads = new Map([
      ['a:1', 3],
      ['b:1', 1],
    ]);
    const options = { nowUs: 0, load: (address: string) => loads.get(address) ?? 0 };
    expect(chooseUpstream(['a:1', 'b:1'], undefined, new Standing(HALF), options)?.address).toBe('b:1');
    expect(chooseUpstream(['a:1', 'b:1'], 'a:1', new Standing(HALF), options)?.address).toBe('a:1');
    expect(chooseUpstream([], 'a:1', new Standing(HALF), options)).toBeUndefined();
  });

  it('is another one while a node that failed rests, and the one whose rest ends first when all do', () => {
    const standing = new Standing(HALF);
    standing.note('a:1', 'failed', 0);
    expect(choose(['a:1', 'b:1'], standing, 0, 'a:1')).toBe('b:1');
    standing.note('b:1', 'failed', 10);
    const choice = chooseUpstream(['b:1', 'a:1'], 'b:1', standing, { nowUs: 20, load: NOTHING });
    expect(choice).toEqual({ address: 'a:1', notBeforeUs: standing.restsUntilUs('a:1') });
    expect(choose(['a:1', 'b:1'], standing, 2_000_000, 'b:1')).toBe('b:1');
  });

  it('R4: rests grow to a second, whatever the jitter, and are forgotten when a node does well', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (failures, jitter) => {
          const standing = new Standing(() => jitter);
          for (let i = 0; i < failures; i++) standing.note('a:1', 'failed', 0);
          const restUs = standing.restsUntilUs('a:1');
          expect(restUs).toBeGreaterThanOrEqual(Math.min(1_000_000, 50_000 * 2 ** (failures - 1)) / 2);
          expect(restUs).toBeLessThanOrEqual(1_000_000);
          standing.clear('a:1');
          expect(standing.restsUntilUs('a:1')).toBe(-Infinity);
        },
      ),
    );
  });

  it('R3: rows are begun anew only when no other node can be hoped to have ours', () => {
    const standing = new Standing(HALF);
    expect(standing.mayBeginAnew('a:1', ['a:1'])).toBe(true);
    expect(standing.mayBeginAnew('a:1', ['a:1', 'b:1'])).toBe(false);
    standing.note('b:1', 'failed', 0);
    expect(standing.mayBeginAnew('a:1', ['a:1', 'b:1'])).toBe(false);
    for (let i = 0; i < 4; i++) standing.note('b:1', 'failed', 0);
    expect(standing.mayBeginAnew('a:1', ['a:1', 'b:1'])).toBe(true);
    standing.clear('b:1');
    standing.note('b:1', 'foreign', 0);
    expect(standing.mayBeginAnew('a:1', ['a:1', 'b:1'])).toBe(true);
    expect(standing.mayBeginAnew('a:1', ['a:1', 'b:1', 'c:1'])).toBe(false);
  });
});
