/**
 * Goal: waiting for a node that runs and does not answer is told, ever more rarely, and ends by its signal. Method: a
 * port on which nobody listens, and a clock that jumps at each sleep.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { describe, expect, it } from 'vitest';
import { freePorts } from './free-ports.ts';
import { untilHealthy } from './health.ts';

describe('untilHealthy', () => {
  it('tells after 30 s, 60 s, 120 s … that it still waits, until it is told to stop', async () => {
    const [port] = await freePorts('127.0.0.1', 1);
    let nowMs = 0;
    const clock: Clock = {
      nowUs: () => 0,
      monotonicUs: () => nowMs * 1000,
      sleep: async (_, signal) => {
        signal?.throwIfAborted();
        nowMs += 15_000;
      },
    };
    const end = new AbortController();
    const told: number[] = [];
    const waiting = untilHealthy(`127.0.0.1:${port}`, '', clock, end.signal, (waitedMs) => {
      told.push(waitedMs);
      if (told.length === 4) end.abort(new Error('enough'));
    });
    await expect(waiting).rejects.toThrow('enough');
    expect(told).toEqual([30_000, 60_000, 120_000, 240_000]);
  });
});
