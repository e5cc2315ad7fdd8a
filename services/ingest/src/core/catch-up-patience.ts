/**
 * How long a catch-up may be behind the live stream before that waits for it.
 *
 *     far behind ──▶ nobody waits: live rows would, for all that is left to read
 *     near       ──▶ it will be level by itself, nearly always; after READS_NEAR_MAX reads the live stream waits a moment
 *     comes no nearer in READS_MAX reads ──▶ it never would be level: the live stream waits after all
 *
 * Counts reads, not time, so that it is the same however busy the machine is. Pure.
 */

/** Read in some hundredths of a second, also where the machine is busy: 1 MiB took 0.2 s there. */
const NEAR_BYTES = 128n * 1024n;
const READS_NEAR_MAX = 200;
const READS_MAX = 5_000;
/** Nearer by a tenth, or it is no nearer. */
const NEARER_TENTHS = 9n;

export class CatchUpPatience {
  #readsNear = 0;
  #reads = 0;
  #gapBefore: bigint | undefined;
  #isOver = false;

  /** After a read that ended so many bytes of the database's log behind the live stream: whether that is to wait. Says so once. */
  isOver(gap: bigint): boolean {
    if (this.#isOver) return false;
    if (gap <= NEAR_BYTES) this.#readsNear += 1;
    this.#reads += 1;
    this.#gapBefore ??= gap;
    this.#isOver = this.#readsNear >= READS_NEAR_MAX;
    if (this.#reads >= READS_MAX) {
      if (gap * 10n > this.#gapBefore * NEARER_TENTHS) this.#isOver = true;
      this.#reads = 0;
      this.#gapBefore = gap;
    }
    return this.#isOver;
  }
}
