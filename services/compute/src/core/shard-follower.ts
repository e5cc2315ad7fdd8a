/**
 * What one subscriber gets of one shard: the next frame, made when it is asked for.
 *
 * Owns the order of frames and the cursor that they carry. Does not own the stream (follow.ts) or the shard.
 *
 *                      cursor checked
 *     checking ──┬──────────────────────▶ following ◀─────────┐
 *                │ nothing had, other history,   │ gap         │ all passes ended:
 *                └ journal too short ─▶ catching up (frozen) ──┘ closing frame
 *
 * `#live` is how far changes of the followed views were sent; the cursor follows it, except while frozen. A view that
 * the subscriber does not have comes by a pass: pages of its committed state, while its changes since that commit come
 * with everybody's. Nothing is queued for a pass, however slow it is (R4): the journal is pinned from `#live` on.
 *
 * A subscriber so slow that even the pinned journal no longer reaches back to `#live` does not begin again, which it
 * might do for ever. Its passes go on without changes, and end with the cursor at `#live`, where it stopped: all changes
 * before it were sent, and every key that changed later is there at some later state, which R1 allows. What changed
 * since comes by the next catch-up. So completeness moves on by at least a pass, whatever the rate of changes.
 *
 * Invariants: R1 (when the cursor says position P, every change before P of the views that it names was sent, at the
 * state of P or later); the cursor never moves within a catch-up; a frame's `after` is the cursor of the frame before. R3 (rows
 * are sent before the cursor gets to them: it says how far they reach, and one that comes back is followed only where the log
 * has the same record there too).
 */
import { assert, must } from '@freshet/kit/assert.ts';
import { findCursor, reachOf } from './cursor-check.ts';
import { type Cursor, type Frame, FrameBuilder, type Place, type StandingRows } from './frame.ts';
import type { Shard } from './shard.ts';
import type { Head } from './tail.ts';

export interface FollowOptions {
  /** The views wanted; undefined: all in force. */
  readonly wanted: ReadonlySet<string> | undefined;
  /** The least time between frames of live changes, microseconds. */
  readonly coalesceUs: number;
  readonly signal: AbortSignal;
}

/** A frame without rows is sent when log time moved so far, microseconds: once per tick. */
const EMPTY_FRAME_US = 500_000;

/** Rows of a page that comes between changes: what a live row may find in front of it. */
const ROWS_BESIDE = 100;

/** A view on its way to the subscriber. */
interface Pass {
  readonly viewId: string;
  readonly instance: string;
  /** The position of the commit that the pages are at least of; undefined until the pass begins. */
  asOf: number | undefined;
  afterKey: string | undefined;
  /** How many rows the next page is made of: fewer where rows are large. */
  pageRows: number;
}

/** Changes being sent: those before `target`. */
interface Round {
  readonly target: Head;
  readonly keys: Iterator<readonly [viewId: string, key: string], 'gap' | 'done'>;
}

export class ShardFollower {
  readonly #shard: Shard;
  readonly #options: FollowOptions;
  #phase: 'checking' | 'following' = 'checking';
  #checkFailure: unknown;
  /** Where the subscriber is. */
  #cursor: Cursor;
  /** The cursor of the last frame; the subscriber's own before the first. */
  #sent: Cursor;
  /** Where the rows end that the subscriber has; they may be newer than the cursor. */
  #ahead: Place | undefined;
  #completeThroughUs = 0;
  /** Whether the cursor waits for passes to end. */
  #frozen = false;
  /** Changes after `#live` are lost to this catch-up: it ends at `#live`. */
  #lost = false;
  #live: Head = { position: 0, logTimeUs: 0, recordCrc: 0 };
  /** Views whose changes are sent, with the instance that is meant. */
  readonly #followed = new Map<string, string>();
  /** Views that the subscriber has whole as of `#live`. */
  readonly #whole = new Set<string>();
  /** Views that the cursor of the last frame names, with the instance that is meant. */
  #claimed: Map<string, string> = new Map();
  /** The cursor names a view that is not had any more: that is said before any page of the view comes. */
  #retracting = false;
  #passes: Pass[] = [];
  #round: Round | undefined;
  #viewsEpoch = -1;
  /** The next frame is worth sending even without rows. */
  #telling = false;
  #sentGeneration = -1;
  #lastWasLive = false;
  #nextLiveUs = -Infinity;
  readonly #leave: readonly (() => void)[];

  /** `onNews` is called whenever there may be another frame. Close it when it is no longer asked for frames. */
  constructor(shard: Shard, cursor: Cursor, options: FollowOptions, onNews: () => void) {
    this.#shard = shard;
    this.#cursor = cursor;
    this.#sent = cursor;
    this.#ahead = cursor.ahead;
    this.#options = options;
    this.#leave = [shard.listen(onNews), shard.pin(() => this.#pinnedFrom())];
    this.#check()
      .catch((error: unknown) => {
        this.#checkFailure = error;
      })
      .finally(onNews);
  }

  /** Leaves the shard. */
  close(): void {
    for (const leave of this.#leave) leave();
  }

  get shard(): Shard {
    return this.#shard;
  }

  /** The cursor of the last frame, or the subscriber's own before the first. */
  get cursor(): Cursor {
    return this.#sent;
  }

  /** Why there can be no frame yet: what the shard is at is not what the cursor says. Undefined when it can be followed. */
  get waitsFor(): string | undefined {
    if (this.#phase !== 'checking') return undefined;
    if (this.#shard.logId === '') return 'its log is not known yet';
    const reach = reachOf(this.#cursor);
    const behind = this.#shard.position < reach;
    return behind ? `it is at ${this.#shard.position}, behind ${reach}` : 'the cursor is being checked';
  }

  /** When a frame that waits for coalescing, or for its turn as a page, may be sent, in monotonic microseconds; undefined when none waits. */
  get waitsUntilUs(): number | undefined {
    if (this.#phase !== 'following') return undefined;
    const behind = this.#live.position < this.#shard.position;
    const liveUs = behind && !this.#lost && this.#round === undefined ? this.#nextLiveUs : Number.POSITIVE_INFINITY;
    const pageUs = this.#passes[0]?.asOf === undefined ? Number.POSITIVE_INFINITY : this.#pageFromUs;
    const untilUs = Math.min(liveUs, pageUs);
    return untilUs === Number.POSITIVE_INFINITY ? undefined : untilUs;
  }

  /** The subscriber has other views whose changes it is told of: pages come between these. */
  get #isBeside(): boolean {
    return !this.#frozen && this.#whole.size > 0;
  }

  get #pageRowsMax(): number {
    const { pageRows } = this.#shard.options.limits.frame;
    return this.#isBeside ? Math.min(ROWS_BESIDE, pageRows) : pageRows;
  }

  /** When the next page may be made, monotonic microseconds. */
  get #pageFromUs(): number {
    return this.#isBeside ? this.#shard.options.passPace.freeAtUs : Number.NEGATIVE_INFINITY;
  }

  /** The position from which on the journal must stay for this subscriber's catch-up. */
  #pinnedFrom(): number | undefined {
    const catchesUp = this.#frozen || this.#passes.length > 0;
    return catchesUp && !this.#lost && this.#phase === 'following' ? this.#live.position : undefined;
  }

  /**
   * The next frame; 'busy' when there is none yet but asking again may bring one; undefined when there is none until the
   * shard's listeners are called. Throws when the shard stopped or the cursor could not be checked.
   */
  next(nowUs: number): Frame | 'busy' | undefined | Promise<Frame | 'busy'> {
    const failure = this.#shard.failure ?? this.#checkFailure;
    if (failure !== undefined) throw failure;
    if (this.#phase === 'checking') return undefined;
    this.#noteViews();
    if (this.#retracting) return this.#finish(new FrameBuilder());
    const live = this.#liveIsDue(nowUs);
    // Pages and changes take turns: neither keeps the other waiting.
    const pass = live && !this.#lastWasLive ? undefined : this.#runnablePass(nowUs);
    this.#lastWasLive = pass === undefined;
    if (pass !== undefined) return this.#page(pass);
    return live ? this.#changes(nowUs) : this.#closing();
  }

  // Checking the cursor.

  async #check(): Promise<void> {
    const found = await findCursor(this.#shard, this.#cursor, this.#options.signal);
    if (found === 'of another history') {
      this.#startOver();
      return;
    }
    this.#claim();
    if (found === 'trimmed') {
      this.#catchUpByPasses();
    } else {
      this.#live = found;
      this.#completeThroughUs = found.logTimeUs;
      for (const [viewId, instance] of this.#claimed) {
        this.#followed.set(viewId, instance);
        this.#whole.add(viewId);
      }
    }
    this.#phase = 'following';
  }

  /** Takes from the subscriber's cursor what is true of it here and now. */
  #claim(): void {
    const { position, views } = this.#cursor;
    for (const viewId of views) {
      const view = this.#shard.views.complete.get(viewId);
      if (view === undefined || !this.#wants(viewId) || position < view.journaledFrom) continue;
      this.#claimed.set(viewId, view.instance);
    }
    this.#retracting = this.#claimed.size < views.length;
    this.#cursor = { ...this.#cursor, views: [...this.#claimed.keys()].sort() };
  }

  /** The subscriber has nothing of this history. */
  #startOver(): void {
    const { shard, logId } = this.#shard;
    this.#cursor = { shard, logId, position: 0, recordCrc: 0, views: [] };
    this.#ahead = undefined;
    this.#completeThroughUs = 0;
    this.#catchUpByPasses();
    this.#phase = 'following';
  }

  /** Everything comes by passes; the cursor stays until they end. */
  #catchUpByPasses(): void {
    this.#followed.clear();
    this.#whole.clear();
    this.#passes = [];
    this.#round = undefined;
    this.#live = this.#shard.head;
    this.#viewsEpoch = -1;
    this.#frozen = true;
    this.#lost = false;
    this.#telling = true;
    this.#noteViews();
  }

  // Which views.

  #wants(viewId: string): boolean {
    return this.#options.wanted === undefined || this.#options.wanted.has(viewId);
  }

  /** Takes up views that became complete and drops those that are gone. */
  #noteViews(): void {
    if (this.#viewsEpoch === this.#shard.views.epoch) return;
    this.#viewsEpoch = this.#shard.views.epoch;
    this.#telling = true;
    const complete = this.#shard.views.complete;
    const isCurrent = (viewId: string, instance: string): boolean => complete.get(viewId)?.instance === instance;
    for (const [viewId, instance] of this.#followed) {
      if (isCurrent(viewId, instance)) continue;
      this.#followed.delete(viewId);
      this.#whole.delete(viewId);
    }
    for (const [viewId, instance] of this.#claimed) {
      if (isCurrent(viewId, instance)) continue;
      this.#claimed.delete(viewId);
      this.#cursor = { ...this.#cursor, views: this.#cursor.views.filter((v) => v !== viewId) };
      this.#retracting = true;
    }
    this.#passes = this.#passes.filter((pass) => isCurrent(pass.viewId, pass.instance));
    for (const [viewId, { instance }] of complete) {
      if (!this.#wants(viewId) || this.#whole.has(viewId)) continue;
      if (this.#passes.some((pass) => pass.viewId === viewId)) continue;
      const pageRows = this.#pageRowsMax;
      this.#passes.push({ viewId, instance, asOf: undefined, afterKey: undefined, pageRows });
    }
  }

  // Passes.

  /** The pass that a page can be made of now. Begins the next pass when that can be, also while pages rest: it is waited for then. */
  #runnablePass(nowUs: number): Pass | undefined {
    const pass = this.#passes[0];
    if (pass === undefined || (pass.asOf === undefined && !this.#begin(pass))) return undefined;
    return nowUs < this.#pageFromUs ? undefined : pass;
  }

  #begin(pass: Pass): boolean {
    // Between two rounds of changes, so that the round after it starts at the pass's commit.
    if (this.#round !== undefined) return false;
    const { committed } = this.#shard;
    const stored = committed?.instances.some((i) => i.instance === pass.instance && i.complete);
    // From a commit that the changes do not go on from, it would have to begin again when it ends.
    if (committed === undefined || !stored || committed.position < this.#shard.erasedBelow) {
      this.#shard.askCommit();
      return false;
    }
    pass.asOf = committed.position;
    this.#followed.set(pass.viewId, pass.instance);
    if (committed.position < this.#live.position) this.#live = committed;
    return true;
  }

  async #page(pass: Pass): Promise<Frame | 'busy'> {
    assert(pass.asOf !== undefined, 'the pass has begun');
    const { viewId, instance, afterKey, asOf, pageRows } = pass;
    const { clock, passPace } = this.#shard.options;
    const begunUs = clock.monotonicUs();
    const page = await this.#shard.pages.take({ viewId, instance, afterKey, asOf, rows: pageRows });
    passPace.worked(begunUs, clock.monotonicUs());
    // Dropped while the page was read.
    const view = this.#shard.views.complete.get(viewId);
    if (page === undefined || view?.instance !== instance) return 'busy';
    const most = this.#pageRowsMax;
    pass.pageRows = page.isCut ? page.rows.length + 1 : Math.min(most, pageRows * 2);
    const frame = new FrameBuilder();
    for (const row of page.rows) frame.add(viewId, row);
    const throughKey = page.throughKey ?? afterKey ?? '';
    const { generation } = view;
    frame.pass({ viewId, afterKey: afterKey ?? '', throughKey, last: page.last, asOf, generation });
    pass.afterKey = throughKey;
    if (page.last) {
      assert(this.#passes[0] === pass, 'one pass at a time');
      this.#passes.shift();
      this.#whole.add(viewId);
      this.#telling = true;
    }
    return this.#finish(frame);
  }

  // Changes.

  #liveIsDue(nowUs: number): boolean {
    if (this.#lost) return false;
    if (this.#round !== undefined) return true;
    return this.#live.position < this.#shard.position && nowUs >= this.#nextLiveUs;
  }

  #changes(nowUs: number): Frame | 'busy' {
    const limits = this.#shard.options.limits.frame;
    this.#round ??= this.#beginRound();
    const round = this.#round;
    const frame = new FrameBuilder();
    for (let looked = 0; looked < limits.keys && frame.bytes < limits.bytes; looked++) {
      const { done, value } = round.keys.next();
      if (done !== true) {
        this.#addRow(frame, ...value);
        continue;
      }
      this.#round = undefined;
      if (value === 'gap') this.#loseChanges();
      else this.#endRound(round, nowUs);
      break;
    }
    // The end of what is begun here moves the cursor: it is told even if it has no rows.
    if (frame.rows > 0 && this.#round !== undefined) this.#telling = true;
    if (frame.rows > 0 || (this.#round === undefined && this.#isWorthTelling())) return this.#finish(frame);
    return 'busy';
  }

  #beginRound(): Round {
    const target = this.#shard.head;
    return { target, keys: this.#changedKeys(this.#live.position, target.position) };
  }

  #endRound(round: Round, nowUs: number): void {
    this.#live = round.target;
    this.#nextLiveUs = nowUs + this.#options.coalesceUs;
  }

  /** The journal does not reach back to what is to be sent next. */
  #loseChanges(): void {
    // Within a catch-up the passes end first. Beginning them again, a slow subscriber would never come to an end.
    if (this.#frozen && this.#live.position >= this.#cursor.position) this.#lost = true;
    else this.#catchUpByPasses();
  }

  #addRow(frame: FrameBuilder, viewId: string, key: string): void {
    const row = this.#shard.rowField(viewId, key);
    if (row !== undefined) frame.add(viewId, row);
    // What erased it is before the fold's position, and what may come again is not: any version in between will do.
    else if (this.#followed.has(viewId)) frame.addGone(viewId, key, this.#shard.position - 1);
  }

  /** The keys that changed in [from, to), nearly each once: where a key comes again before `to`, it is left for then. */
  *#changedKeys(from: number, to: number): Generator<readonly [viewId: string, key: string], 'gap' | 'done'> {
    for (let at = from; at < to; ) {
      const changes = this.#shard.changesAt(at);
      if (changes === undefined) return 'gap';
      at = changes.to;
      for (const [viewId, keys] of changes.changed) {
        for (const key of keys) {
          if (!this.#followed.has(viewId)) break;
          const version = this.#shard.version(viewId, key);
          const toldBefore = version !== undefined && version < from;
          const toldLater = version !== undefined && version >= at && version < to;
          if (!toldBefore && !toldLater) yield [viewId, key];
        }
      }
    }
    return 'done';
  }

  // Cursor.

  /** Whether the cursor may go to where changes were sent. */
  #mayMove(): boolean {
    if (this.#round !== undefined) return false;
    if (this.#frozen) return this.#passes.length === 0;
    return this.#live.position >= this.#cursor.position;
  }

  /** Whether a frame without rows has something to say. */
  #isWorthTelling(): boolean {
    if (!this.#mayMove()) return false;
    const told = this.#telling || this.#shard.generation !== this.#sentGeneration;
    return told || this.#live.logTimeUs - this.#completeThroughUs >= EMPTY_FRAME_US;
  }

  /** A frame that only moves the cursor, after the last page of a pass or a change of views. */
  #closing(): Frame | undefined {
    return this.#isWorthTelling() ? this.#finish(new FrameBuilder()) : undefined;
  }

  #finish(frame: FrameBuilder): Frame {
    const { shard, logId, generation, views } = this.#shard;
    const after = this.#cursor.position;
    // A page takes rows away as well, by not bringing them.
    if (frame.rows > 0 || frame.isPage) this.#ahead = this.#shard.head;
    // A page says nothing about the rest of the view: the frame after the last one moves the cursor.
    const isStanding = frame.isPage || this.#retracting;
    this.#retracting = false;
    if (!isStanding && this.#mayMove()) {
      const { position, recordCrc, logTimeUs } = this.#live;
      this.#frozen = false;
      this.#lost = false;
      this.#telling = false;
      this.#claimed = new Map([...this.#whole].map((viewId) => [viewId, must(this.#followed.get(viewId))]));
      this.#cursor = { shard, logId, position, recordCrc, views: [...this.#whole].sort() };
      this.#completeThroughUs = logTimeUs;
    }
    this.#sentGeneration = generation;
    const ahead = (this.#ahead?.position ?? 0) > this.#cursor.position ? this.#ahead : undefined;
    this.#sent = { ...this.#cursor, ahead };
    return frame.finish({
      cursor: this.#sent,
      after,
      completeThroughUs: this.#completeThroughUs,
      building: views.building.filter((viewId) => this.#wants(viewId)),
      standing: this.#standing(),
      generations: this.#cursor.views.map((viewId) => views.complete.get(viewId)?.generation ?? 0),
      generation,
    });
  }

  /** Views of the cursor whose rows are not as new as it is, because their route begins anew. */
  #standing(): StandingRows[] {
    return this.#cursor.views.flatMap((viewId) => {
      const standing = this.#shard.views.complete.get(viewId)?.standing;
      return standing === undefined ? [] : [{ viewId, completeThroughUs: standing.logTimeUs }];
    });
  }
}
