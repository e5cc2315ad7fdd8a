/** How far a source's reading of initial rows is: for the status, and for nobody's decisions. Counts; pure. */

/** Reading: from the database to a stage on disk. Appending: from there to the log. */
export interface SnapshotReport {
  readonly step: 'reading' | 'appending';
  readonly rows: number;
  /** Undefined: not known. While reading, about. */
  readonly rowsExpected: number | undefined;
}

export class SnapshotProgress {
  #step: SnapshotReport['step'] | undefined;
  #rows = 0;
  #expected: number | undefined;

  get report(): SnapshotReport | undefined {
    if (this.#step === undefined) return undefined;
    return { step: this.#step, rows: this.#rows, rowsExpected: this.#expected };
  }

  begin(step: SnapshotReport['step'], rowsExpected?: number): void {
    this.#step = step;
    this.#rows = 0;
    this.#expected = rowsExpected;
  }

  expect(rows: number | undefined): void {
    this.#expected = rows;
  }

  add(rows: number): void {
    this.#rows += rows;
  }

  end(): void {
    this.#step = undefined;
  }
}
