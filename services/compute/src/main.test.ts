/**
 * Goal: a process whose shards ended by a fault of ours does not live on without them.
 * Method: a host made up, which fails once its shards are open.
 */
import { expect, it } from 'vitest';
import { openShards } from './main.ts';

it('hears of a fault that ends the shards after they were opened', async () => {
  let fail: (error: Error) => void = () => undefined;
  const host = {
    run: (_numbers: readonly number[], _signal: AbortSignal, onOpen?: () => void): Promise<void> => {
      onOpen?.();
      return new Promise((_, reject) => {
        fail = reject;
      });
    },
  };
  const faults: unknown[] = [];
  const { running } = await openShards(host, [0], new AbortController().signal, (error) => faults.push(error));
  expect(faults).toEqual([]);
  const fault = new TypeError('a fault of ours');
  fail(fault);
  await expect(running).rejects.toBe(fault);
  expect(faults).toEqual([fault]);
});
