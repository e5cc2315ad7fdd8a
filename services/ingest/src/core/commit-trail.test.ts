/**
 * Goal: a database that tells again what it told is known as the same, wherever it begins and whatever was acknowledged; one
 * with other commits in their place is not. Method: generated histories into the pure trail and retelling.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommitTrail, type Known, type Landmark, Retelling } from './commit-trail.ts';

interface Told {
  readonly commitLsn: bigint;
  readonly endLsn: bigint;
  readonly atUs: number;
}

/** Commits with ends that grow, from `fromLsn` on. */
const commitsFrom = (fromLsn: bigint, firstUs: number, max = 12): fc.Arbitrary<Told[]> =>
  fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: max }).map((gaps) => {
    let endLsn = fromLsn;
    return gaps.map((gap, i) => {
      endLsn += BigInt(gap);
      return { commitLsn: endLsn - 1n, endLsn, atUs: firstUs + i };
    });
  });

/** Where another history shows when a database tells again what ended after `fromLsn`, and that nothing else is before `endLsn`. */
function strayOf(known: Known, history: readonly Told[], fromLsn: bigint, endLsn: bigint): bigint | undefined {
  const retelling = new Retelling(known, fromLsn);
  for (const commit of history) if (commit.endLsn > fromLsn) retelling.commit(commit);
  retelling.passed(endLsn);
  expect(retelling.isOver).toBe(true);
  return retelling.strayLsn;
}

/** The landmark after acknowledging positions, some of which are no commit's end. */
function landmarkOf(history: readonly Told[], acknowledged: readonly bigint[], from: bigint): Landmark {
  const trail = new CommitTrail();
  for (const commit of history) trail.came(commit);
  let landmark: Landmark = { endLsn: 0n, atUs: 0, untilLsn: from };
  let at = from;
  for (const lsn of acknowledged) {
    landmark = trail.landmark(landmark, at, lsn) ?? landmark;
    at = lsn;
  }
  return landmark;
}

const FROM = 100n;
const END = 400n;

describe('a history that is told again', () => {
  it('F2: is known as the same, wherever the slot was set back to and whatever came since', () => {
    const cases = fc.tuple(commitsFrom(FROM, 1), fc.array(fc.integer({ min: 1, max: 30 })), fc.nat(200));
    fc.assert(
      fc.property(cases, ([history, steps, back]) => {
        let at = FROM;
        const acknowledged = steps.map((step) => {
          at += BigInt(step);
          return at;
        });
        const landmark = landmarkOf(history, acknowledged, FROM);
        expect(strayOf({ landmark }, history, FROM + BigInt(back), END)).toBeUndefined();
      }),
    );
  });

  it('F2: is known as another from where the two part, when commits up to the acknowledged position differ', () => {
    const cases = fc.tuple(commitsFrom(FROM, 1), fc.nat(12), fc.nat(300), fc.integer({ min: 1, max: 40 }));
    fc.assert(
      fc.property(cases, ([history, kept, back, more]) => {
        const same = history.slice(0, kept);
        const partedLsn = same.at(-1)?.endLsn ?? FROM;
        const acknowledged = (history.at(-1)?.endLsn ?? FROM) + BigInt(more);
        const landmark = landmarkOf(history, [acknowledged], FROM);
        // Put back to where the two part, with a slot that says no more than that.
        const fromLsn = partedLsn - BigInt(back) < FROM ? FROM : partedLsn - BigInt(back);
        const firstOther = partedLsn + 1n;
        const other = [...same, { commitLsn: partedLsn, endLsn: firstOther, atUs: 1_000 }];
        const parts = firstOther <= acknowledged;
        expect(strayOf({ landmark }, other, fromLsn, END) !== undefined).toBe(parts);
      }),
    );
  });

  it('F2: is known by the newest commit in the log, which may be behind what is acknowledged', () => {
    fc.assert(
      fc.property(commitsFrom(FROM, 1), fc.nat(12), fc.nat(2), (history, kept, how) => {
        const logged = history.at(-1);
        fc.pre(logged !== undefined && kept < history.length);
        const landmark = { endLsn: 0n, atUs: 0, untilLsn: FROM };
        const same = history.slice(0, kept);
        const at = same.at(-1)?.endLsn ?? FROM;
        const others: Told[][] = [
          [],
          [{ commitLsn: logged.commitLsn, endLsn: logged.endLsn, atUs: 1_000 }],
          [{ commitLsn: at, endLsn: END, atUs: 1_000 }],
        ];
        const other = [...same, ...(others[how] ?? [])];
        expect(strayOf({ landmark, logged }, history, FROM, END)).toBeUndefined();
        expect(strayOf({ landmark, logged }, other, FROM, END)).toBeDefined();
        // What the slot says was acknowledged is not told again.
        expect(new Retelling({ landmark, logged }, logged.endLsn).isOver).toBe(true);
        const ended = new Retelling({ landmark, logged }, FROM);
        ended.ends(at);
        expect(ended.strayLsn).toBe(at);
      }),
    );
  });

  it('forgets the oldest of very many commits, and is as sure of the newest', () => {
    const trail = new CommitTrail();
    for (let i = 1; i <= 200_000; i++) trail.came({ commitLsn: BigInt(i - 1), endLsn: BigInt(i), atUs: i });
    const before = { endLsn: 0n, atUs: 0, untilLsn: 0n };
    expect(trail.landmark(before, 0n, 10n)).toEqual(before);
    expect(trail.landmark(before, 10n, 199_999n)).toEqual({ endLsn: 199_999n, atUs: 199_999, untilLsn: 199_999n });
    // Acknowledged, so the one after it is known to be the next.
    expect(trail.landmark(undefined, 199_999n, 200_000n)).toEqual({
      endLsn: 200_000n,
      atUs: 200_000,
      untilLsn: 200_000n,
    });
    expect(trail.take()).toEqual([{ commitLsn: 199_999n, endLsn: 200_000n, atUs: 200_000 }]);
  });
});
