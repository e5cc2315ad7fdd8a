/**
 * Goal: what the partials of a key are said to take (R4) is what they take: however leaves changed, came and went, as much as
 * partials that were made of the leaves as they are. Method: random changes, and after each the same questions to both. That
 * answers are right: contribution-tree.test.ts.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { zeroCells } from '../state/cells.ts';
import { runnableView } from '../state/view-plan.ts';
import { feature, LIFETIME, rolling, SECOND_US, START_US, view } from '../testing/plans.testing.ts';
import { encodeContribution } from './contribution.ts';
import { Leaf } from './leaf.ts';
import { Partials, SPAN } from './partials.ts';
import { rowHash } from './row-hash.ts';

const TEN = rolling(10, 1);
const VIEW = runnableView(
  view([feature('max', 'max', 'n', TEN), feature('last', 'last', 's', LIFETIME)], { mode: SourceMode.MUTABLE }),
);
const PANE = Math.floor(START_US / SECOND_US);

function leafOf(texts: readonly string[]): Leaf {
  const leaf = new Leaf();
  for (const [offset, text] of texts.entries()) {
    const bytes = Buffer.from(text);
    const row = { bytes, start: 0, end: bytes.length, hash: rowHash(bytes, 0, bytes.length) };
    const eventTimeUs = START_US + (offset % 3) * SECOND_US;
    const values = VIEW.columns.map(({ name }) => (name === 's' ? text : name === 'n' ? offset : null));
    leaf.insert(encodeContribution(row, eventTimeUs, offset, VIEW.inputs, values));
  }
  return leaf;
}

/** What they take once they were asked about two features, one of them in two panes, the first of which is told, and the newest. */
function askedBytes(partials: Partials, leaves: readonly Leaf[], first: number): number {
  const leafAt = (index: number): Leaf => leaves[index]!;
  for (const pane of [first, PANE + 5]) {
    for (const [group, { window, features }] of VIEW.groups.entries()) {
      for (const fold of features) {
        const { width, numeric } = fold.accumulator;
        const wanted = [{ group, pane: window.kind === 'lifetime' ? 0 : pane, fold, at: 0 }];
        partials.refold(wanted, zeroCells(width, numeric), leafAt, START_US, () => true);
      }
    }
  }
  partials.newest(leafAt, START_US, () => true);
  return partials.sizeBytes;
}

it('R4: take what partials of the leaves as they are take, whatever came and went', () => {
  const texts = fc.array(fc.string({ maxLength: 40 }), { maxLength: 5 });
  const steps = fc.array(
    fc.record({
      kind: fc.constantFrom('change', 'insert', 'remove'),
      at: fc.nat(),
      texts,
      pane: fc.constantFrom(PANE, PANE + 1, PANE + 9),
    }),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(fc.array(texts, { minLength: 1, maxLength: 2 * SPAN + 2, size: 'max' }), steps, (first, list) => {
      const leaves = first.map(leafOf);
      const partials = new Partials(VIEW, leaves.length);
      for (const { kind, at, texts: now, pane } of list) {
        if (kind === 'insert') {
          const index = at % (leaves.length + 1);
          leaves.splice(index, 0, leafOf(now));
          partials.insert(index);
        } else if (kind === 'remove' && leaves.length > 1) {
          const index = at % leaves.length;
          leaves.splice(index, 1);
          partials.remove(index);
        } else {
          const index = at % leaves.length;
          leaves[index] = leafOf(now);
          partials.forget(index);
        }
        const spans = partials.spanLengths;
        expect(spans.reduce((sum, length) => sum + length, 0)).toBe(leaves.length);
        if (leaves.length > 0) expect(Math.min(...spans)).toBeGreaterThan(0);
        expect(Math.max(...spans)).toBeLessThanOrEqual(1.5 * SPAN);
        const fresh = new Partials(VIEW, leaves.length, spans);
        expect(askedBytes(partials, leaves, pane)).toBe(askedBytes(fresh, leaves, pane));
      }
    }),
    { numRuns: 60 },
  );
});
