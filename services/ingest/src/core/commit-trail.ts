/**
 * Tells whether a database still has the commits that it once told: a copy of its files that was put back has the same id and
 * timeline, and once enough was written to it, its log is no shorter either. Pure.
 *
 * The landmark is the newest commit up to the acknowledged position, by its end and its time. A database that was never put
 * back tells it again, at the same place, and no commit between it and that position; one that was put back tells others in
 * their place. What is told again begins where the database's slot says that it was acknowledged, which a crash sets back and
 * so does a copy: it is compared only then. Behind the acknowledged position the log may have more, and would take other rows of
 * the same places for those: its newest commit must be told again, too.
 */

export interface Landmark {
  /** The end of the commit; 0: no commit came since the slot was made. */
  readonly endLsn: bigint;
  /** The time of the commit, microseconds since the Unix epoch. */
  readonly atUs: number;
  /** No commit ended after `endLsn` and up to here. */
  readonly untilLsn: bigint;
}

/** The newest commit of which the log has rows. */
export interface LoggedCommit {
  readonly commitLsn: bigint;
  readonly atUs: number;
}

interface Ended extends LoggedCommit {
  readonly endLsn: bigint;
}

/** Commits that are remembered at most; the oldest are forgotten. */
const COMMITS_MAX = 65_536;

/** The commits of one stream that are not acknowledged yet. */
export class CommitTrail {
  readonly #commits: Ended[] = [];
  /** The end of the newest commit that is forgotten. */
  #forgottenLsn = 0n;

  came(commit: Ended): void {
    this.#commits.push(commit);
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
    if (last !== undefined) return { endLsn: last.endLsn, atUs: last.atUs, untilLsn: lsn };
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

/** What a database is known again by. */
export interface Known {
  readonly landmark?: Landmark | undefined;
  readonly logged?: LoggedCommit | undefined;
}

/** Compares what a database tells again with what it is known by. */
export class Retelling {
  readonly #fromLsn: bigint;
  /** What is still to be met; undefined: nothing. */
  #landmark: Landmark | undefined;
  #logged: LoggedCommit | undefined;
  #isMet = false;
  #strayLsn: bigint | undefined;

  /** `fromLsn`: every commit that ended after it is told, and what is known of before it is not. */
  constructor({ landmark, logged }: Known, fromLsn: bigint) {
    this.#fromLsn = fromLsn;
    this.#landmark = landmark !== undefined && landmark.untilLsn > fromLsn ? landmark : undefined;
    this.#logged = logged !== undefined && logged.commitLsn >= fromLsn ? logged : undefined;
  }

  /** The next commit, in order. */
  commit({ commitLsn, endLsn, atUs }: Ended): void {
    if (this.isOver) return;
    if (this.#logged !== undefined && commitLsn >= this.#logged.commitLsn) {
      const isMet = commitLsn === this.#logged.commitLsn && atUs === this.#logged.atUs;
      this.#logged = undefined;
      if (!isMet) this.#stray(commitLsn);
    }
    if (this.#landmark === undefined || endLsn < this.#landmark.endLsn) return;
    const { endLsn: metLsn, atUs: metUs, untilLsn } = this.#landmark;
    if (endLsn === metLsn && atUs === metUs) this.#isMet = true;
    else if (endLsn <= untilLsn) this.#stray(endLsn);
    else this.#passedLandmark();
  }

  /** All commits up to a position were told, or there are none. */
  passed(lsn: bigint): void {
    if (this.isOver) return;
    if (this.#logged !== undefined && lsn > this.#logged.commitLsn) this.#stray(this.#logged.commitLsn);
    if (this.#landmark !== undefined && lsn >= this.#landmark.untilLsn) this.#passedLandmark();
  }

  /** The database's log ends here: what is behind it is not told any more. */
  ends(lsn: bigint): void {
    if (!this.isOver && this.#logged !== undefined && lsn <= this.#logged.commitLsn) this.#stray(lsn);
  }

  /** Whether it is known. */
  get isOver(): boolean {
    return this.#strayLsn !== undefined || (this.#landmark === undefined && this.#logged === undefined);
  }

  /** Where another history shows; undefined: it is the same, as far as was told. */
  get strayLsn(): bigint | undefined {
    return this.#strayLsn;
  }

  #passedLandmark(): void {
    const { endLsn = 0n } = this.#landmark ?? {};
    if (!this.#isMet && endLsn > this.#fromLsn) this.#stray(endLsn);
    this.#landmark = undefined;
  }

  #stray(lsn: bigint): void {
    this.#strayLsn ??= lsn;
  }
}
