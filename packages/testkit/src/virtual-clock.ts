/**
 * A clock that tests move by hand.
 *
 * Owns its time and its sleepers. Sleepers wake in the order of their deadlines, those of equal deadlines in the order
 * in which they fell asleep, each with the clock standing at its deadline, and what a woken sleeper does (as far as it
 * needs no real I/O) is done before the next one wakes: it may sleep again and still be woken by the same advance.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { assert } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';

interface Sleeper {
  readonly atUs: number;
  readonly wake: () => void;
}

export class VirtualClock implements Clock {
  #wallUs: number;
  #monotonicUs = 0;
  /** By deadline, then by order of falling asleep. */
  #sleepers: Sleeper[] = [];

  /** @param nowUs the wall clock at the start, microseconds since the Unix epoch */
  constructor(nowUs = 1_700_000_000_000_000) {
    this.#wallUs = nowUs;
  }

  nowUs(): number {
    return this.#wallUs;
  }

  monotonicUs(): number {
    return this.#monotonicUs;
  }

  /** How many sleeps wait for the clock. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const leave = (): void => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        leave();
        reject(signal?.reason as Error);
      };
      const sleeper: Sleeper = {
        atUs: this.#monotonicUs + Math.max(0, Math.round(ms * 1000)),
        wake: () => {
          leave();
          resolve();
        },
      };
      const after = this.#sleepers.findIndex(({ atUs }) => atUs > sleeper.atUs);
      this.#sleepers.splice(after === -1 ? this.#sleepers.length : after, 0, sleeper);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Moves both clocks forward and wakes whoever is due on the way. */
  async advance(us: number): Promise<void> {
    assert(us >= 0, 'a virtual clock is only advanced forward');
    const targetUs = this.#monotonicUs + us;
    // Let what was just started come to its sleep first.
    await turn();
    for (;;) {
      const next = this.#sleepers[0];
      if (next === undefined || next.atUs > targetUs) break;
      this.#stepTo(Math.max(next.atUs, this.#monotonicUs));
      next.wake();
      await turn();
    }
    this.#stepTo(targetUs);
  }

  /** Sets the wall clock as an operator would: sleepers and the monotonic clock do not notice. */
  setWallUs(nowUs: number): void {
    this.#wallUs = nowUs;
  }

  #stepTo(monotonicUs: number): void {
    this.#wallUs += monotonicUs - this.#monotonicUs;
    this.#monotonicUs = monotonicUs;
  }
}
