/**
 * A value that many follow. A follower gets the value now and the newest one whenever it asks again: what it was too
 * slow to see is skipped, never queued (R4), because each value is whole.
 */

export class Published<T> {
  #value: T;
  #version = 0;
  readonly #waiting = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  publish(value: T): void {
    this.#value = value;
    this.#version += 1;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** The value now, then each newer one, until the signal aborts; then the iteration ends quietly. */
  async *follow(signal: AbortSignal): AsyncGenerator<T> {
    let seen = -1;
    while (!signal.aborted) {
      if (seen === this.#version) {
        await this.#change(signal);
        continue;
      }
      seen = this.#version;
      yield this.#value;
    }
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
