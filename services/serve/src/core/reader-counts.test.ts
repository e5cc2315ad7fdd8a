/**
 * Goal: reads are counted by service and reader, bounded whatever callers call themselves, and leave in reports of which each
 * counts once. Method: calls by hand, and any names.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { OTHER_READERS, ReaderCounts } from './reader-counts.ts';

const shown = (counts: ReaderCounts) =>
  counts.next().reads.map(({ service, reader, reads, lastUs }) => `${service} ${reader}: ${reads} at ${lastUs}`);

it('counts by service and reader, and puts names that nobody has with the others', () => {
  const counts = new ReaderCounts();
  for (const [service, name, us] of [
    ['s', 'model', 1],
    ['s', 'model', 2],
    ['t', 'model', 3],
    ['s', '', 4],
    ['s', '-rf', 5],
    ['s', 'x'.repeat(64), 6],
    ['s', 'a\nb', 7],
  ] as const)
    counts.add(service, name, us);
  expect(shown(counts)).toEqual(['s model: 2 at 2', 's : 1 at 4', `s ${OTHER_READERS}: 3 at 7`, 't model: 1 at 3']);
});

it('gives a report again until it was told, and counts meanwhile for the next', () => {
  const counts = new ReaderCounts();
  counts.add('s', 'a', 1);
  const first = counts.next();
  counts.add('s', 'a', 2);
  expect(counts.next()).toBe(first);
  counts.told(first.number - 1n);
  expect(counts.next()).toBe(first);
  counts.told(first.number);
  const second = counts.next();
  expect([second.number, second.reads]).toMatchObject([first.number + 1n, [{ reads: 1n, lastUs: 2n }]]);
  counts.told(second.number);
  expect(counts.next().reads).toEqual([]);
});

it('keeps no more than the wire takes, and loses no read of a service that it knows', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 400 }),
      fc.integer({ min: 1, max: 5 }),
      fc.string({ maxLength: 3 }),
      (services, each, suffix) => {
        const counts = new ReaderCounts();
        for (let i = 0; i < services * each; i++) counts.add(`s${i % services}`, `r${i}${suffix}`, i);
        const { reads } = counts.next();
        expect(reads.length).toBeLessThanOrEqual(1_000);
        const sum = reads.reduce((all, one) => all + one.reads, 0n);
        expect(sum).toBe(BigInt(Math.min(services, 300) * each));
      },
    ),
  );
});
