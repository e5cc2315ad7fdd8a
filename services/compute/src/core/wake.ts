/**
 * A flag that one loop waits for and anybody sets. Settings coalesce: it says that something happened, not what or how
 * often, so the loop looks at the state itself and nothing is queued (R4). A setting between two waits is not lost.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';

/** Why a timer is given up. One for all: making one, with its stack, costs more than the wait. */
const OVER = new DOMException('the wait is over', 'AbortError');

export class Wake {
  #set = false;
  #waiting: (() => void) | undefined;

  set(): void {
    this.#set = true;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  /** Resolves once set since the last wait ended. One waiter at a time. */
  async wait(): Promise<void> {
    assert(this.#waiting === undefined, 'a Wake has one waiter');
    if (!this.#set) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    this.#set = false;
  }

  /** As wait, but for so many milliseconds at most. */
  async waitFor(ms: number, clock: Clock): Promise<void> {
    if (this.#set) {
      this.#set = false;
      return;
    }
    const timer = new AbortController();
    clock.sleep(ms, timer.signal).then(
      () => this.set(),
      () => undefined,
    );
    try {
      await this.wait();
    } finally {
      timer.abort(OVER);
    }
  }

  /** Sets it when the signal aborts; returns what undoes that. */
  onAbort(signal: AbortSignal): () => void {
    const set = (): void => this.set();
    if (signal.aborted) set();
    else signal.addEventListener('abort', set, { once: true });
    return () => signal.removeEventListener('abort', set);
  }
}
