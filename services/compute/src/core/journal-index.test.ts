/** Goal: the index finds every position's entry, and drops the oldest by age and bytes. Method: examples and a model. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JournalIndex, type JournalSlot } from './journal-index.ts';

function indexOf(ends: readonly number[], bytes = 10): JournalIndex {
  const index = new JournalIndex();
  let from = 5;
  for (const to of ends) {
    index.add({ from, to, logTimeUs: to * 100, bytes });
    from = to;
  }
  return index;
}

describe('JournalIndex', () => {
  it('R1: finds the entry of every position that it covers and of no other', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 6, max: 200 }), { maxLength: 30 }),
        fc.nat(210),
        (ends, position) => {
          const sorted = ends.sort((a, b) => a - b);
          const index = indexOf(sorted);
          const expected = index.slots.find((slot) => slot.from <= position && position < slot.to);
          expect(index.find(position)).toBe(expected);
          expect(index.endingAt(position)).toBe(index.slots.find((slot) => slot.to === position));
        },
      ),
    );
  });

  it('R1: refuses a gap', () => {
    const index = indexOf([10]);
    expect(() => index.add({ from: 11, to: 12, logTimeUs: 0, bytes: 1 })).toThrow('R1');
  });

  it('R4: drops by age and by bytes, oldest first, and keeps the newest', () => {
    const index = indexOf([10, 20, 30, 40]);
    const ends = (slots: readonly JournalSlot[]): number[] => slots.map(({ to }) => to);
    expect(ends(index.expired(4_000, { ageUs: 2_500, bytes: 1_000 }))).toEqual([10]);
    expect(ends(index.expired(4_000, { ageUs: 1e9, bytes: 25 }))).toEqual([10, 20]);
    expect(ends(index.expired(1e12, { ageUs: 0, bytes: 0 }))).toEqual([10, 20, 30]);
    index.remove(index.expired(4_000, { ageUs: 1e9, bytes: 25 }));
    expect(index.bytes).toBe(20);
    expect(index.find(15)).toBeUndefined();
    expect(index.find(25)?.to).toBe(30);
  });

  it('R4: keeps what is pinned longer than its age and its bytes, up to twice the bytes', () => {
    const index = indexOf([10, 20, 30, 40, 50]);
    const ends = (slots: readonly JournalSlot[]): number[] => slots.map(({ to }) => to);
    expect(ends(index.expired(1e12, { ageUs: 0, bytes: 1_000 }, 15))).toEqual([10]);
    expect(ends(index.expired(1e12, { ageUs: 0, bytes: 1_000 }, 20))).toEqual([10, 20]);
    expect(ends(index.expired(0, { ageUs: 1e12, bytes: 25 }, 5))).toEqual([]);
    expect(ends(index.expired(0, { ageUs: 1e12, bytes: 15 }, 5))).toEqual([10, 20]);
    expect(ends(index.expired(0, { ageUs: 1e12, bytes: 0 }, 5))).toEqual([10, 20, 30, 40]);
  });
});
