/** Goal: the fake keeps the contract, and is as strict as it promises. Method: the contract suite, and its own rules. */
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { bytesOf, runLogContractSuite } from './log-contract-suite.ts';
import { createMemoryLog } from './memory-log.ts';

runLogContractSuite('a log in memory', ({ partitions, clock }) => {
  const log = createMemoryLog({ partitions, clock });
  return Promise.resolve({ log, reader: log, close: () => log.close() });
});

describe('a log in memory', () => {
  it('overwrites a batch when the next is taken, as the interface allows', async () => {
    const log = createMemoryLog({ partitions: 1, clock: new VirtualClock() });
    await log.append(0, [bytesOf('one')]);
    const iterator = log.read(0, 0, new AbortController().signal)[Symbol.asyncIterator]();
    const first = (await iterator.next()).value;
    const next = iterator.next();
    await log.append(0, [bytesOf('two')]);
    await next;
    expect(first.entries[0].record).not.toEqual(bytesOf('one'));
    await iterator.return?.(undefined);
  });

  it('fails appends as it is told to, and those alone', async () => {
    let appends = 0;
    const log = createMemoryLog({
      partitions: 1,
      clock: new VirtualClock(),
      beforeAppend: () => (++appends === 2 ? Promise.reject(new Error('as told')) : Promise.resolve()),
    });
    const results = await Promise.allSettled(['one', 'two', 'three'].map((text) => log.append(0, [bytesOf(text)])));
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((await log.records(0)).map((record) => new TextDecoder().decode(record))).toEqual(['one', 'three']);
  });
});
