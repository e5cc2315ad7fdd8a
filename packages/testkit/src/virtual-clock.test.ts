/** Goal: tests that move time by hand can rely on the order of waking. Method: recorded wake-ups. */
import { describe, expect, it } from 'vitest';
import { VirtualClock } from './virtual-clock.ts';

describe('VirtualClock', () => {
  it('wakes sleepers by deadline, then by order, each at its own time', async () => {
    const clock = new VirtualClock(1_000_000);
    const woken: [string, number][] = [];
    const sleeper = async (name: string, ms: number): Promise<void> => {
      await clock.sleep(ms);
      woken.push([name, clock.nowUs()]);
    };
    const all = Promise.all([sleeper('late', 20), sleeper('first', 5), sleeper('second', 5), sleeper('soon', 0)]);
    await clock.advance(4_999);
    expect(woken).toEqual([['soon', 1_000_000]]);
    await clock.advance(15_001);
    await all;
    expect(woken).toEqual([
      ['soon', 1_000_000],
      ['first', 1_005_000],
      ['second', 1_005_000],
      ['late', 1_020_000],
    ]);
    expect([clock.nowUs(), clock.monotonicUs(), clock.sleeping]).toEqual([1_020_000, 20_000, 0]);
  });

  it('wakes a loop as often as it falls due in one advance', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    let rounds = 0;
    const loop = (async () => {
      for (;;) {
        await clock.sleep(10, stop.signal);
        rounds += 1;
      }
    })();
    await clock.advance(55_000);
    expect(rounds).toBe(5);
    stop.abort(new Error('enough'));
    await expect(loop).rejects.toThrow('enough');
    expect(clock.sleeping).toBe(0);
  });

  it('rejects at once with the reason of a signal that is aborted already', async () => {
    await expect(new VirtualClock().sleep(1, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });

  it('lets the wall clock jump without waking anybody', async () => {
    const clock = new VirtualClock(10);
    let woken = false;
    const sleep = clock.sleep(1).then(() => {
      woken = true;
    });
    clock.setWallUs(5_000_000);
    await clock.advance(999);
    expect([woken, clock.nowUs(), clock.monotonicUs()]).toEqual([false, 5_000_999, 999]);
    await clock.advance(1);
    await sleep;
    expect(woken).toBe(true);
  });
});
