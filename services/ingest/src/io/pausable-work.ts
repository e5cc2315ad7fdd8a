/**
 * Work that runs beside others and can be stopped for a while, when something that it goes by is changed. The work must bear to
 * be ended at any point and begun again. Owns the pausing only.
 */
export class PausableWork {
  readonly #work: (signal: AbortSignal) => Promise<void>;
  #turn = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #resumed: PromiseWithResolvers<void> | undefined;

  /** `work` runs until its signal, and then returns. */
  constructor(work: (signal: AbortSignal) => Promise<void>) {
    this.#work = work;
  }

  /** Runs the work, except while it is paused, until the signal. Throws what the work throws. */
  async run(signal: AbortSignal): Promise<void> {
    const ended = (): void => this.resume();
    signal.addEventListener('abort', ended, { once: true });
    try {
      while (!signal.aborted) {
        // No wait where there is none: a pause could come in it unseen.
        while (this.#resumed !== undefined) await this.#resumed.promise;
        if (signal.aborted) return;
        this.#turn = new AbortController();
        this.#running = this.#work(AbortSignal.any([signal, this.#turn.signal]));
        await this.#running;
      }
    } finally {
      signal.removeEventListener('abort', ended);
    }
  }

  /** Resolves when the work stands still, until resume(). */
  async pause(): Promise<void> {
    this.#resumed ??= Promise.withResolvers<void>();
    this.#turn.abort(new DOMException('paused', 'AbortError'));
    // What it throws is told by run().
    await this.#running.catch(() => undefined);
  }

  resume(): void {
    this.#resumed?.resolve();
    this.#resumed = undefined;
  }
}
