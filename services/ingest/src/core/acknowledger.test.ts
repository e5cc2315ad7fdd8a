/**
 * Goal: I1. Method: random orders of opening and settling against a model that looks at every commit there ever was.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Acknowledger } from './acknowledger.ts';

type Event =
  | { readonly kind: 'open'; readonly commits: boolean }
  | { readonly kind: 'pass' }
  | { readonly kind: 'settle'; readonly pick: number }
  | { readonly kind: 'keepalive'; readonly open: boolean };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ kind: fc.constant('open' as const), commits: fc.boolean() }),
  fc.record({ kind: fc.constant('pass' as const) }),
  fc.record({ kind: fc.constant('settle' as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant('keepalive' as const), open: fc.boolean() }),
);

describe('Acknowledger', () => {
  it('I1: is exactly at the last commit before which everything is durable', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const acknowledger = new Acknowledger(0n);
        let position = 0n;
        const onTheWay: number[] = [];
        // The model: for each commit, the flights that must settle before it may be acknowledged.
        const commits: { position: bigint; needs: Set<number> }[] = [];
        for (const each of events) {
          position += 10n;
          if (each.kind === 'open') {
            const id = acknowledger.opened(each.commits ? position : undefined);
            onTheWay.push(id);
            if (each.commits) commits.push({ position, needs: new Set(onTheWay) });
          } else if (each.kind === 'pass') {
            acknowledger.passed(position);
            commits.push({ position, needs: new Set(onTheWay) });
          } else if (each.kind === 'keepalive') {
            acknowledger.keepalive(position, each.open);
            if (!each.open && onTheWay.length === 0) commits.push({ position, needs: new Set() });
          } else if (onTheWay.length > 0) {
            const [id] = onTheWay.splice(each.pick % onTheWay.length, 1);
            acknowledger.settled(id as number);
            for (const { needs } of commits) needs.delete(id as number);
          }
          const expected = commits.filter(({ needs }) => needs.size === 0).at(-1)?.position ?? 0n;
          expect(acknowledger.durable).toBe(expected);
          expect(acknowledger.isIdle).toBe(onTheWay.length === 0);
        }
      }),
      { numRuns: 500 },
    );
  });
});
