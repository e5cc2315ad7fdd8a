/** Goal: waiting is as long as it was asked for, and ends by its signal. Method: the system's clock, over fake timers. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from './clock.ts';

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => {
  vi.useRealTimers();
});

it.each([1, 1000, 2 ** 31 - 1, 2 ** 31, 40 * 86_400_000, 3 * (2 ** 31 - 1) + 5])(
  'sleeps %i ms, however long that is',
  async (ms) => {
    let woke = false;
    void systemClock.sleep(ms).then(() => {
      woke = true;
    });
    await vi.advanceTimersByTimeAsync(ms - 1);
    expect(woke).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(woke).toBe(true);
  },
);

it('ends with the reason of its signal, also in a later part of a long sleep, and leaves no timer', async () => {
  for (const afterMs of [0, 5, 2 ** 31 + 5]) {
    const stop = new AbortController();
    const slept = systemClock.sleep(2 ** 32, stop.signal).catch((reason: unknown) => reason);
    await vi.advanceTimersByTimeAsync(afterMs);
    stop.abort('enough');
    expect(await slept).toBe('enough');
    expect(vi.getTimerCount()).toBe(0);
  }
});
