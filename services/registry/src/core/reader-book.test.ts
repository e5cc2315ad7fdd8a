/**
 * Goal: each report of a node counts once, over restarts of either; names are bounded, and readers that are gone are forgotten.
 * Method: reports by hand against a store in memory, under a virtual clock.
 */
import { create } from '@bufbuild/protobuf';
import { ServiceReadsSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { StoredReaders } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, expect, it } from 'vitest';
import { OTHER_READERS, ReaderBook, type ReaderStore } from './reader-book.ts';

const DAY_US = 86_400_000_000;

let clock: VirtualClock;
let stored: StoredReaders | undefined;
let saves: number;
let fails: boolean;
beforeEach(() => {
  clock = new VirtualClock();
  stored = undefined;
  saves = 0;
  fails = false;
});

const store: ReaderStore = {
  loadReaders: async () => stored,
  saveReaders: async (readers) => {
    if (fails) throw new Error('the disk is full');
    saves += 1;
    stored = readers;
  },
};
const open = () => ReaderBook.open({ store, clock, log: silentLogger });
const report = (
  number: bigint,
  reads: readonly (readonly [service: string, reader: string, reads: bigint])[],
  run = 'r',
) => ({
  nodeId: 'serve-1',
  run,
  number,
  reads: reads.map(([service, reader, count]) =>
    create(ServiceReadsSchema, { service, reader, reads: count, lastUs: BigInt(clock.nowUs()) }),
  ),
});
const sums = (book: ReaderBook, service: string) => book.of(service).map(({ reader, reads }) => `${reader} ${reads}`);

it('adds each report once, also when it comes again behind a restart, and starts over with a new run', async () => {
  const book = await open();
  book.note(report(1n, [['s', 'model', 3n]]));
  book.note(report(1n, [['s', 'model', 3n]]));
  book.note(
    report(2n, [
      ['s', 'model', 1n],
      ['s', '', 2n],
      ['t', 'model', 5n],
    ]),
  );
  book.note(report(0n, [['s', 'model', 100n]]));
  expect(sums(book, 's')).toEqual([' 2', 'model 4']);
  await book.settle();
  const again = await open();
  again.note(report(2n, [['s', 'model', 1n]]));
  expect(sums(again, 's')).toEqual([' 2', 'model 4']);
  again.note(report(1n, [['s', 'model', 1n]], 'another'));
  expect(sums(again, 's')).toEqual([' 2', 'model 5']);
  expect(again.by('model').map(({ service }) => service)).toEqual(['s', 't']);
  expect(again.names).toEqual(['', 'model']);
});

it('adds each report once of two nodes that have one id, in whatever order they tell', async () => {
  let book = await open();
  for (const [number, run] of [
    [1n, 'a'],
    [1n, 'b'],
    // The answers were lost.
    [1n, 'a'],
    [1n, 'b'],
    [2n, 'b'],
    [1n, 'a'],
  ] as const)
    book.note(report(number, [['s', 'model', 1n]], run));
  expect(sums(book, 's')).toEqual(['model 3']);
  await book.settle();
  book = await open();
  for (const run of ['a', 'b']) book.note(report(1n, [['s', 'model', 1n]], run));
  expect(sums(book, 's')).toEqual(['model 3']);
});

it('saves now and then, at the end, and tries again what it could not', async () => {
  const book = await open();
  book.note(report(1n, [['s', 'a', 1n]]));
  book.note(report(2n, [['s', 'a', 1n]]));
  expect(saves).toBe(0);
  await clock.advance(10_000_000);
  fails = true;
  book.note(report(3n, [['s', 'a', 1n]]));
  await book.settle();
  expect(saves).toBe(0);
  fails = false;
  await book.settle();
  expect(saves).toBe(1);
  expect(stored?.readers).toMatchObject([{ service: 's', reader: 'a', reads: 3n }]);
  await book.settle();
  expect(saves).toBe(1);
});

it('forgets who did not read for 90 days, and counts the newest of too many as others', async () => {
  const book = await open();
  book.note(report(1n, [['s', 'old', 1n]]));
  await clock.advance(91 * DAY_US);
  const many = Array.from({ length: 2_500 }, (_, i) => ['s', `r${i}`, 1n] as const);
  book.note(report(2n, many));
  const names = book.of('s').map(({ reader }) => reader);
  expect(names).toHaveLength(2_001);
  expect(names).not.toContain('old');
  expect(book.of('s').find(({ reader }) => reader === OTHER_READERS)?.reads).toBe(500n);
  book.note(
    report(
      3n,
      Array.from({ length: 5_000 }, (_, i) => [`s${i}`, 'x', 1n] as const),
    ),
  );
  expect(book.names).toHaveLength(2_001);
  await book.settle();
  expect(stored?.readers.length).toBeLessThanOrEqual(4_000);
});

it('starts without what it cannot read', async () => {
  const failing = { ...store, loadReaders: () => Promise.reject(new Error('damaged')) };
  const book = await ReaderBook.open({ store: failing, clock, log: silentLogger });
  expect(book.names).toEqual([]);
});
