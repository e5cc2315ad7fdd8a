/**
 * Goal: rows that can wait come to the log no faster than those who follow it take them, a reader that takes nothing holds
 * nothing up for long, and one that starts far back is not waited for. Method: the handler of ReadLog over a log in memory, its stream
 * pulled by hand, and a clock that the test moves.
 */
import { create } from '@bufbuild/protobuf';
import { ReadLogRequestSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LogReaders, RECORDS_BEHIND_MAX } from '../core/log-readers.ts';
import { readLog } from '../rpc/read-log.ts';
import { readersCaughtUp } from './reader-pace.ts';

const MANY = RECORDS_BEHIND_MAX * 2;
const TICK = encodeRecord({ case: 'tick', value: {} });

let clock: VirtualClock;
let log: MemoryLog;
let readers: LogReaders;
let ended: AbortController;

beforeEach(() => {
  clock = new VirtualClock();
  log = createMemoryLog({ partitions: 1, clock });
  readers = new LogReaders();
  ended = new AbortController();
});
afterEach(() => log.close());

const append = (count: number): Promise<unknown> =>
  log.append(
    0,
    Array.from({ length: count }, () => TICK),
  );

function read(): AsyncIterator<unknown> {
  const request = create(ReadLogRequestSchema, { partition: 0, from: 0n });
  return readLog(log, readers)(request, { signal: ended.signal })[Symbol.asyncIterator]();
}

/** Whether somebody who waits for the readers is still waiting after so long. */
async function waits(milliseconds: number): Promise<boolean> {
  let over = false;
  void readersCaughtUp({ readers, log, clock }, ended.signal).then(
    () => {
      over = true;
    },
    () => undefined,
  );
  await clock.advance(milliseconds * 1_000);
  return !over;
}

it('waits for a reader that follows until it has taken what is there', async () => {
  await append(1);
  const reading = read();
  await reading.next();
  const next = reading.next();
  expect(await waits(100)).toBe(false);
  await append(MANY);
  await next;
  // Sent, not asked beyond.
  expect(await waits(1_000)).toBe(true);
  void reading.next();
  expect(await waits(100)).toBe(false);
  ended.abort();
});

it('does not wait for what comes meanwhile', async () => {
  await append(MANY);
  const reading = read();
  await reading.next();
  const next = reading.next();
  await append(MANY);
  await next;
  let over = false;
  void readersCaughtUp({ readers, log, clock }, ended.signal).then(() => {
    over = true;
  });
  await append(MANY);
  // Asks for what came meanwhile: it has what was there, and is behind by as much again.
  await reading.next();
  await clock.advance(10_000);
  expect(over).toBe(true);
  ended.abort();
});

it('does not wait for ever for a reader that moves and has very much to take', async () => {
  await append(MANY);
  const open = readers.opened(0, 0);
  readers.took(open, MANY, MANY);
  await append(MANY);
  let over = false;
  void readersCaughtUp({ readers, log, clock }, ended.signal).then(() => {
    over = true;
  });
  const overAfter: boolean[] = [];
  for (let second = 1; second <= 15; second++) {
    readers.took(open, MANY + second, 2 * MANY);
    await clock.advance(1_000_000);
    overAfter.push(over);
  }
  expect(overAfter.indexOf(true)).toBe(9);
});

it('is not held up by a reader that stands still, nor by one that went or starts far back', async () => {
  await append(MANY);
  const reading = read();
  await reading.next();
  expect(await waits(100)).toBe(false);
  const second = reading.next();
  await append(MANY);
  await second;
  expect(await waits(1_000)).toBe(true);
  expect(await waits(2_000)).toBe(false);
  expect(await waits(1)).toBe(false);
  const third = reading.next();
  await append(MANY);
  await third;
  expect(await waits(1_000)).toBe(true);
  await reading.return?.();
  expect(await waits(10)).toBe(false);
  ended.abort();
});
