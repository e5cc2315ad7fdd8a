/**
 * One life of a process in a simulation: its clock, its waits, its death.
 *
 * Owns what a process cannot do without: time, turns, and delays of its disk. A killed process stops in the middle of
 * whatever it waits for: nothing it waits for ever comes, and it starts nothing new. A stopped one (SIGSTOP) finds all
 * that was due meanwhile when it goes on. Its wall clock may be wrong, and may jump; its monotonic clock may not.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface ProcessOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** How far the wall clock is ahead of true time, microseconds. Shared by the lives of one machine. */
  readonly machineClock: { skewUs: number };
}

export class SimProcess implements Clock {
  readonly name: string;
  readonly random: Random;
  readonly #scheduler: Scheduler;
  readonly #machineClock: { skewUs: number };
  readonly #bornUs: number;
  #alive = true;
  /** What became due while the process was stopped; undefined while it runs. */
  #parked: (() => void)[] | undefined;
  /** Whoever must be told when it is killed: the other ends of its connections. */
  readonly #mourners = new Set<() => void>();
  /** How much slower the process runs than it should. */
  slowness = 1;

  constructor({ name, scheduler, random, machineClock }: ProcessOptions) {
    this.name = name;
    this.random = random;
    this.#scheduler = scheduler;
    this.#machineClock = machineClock;
    this.#bornUs = scheduler.nowUs;
  }

  get alive(): boolean {
    return this.#alive;
  }

  nowUs(): number {
    return this.#scheduler.nowUs + this.#machineClock.skewUs;
  }

  monotonicUs(): number {
    return this.#scheduler.nowUs - this.#bornUs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => reject(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.after(ms * 1000, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
    });
  }

  /** Runs something in this process after a delay, if it still lives then. */
  after(delayUs: number, run: () => void): void {
    this.#scheduler.after(delayUs, () => {
      if (!this.#alive) return;
      if (this.#parked === undefined) run();
      else this.#parked.push(run);
    });
  }

  /** A turn for others: a few microseconds. */
  readonly yieldNow = (): Promise<void> => this.delay(1, 20);

  /** Waits for a random time, microseconds; more when the process is slow. */
  delay(fromUs: number, toUs: number): Promise<void> {
    const us = this.random.between(fromUs, toUs) * this.slowness;
    return new Promise((resolve) => this.after(us, resolve));
  }

  /** SIGKILL. */
  kill(): void {
    this.#alive = false;
    this.#parked = undefined;
    for (const mourner of this.#mourners) mourner();
    this.#mourners.clear();
  }

  /** Has something done at once when the process is killed; the result takes that back. */
  onKill(run: () => void): () => void {
    this.#mourners.add(run);
    return () => void this.#mourners.delete(run);
  }

  /** SIGSTOP. */
  stop(): void {
    if (this.#alive) this.#parked ??= [];
  }

  /** SIGCONT: what became due meanwhile happens now, in its order. */
  resume(): void {
    const parked = this.#parked ?? [];
    this.#parked = undefined;
    for (const run of parked) this.after(0, run);
  }
}
