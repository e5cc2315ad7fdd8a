/**
 * Tells whether a database still has the commits that it once told: a copy of its files that was put back has the same id and
 * timeline, and once enough was written to it, its log is no shorter either. Pure.
 *
 * The landmark is the newest commit up to the acknowledged position, by its end and its time. A database that was never put
 * back tells it again, at the same place, and no commit between it and that position; one that was put back tells others in
 * their place. What is told again begins where the database's slot says that it was acknowledged, which a crash sets back and
 * so does a copy: it is compared only then.
 */

export interface Landmark {
  /** The end of the commit; 0: no commit came since the slot was made. */
  readonly endLsn: bigint;
  /** The time of the commit, microseconds since the Unix epoch. */
  readonly atUs: number;
  /** No commit ended after `endLsn` and up to here. */
  readonly untilLsn: bigint;
}

interface Ended {
  readonly endLsn: bigint;
  readonly atUs: number;
}

/** Commits that are remembered at most; the oldest are forgotten. */
const COMMITS_MAX = 65_536;

/** The commits of one stream that are not acknowledged yet. */
export class CommitTrail {
  readonly #commits: Ended[] = [];
  /** The end of the newest commit that is forgotten. */
  #forgottenLsn = 0n;

  came(endLsn: bigint, atUs: number): void {
    this.#commits.push({ endLsn, atUs });
    if (this.#commits.length > COMMITS_MAX) this.#forget(COMMITS_MAX / 2);
  }

  /** All that came since the last call. */
  take(): readonly Ended[] {
    return this.#commits.splice(0, Infinity);
  }

  /**
   * The landmark once `lsn` is acknowledged. `before`: that of `acknowledgedLsn`, from which on this stream came, or which an
   * earlier call was of and is saved; commits up to there are not needed any more.
   */
  landmark(before: Landmark | undefined, acknowledgedLsn: bigint, lsn: bigint): Landmark | undefined {
    if (lsn <= acknowledgedLsn) return before;
    this.#forget(this.#countUpTo(acknowledgedLsn));
    const last = this.#commits[this.#countUpTo(lsn) - 1];
    if (last !== undefined) return { ...last, untilLsn: lsn };
    const isWhole = before?.untilLsn === acknowledgedLsn && this.#forgottenLsn <= acknowledgedLsn;
    return isWhole ? { ...before, untilLsn: lsn } : before;
  }

  #countUpTo(lsn: bigint): number {
    const later = this.#commits.findIndex(({ endLsn }) => endLsn > lsn);
    return later === -1 ? this.#commits.length : later;
  }

  #forget(count: number): void {
    this.#forgottenLsn = this.#commits.splice(0, count).at(-1)?.endLsn ?? this.#forgottenLsn;
  }
}

/** Compares what a database tells again with a landmark. */
export class Retelling {
  readonly #landmark: Landmark;
  readonly #fromLsn: bigint;
  #isMet = false;
  #strayLsn: bigint | undefined;
  #isOver = false;

  /** `fromLsn`: every commit that ended after it is told. */
  constructor(landmark: Landmark, fromLsn: bigint) {
    this.#landmark = landmark;
    this.#fromLsn = fromLsn;
  }

  /** The next commit, in order. */
  commit({ endLsn, atUs }: Ended): void {
    const { endLsn: metLsn, atUs: metUs, untilLsn } = this.#landmark;
    if (this.#isOver || endLsn < metLsn) return;
    if (endLsn === metLsn && atUs === metUs) this.#isMet = true;
    else if (endLsn <= untilLsn) this.#stray(endLsn);
    else this.passed(endLsn);
  }

  /** All commits up to a position were told. */
  passed(lsn: bigint): void {
    if (this.#isOver || lsn < this.#landmark.untilLsn) return;
    if (!this.#isMet && this.#landmark.endLsn > this.#fromLsn) this.#stray(this.#landmark.endLsn);
    this.#isOver = true;
  }

  /** Whether it is known. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Where another history shows; undefined: it is the same, as far as was told. */
  get strayLsn(): bigint | undefined {
    return this.#strayLsn;
  }

  #stray(lsn: bigint): void {
    this.#strayLsn = lsn;
    this.#isOver = true;
  }
}
