/**
 * Goal: faults of a link that overlap are over when the last of them is, and nothing of them stays. Method: a world whose
 * machines are not started; the link is looked at through true time.
 */
import { HEALTHY } from '@freshet/testkit/simulation/network.ts';
import { describe, expect, it } from 'vitest';
import { act } from './faults.ts';
import { type Action, makePlan } from './plan.ts';
import { World } from './world.ts';

const LINK = ['edge-2', 'compute-b'] as const;
const SECOND = 1_000_000;

describe('faults of a link', () => {
  it.each<readonly [Action, Action]>([
    [
      { kind: 'lag', link: LINK, forUs: SECOND, us: 500_000 },
      { kind: 'lag', link: LINK, forUs: 3 * SECOND, us: 20_000 },
    ],
    [
      { kind: 'lag', link: LINK, forUs: 3 * SECOND, us: 500_000 },
      { kind: 'lag', link: LINK, forUs: SECOND, us: 20_000 },
    ],
    [
      { kind: 'cut', link: LINK, forUs: SECOND },
      { kind: 'cut', link: LINK, forUs: 3 * SECOND },
    ],
    [
      { kind: 'scramble', link: LINK, forUs: SECOND, how: 'lose' },
      { kind: 'scramble', link: LINK, forUs: 3 * SECOND, how: 'lose' },
    ],
  ])('leave nothing behind: %o and %o', async (first, second) => {
    const world = new World({ ...makePlan(1), actions: [] });
    const { scheduler, network } = world;
    const link = network.link(...LINK);
    const beganUs = scheduler.nowUs;
    act(world, first);
    expect(link).not.toEqual(HEALTHY);
    await scheduler.runUntil(beganUs + SECOND / 2);
    act(world, second);
    await scheduler.runUntil(beganUs + 4 * SECOND);
    expect(link).toEqual(HEALTHY);
  });
});
