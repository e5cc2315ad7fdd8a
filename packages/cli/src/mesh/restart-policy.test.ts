/** Goal: restarts come ever later, start over after a good run, and end only for what never came up. Method: ends at stated times, no clock. */
import { describe, expect, it } from 'vitest';
import { type ProcessEnd, RestartPolicy } from './restart-policy.ts';

const LIMITS = {
  firstDelayMs: 100,
  maxDelayMs: 1_000,
  stableMs: 5_000,
  failuresMax: 6,
  windowMs: 60_000,
  givenUpDelayMs: 30_000,
};

function end(nowMs: number, over: Partial<ProcessEnd> = {}): ProcessEnd {
  return { code: 1, signal: null, deliberate: false, cameUp: false, ranMs: 10, nowMs, ...over };
}

describe('RestartPolicy', () => {
  it('doubles the delay up to its maximum, with jitter between half and whole', () => {
    const most = new RestartPolicy(LIMITS, () => 0.999_999_999);
    const least = new RestartPolicy(LIMITS, () => 0);
    const delays = (policy: RestartPolicy) =>
      [0, 1, 2, 3, 4, 5]
        .map((i) => policy.onEnd(end(i)))
        .map((d) => (d.kind === 'restart' ? Math.round(d.delayMs) : -1));
    expect(delays(most)).toEqual([100, 200, 400, 800, 1000, 1000]);
    expect(delays(least)).toEqual([50, 100, 200, 400, 500, 500]);
  });

  it('gives up when there are more failures than allowed within the window, and not when they are spread', () => {
    const quick = new RestartPolicy(LIMITS, () => 0);
    for (let i = 0; i < 6; i++) expect(quick.onEnd(end(i)).kind).toBe('restart');
    expect(quick.onEnd(end(7))).toEqual({ kind: 'give-up', reason: 'failures', failures: 7 });
    const slow = new RestartPolicy(LIMITS, () => 0);
    for (let i = 0; i < 100; i++) expect(slow.onEnd(end(i * 10_000)).kind).toBe('restart');
  });

  it('starts its delays over after a good run', () => {
    const policy = new RestartPolicy(LIMITS, () => 0);
    for (let i = 0; i < 4; i++) policy.onEnd(end(i));
    expect(policy.onEnd(end(10_000, { ranMs: 5_000 }))).toEqual({ kind: 'restart', delayMs: 50 });
  });

  it('restarts at once what we ended ourselves, without counting it', () => {
    const policy = new RestartPolicy(LIMITS, () => 0);
    for (let i = 0; i < 100; i++)
      expect(policy.onEnd(end(i, { deliberate: true, code: null, signal: 'SIGKILL' }))).toEqual({
        kind: 'restart',
        delayMs: 0,
      });
    expect(policy.onEnd(end(101))).toEqual({ kind: 'restart', delayMs: 50 });
  });

  it('gives up at once on a configuration that cannot work', () => {
    expect(new RestartPolicy(LIMITS, () => 0).onEnd(end(0, { code: 78, deliberate: true }))).toMatchObject({
      kind: 'give-up',
      reason: 'config',
    });
  });

  it('does not end for good a process that came up, whatever it exits with: it is tried again, rarely, till it runs', () => {
    const policy = new RestartPolicy(LIMITS, () => 0);
    const cameUp = true;
    for (let i = 0; i < 6; i++) expect(policy.onEnd(end(i, { code: 78, cameUp })).kind).toBe('restart');
    const later = { kind: 'retry-later', delayMs: 30_000 };
    expect(policy.onEnd(end(7, { cameUp }))).toEqual({ ...later, failures: 7, news: true });
    // The failures leave the window, but that alone does not make it hurry again.
    for (let i = 1; i < 20; i++)
      expect(policy.onEnd(end(i * 30_010, { code: 78, cameUp }))).toMatchObject({ ...later, news: false });
    expect(policy.onEnd(end(700_000, { ranMs: 5_000, cameUp }))).toEqual({ kind: 'restart', delayMs: 50 });
  });
});
