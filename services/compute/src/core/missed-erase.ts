/**
 * State that holds an entity which was erased while nobody could reach the node, and how that is told.
 *
 *     rows of the entity folded ── node is away ── erased: rows out of the log ── complete: the Erase record too ── it is back
 *
 * Once an erase is complete, its record is a filler that says where the partition ended when the rows were out of it
 * (`rowsGoneAt`). Whoever comes to the filler has not folded the Erase record. If his state was begun after that end, it was
 * made without the rows, and he goes on. If it was begun before, the rows may be in it, under a key that nothing names any
 * more: all of it has to go, and is folded anew from a log that has the entity no more.
 *
 * His followers are another matter: one that was away as well may have a row of the entity, and no change of the key tells it to
 * drop that, because there is none any more. So who was told less than the filler gets a pass, which does.
 *
 * A build reads the log a second time from its beginning, and comes to fillers of erases that the live fold has folded as
 * such. So it is asked when the build was begun, too.
 *
 * Owns the marks and the comparison. Pure.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { rowsGoneAt } from '@freshet/log/erased-record.ts';
import type { LogEntry } from '@freshet/log/log.ts';

/** The state is to be removed, not put aside; it was begun anew, or can be, when it is made without the entity. */
export class MissedErase extends FreshetError {
  /** What may hold the entity: checkpoints up to this position. */
  readonly heldUpTo: number;

  /** `offset`: of the Erase record that was. */
  constructor(shard: number, offset: number, heldUpTo = offset) {
    super(
      'WRONG_LOG',
      `shard ${shard} was away while an entity was erased by record ${offset}, and may hold it still`,
      {
        remedy: 'nothing needs to be done: its state is removed, and folded anew from the log',
      },
    );
    this.heldUpTo = heldUpTo;
  }
}

/** What of it a commit keeps. */
export interface EraseMarks {
  /** Where the partition ended when the state was begun from nothing; 0: not known. */
  readonly begunAt: number;
  /** Who was told less than this offset gets a pass: a record that erased an entity was gone; 0: none was. */
  readonly erasedBelow: number;
}

export class EraseWatch {
  readonly #shard: number;
  #begunAt: number | undefined;
  #erasedBelow: number;

  /** `committed`: undefined for state that is not begun yet. */
  constructor(shard: number, committed: EraseMarks | undefined) {
    this.#shard = shard;
    this.#begunAt = committed?.begunAt;
    this.#erasedBelow = committed?.erasedBelow ?? 0;
  }

  get marks(): EraseMarks {
    return { begunAt: this.#begunAt ?? 0, erasedBelow: this.#erasedBelow };
  }

  /** The partition ends there, and nothing was read of it yet: what is out of it by now is not folded. */
  beginAt(end: number): void {
    this.#begunAt ??= end;
  }

  /** Looks at records that are to be folded next. Throws MissedErase. */
  look(entries: readonly LogEntry[]): void {
    this.#erasedBelow = Math.max(this.#erasedBelow, this.#check(entries, this.#begunAt ?? 0, false));
  }

  /** Looks at records that a build is to fold next which was begun when the partition ended there. Throws MissedErase. */
  lookForBuild(entries: readonly LogEntry[], begunAt: number): void {
    this.#check(entries, Math.max(this.#begunAt ?? 0, begunAt), true);
  }

  /** The position behind the newest Erase record that is gone; 0: there is none. */
  #check(entries: readonly LogEntry[], begunAt: number, isBuild: boolean): number {
    let below = 0;
    for (const { record, offset } of entries) {
      const gone = rowsGoneAt(record);
      if (gone === undefined) continue;
      // A checkpoint from behind the record has the build too, with what that had read by then.
      if (begunAt <= gone) throw new MissedErase(this.#shard, offset, isBuild ? Infinity : offset);
      below = offset + 1;
    }
    return below;
  }
}
