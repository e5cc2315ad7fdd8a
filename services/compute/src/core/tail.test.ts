/** Goal: the tail covers what it says, back to the last commit at least. Method: random pushes and trims, and a model. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Tail } from './tail.ts';

const START = { position: 100, logTimeUs: 7, recordCrc: 9 };

describe('Tail', () => {
  it('R1, R4: has every change from the last commit on, and is bounded before it', () => {
    const push = fc.record({ records: fc.integer({ min: 1, max: 5 }), keys: fc.nat(4), commit: fc.boolean() });
    fc.assert(
      fc.property(fc.array(push, { maxLength: 60 }), fc.constantFrom(0, 1_500, 1e9), (pushes, limit) => {
        const tail = new Tail(START, limit);
        const model = new Map<number, string>();
        let committed = START.position;
        for (const { records, keys, commit } of pushes) {
          const position = tail.end + records;
          const changed = new Set(Array.from({ length: keys }, (_, i) => `${position}/${i}`));
          for (let p = tail.end; p < position; p++) if (keys > 0) model.set(p, `${position}/0`);
          const views = keys > 0 ? new Map([['v', changed]]) : new Map<string, Set<string>>();
          tail.push(views, { position, logTimeUs: position * 2, recordCrc: position });
          expect(tail.headAt(position)).toEqual({ position, logTimeUs: position * 2, recordCrc: position });
          if (commit) committed = position;
          tail.trim(committed);
          expect(tail.start).toBeLessThanOrEqual(committed);
          // R4: what no commit covers is counted, so that it can be bounded.
          expect(tail.bytesAfter(committed)).toBeLessThanOrEqual(tail.bytes);
          expect(tail.bytesAfter(tail.start)).toBe(tail.bytes);
          expect(tail.bytesAfter(tail.end)).toBe(0);
          // Over the limit, the oldest entry is one that the last commit does not wholly cover.
          if (tail.bytes > limit) expect(tail.find(tail.start)?.to).toBeGreaterThan(committed);
        }
        for (let p = START.position; p < tail.end; p++) {
          const found = tail.find(p);
          expect(found === undefined).toBe(p < tail.start);
          if (found === undefined) continue;
          expect(found.from <= p && p < found.to).toBe(true);
          const key = model.get(p);
          if (key !== undefined) expect(found.changed.get('v')?.has(key)).toBe(true);
        }
        expect(tail.find(tail.end)).toBeUndefined();
      }),
    );
  });

  it('keeps a row of ticks as one entry', () => {
    const tail = new Tail(START, 1e9);
    tail.push(new Map(), { position: 101, logTimeUs: 8, recordCrc: 1 });
    const { bytes } = tail;
    for (let i = 0; i < 50; i++) tail.push(new Map(), { position: 102 + i, logTimeUs: 9 + i, recordCrc: i });
    expect(tail.bytes).toBe(bytes);
    expect(tail.find(100)).toMatchObject({ from: 100, to: 151 });
  });
});
