/**
 * Goal: work that is not soon done goes on in turns, and what waits for a turn is bounded (R4). Method: generators that stop as
 * often as they are told, with turns given by hand. That answers are right in turns: on-demand.test.ts.
 */

import { describe, expect, it } from 'vitest';
import { Turns, UNDER_WAY_MAX, WAITING_MAX } from './in-turns.ts';
import { handClock } from './source.testing.ts';

/** Turns of one part each: the clock goes on by more than a turn whenever it is looked at, or as it is told. */
function rig({ lookUs = 5000 } = {}) {
  const clock = handClock(1);
  const look = { us: lookUs };
  const yields: (() => void)[] = [];
  const turns = new Turns({
    clock: { ...clock, monotonicUs: () => (clock.us += look.us) },
    yieldNow: () => new Promise<void>((resolve) => yields.push(resolve)),
  });
  const freed: number[] = [];
  function* work(id: number, parts: number): Generator<undefined, number> {
    try {
      for (let i = 0; i < parts; i++) yield;
      return id;
    } finally {
      freed.push(id);
    }
  }
  const start = (id: number, signal?: AbortSignal): Promise<number> => {
    const answer = turns.run(work(id, 3), signal === undefined ? undefined : { signal });
    if (!(answer instanceof Promise)) throw new Error('it was done at once');
    return answer;
  };
  /** Gives turns until nobody asks for one. */
  const goOn = async (): Promise<void> => {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (yields.length === 0) return;
      for (const turn of yields.splice(0)) turn();
    }
  };
  return { start, goOn, freed, turns, look };
}

describe('work in turns', () => {
  it('R4: beyond those that may wait is refused, with what it holds given back, and the others go on', async () => {
    const { start, goOn, freed } = rig();
    const all = Array.from({ length: UNDER_WAY_MAX + WAITING_MAX }, (_, id) => start(id));
    await expect(start(999)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    expect(freed).toEqual([999]);
    await goOn();
    expect(await Promise.all(all)).toEqual(all.map((_, id) => id));
    // And there is room again.
    const more = start(1000);
    await goOn();
    expect(await more).toBe(1000);
  });

  it('R4: costs those under way less than a turn when it is refused, and is answered when it is small', async () => {
    const { start, goOn, turns, look } = rig();
    const all = Array.from({ length: UNDER_WAY_MAX + WAITING_MAX }, (_, id) => start(id));
    look.us = 50;
    let parts = 0;
    function* large(): Generator<undefined, undefined> {
      for (;;) {
        parts++;
        yield;
      }
    }
    await expect(turns.run(large(), undefined)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(parts).toBeLessThan(6);
    function* small(): Generator<undefined, string> {
      yield;
      return 'small';
    }
    expect(turns.run(small(), undefined)).toBe('small');
    look.us = 5000;
    await goOn();
    await Promise.all(all);
  });

  it('R4: gives its place among those that wait back when its caller leaves, at once', async () => {
    const { start, goOn, freed } = rig();
    const controller = new AbortController();
    const first = Array.from({ length: UNDER_WAY_MAX }, (_, id) => start(id));
    const leaving = Array.from({ length: WAITING_MAX }, (_, i) => start(100 + i, controller.signal));
    const outcomes = Promise.allSettled(leaving);
    controller.abort(new Error('the caller cancelled'));
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true);
    expect(freed).toEqual(leaving.map((_, i) => 100 + i));
    // Those that left hold nobody up: as many may wait again.
    const others = Array.from({ length: WAITING_MAX }, (_, i) => start(200 + i));
    await goOn();
    expect(await Promise.all([...first, ...others])).toEqual([
      ...first.map((_, id) => id),
      ...others.map((_, i) => 200 + i),
    ]);
  });
});
