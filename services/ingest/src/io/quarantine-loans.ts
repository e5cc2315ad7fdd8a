/**
 * Rows that were read from the quarantine to be brought to the log and are not durable there yet: they are on loan.
 *
 * Whoever takes rows out of the quarantine so that they never come to the log behind something (an erase) waits, once they are
 * out, until every loan of before has ended. A loan begins before its first row is read, and ends when its rows are durable in
 * the log, or cannot come there any more: the pipeline that has them was retired. A reader that finds the file rewritten reads
 * no more of the one of before, so no later loan has rows that were taken out.
 *
 * Owns the waiting. In memory only: after a crash nothing is on loan, and what was taken out is not there to be read. Bounded
 * by those who read: two batches a route that is released.
 */

/** Rows on their way. */
export interface Loan {
  /** They are durable in the log, or never come there. Again: nothing happens. */
  end(): void;
}

export class QuarantineLoans {
  readonly #open = new Set<Loan>();
  readonly #waiting = new Set<() => void>();

  /** To be called before the first of the rows is read. */
  begin(): Loan {
    const loan: Loan = {
      end: () => {
        if (this.#open.delete(loan)) for (const wake of [...this.#waiting]) wake();
      },
    };
    this.#open.add(loan);
    return loan;
  }

  /** Resolves when all loans that are open now have ended. Throws the signal's reason. */
  async over(signal: AbortSignal): Promise<void> {
    const before = [...this.#open];
    while (before.some((loan) => this.#open.has(loan))) {
      signal.throwIfAborted();
      await this.#change(signal);
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
