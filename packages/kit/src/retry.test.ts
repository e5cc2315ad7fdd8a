/** Goal: the loop retries only what may heal, waits longer each time, starts over when healthy, and ends with the signal. */
import { describe, expect, it } from 'vitest';
import type { Clock } from './clock.ts';
import { FreshetError } from './errors.ts';
import { silentLogger } from './logger.ts';
import { retry } from './retry.ts';

function recordingClock(): { clock: Clock; delays: number[] } {
  const delays: number[] = [];
  return { delays, clock: { nowUs: () => 0, monotonicUs: () => 0, sleep: async (ms) => void delays.push(ms) } };
}
const down = new FreshetError('UNAVAILABLE', 'down');

describe('retry', () => {
  it('doubles its delays up to the cap and starts over when healthy', async () => {
    const { clock, delays } = recordingClock();
    let tries = 0;
    const result = await retry(
      async (healthy) => {
        tries += 1;
        if (tries === 5) healthy();
        if (tries < 7) throw down;
        return 'up';
      },
      {
        what: 'x',
        signal: new AbortController().signal,
        clock,
        log: silentLogger,
        firstDelayMs: 10,
        maxDelayMs: 40,
        random: () => 1,
      },
    );
    expect(result).toBe('up');
    expect(delays).toEqual([10, 20, 40, 40, 10, 20]);
  });

  it('throws at once what will not heal', async () => {
    const { clock, delays } = recordingClock();
    const options = { what: 'x', signal: new AbortController().signal, clock, log: silentLogger };
    await expect(retry(() => Promise.reject(new FreshetError('WRONG_LOG', 'other')), options)).rejects.toMatchObject({
      code: 'WRONG_LOG',
    });
    await expect(retry(() => Promise.reject(new TypeError('bug')), options)).rejects.toThrow('bug');
    expect(delays).toEqual([]);
  });

  it('ends with the signal, also while it waits', async () => {
    const controller = new AbortController();
    const clock: Clock = {
      nowUs: () => 0,
      monotonicUs: () => 0,
      sleep: async (_ms, signal) => {
        controller.abort(new Error('enough'));
        signal?.throwIfAborted();
      },
    };
    await expect(
      retry(() => Promise.reject(down), { what: 'x', signal: controller.signal, clock, log: silentLogger }),
    ).rejects.toThrow('enough');
  });
});
