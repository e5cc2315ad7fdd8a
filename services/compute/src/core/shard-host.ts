/**
 * The shards of a node: keeps each of them running, one life after the other, and mends one whose state cannot be used.
 *
 * Owns which shards run and what becomes of one that stops; one shard's trouble is never another's:
 *
 *     the log does not reach back      halted, tried again every few seconds: the right log may come back; after a
 *                                      minute put aside, and begun where the log begins (wanted-routes.ts)
 *     damaged state, or of another log put aside (not deleted: a wrong --log is undone by giving the right one again); the
 *                                      next life restores a checkpoint, or folds from the log's beginning (shard-life.ts)
 *     state that missed an erase       removed with the checkpoints that may hold the entity (missed-erase.ts), made anew
 *     the disk, a lock, anything else  tried again, with back-off
 *     a fault of ours                  ends the process
 *
 * Does not own what a shard does. Says what is not as it should be in conditions, from "shard/<number>/" on.
 */
import type { Condition } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { CheckpointInfo, ShardCheckpoints } from './checkpoint.ts';
import { type ForgetPlace, type ForgetRequest, type Forgotten, forgetEntity } from './forget-entity.ts';
import { MendHistory } from './mend-history.ts';
import { MissedErase } from './missed-erase.ts';
import type { NodeUpkeep } from './node-upkeep.ts';
import type { Shard } from './shard.ts';
import { liveOnce, type ShardLifeOptions } from './shard-life.ts';
import type { ShardSource } from './shard-source.ts';
import type { ShardUpkeep } from './shard-upkeep.ts';

export interface ShardHostOptions extends Omit<ShardLifeOptions, 'checkpoints'> {
  /** Puts a shard's storage out of the way; says where it is. */
  readonly setAside: (shard: number) => Promise<string>;
  /** Removes a shard's storage; once begun it is removed, whatever happens in between, before it is opened again. */
  readonly discard: (shard: number) => Promise<void>;
  readonly openCheckpoints: (shard: number) => Promise<ShardCheckpoints>;
  /** Rewrites a shard's closed store: nothing else is left of these states than what was last committed. */
  readonly compact: (shard: number, states: readonly StateName[]) => Promise<void>;
  /** Paths of what of a shard lies out of the way. */
  readonly asides: (shard: number) => Promise<readonly string[]>;
  readonly removeAside: (path: string) => Promise<void>;
}

type StateName = readonly [instance: string, key: string];

/** A store to be rewritten between two lives. */
interface Rewriting {
  readonly states: readonly StateName[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** How long to wait before a shard whose log does not reach back is tried again, in milliseconds. */
const HALTED_MS = 5_000;
/** So many tries make a minute. */
const HALTED_TRIES = 12;
/** Between tries of a shard that does not get going, in milliseconds: the first comes at once. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** A life that went well for so long makes up for failures before it, microseconds: one that ends again and again never does. */
const WELL_US = 10_000_000;

/** What is known of a shard beyond one life. */
interface Kept {
  readonly mends: MendHistory;
  checkpoints: ShardCheckpoints | undefined;
  running: { readonly shard: Shard; readonly upkeep: ShardUpkeep } | undefined;
  /** Ends the life that runs, for a rewriting. */
  pause: AbortController;
  rewriting: Rewriting | undefined;
  scrubbedAtUs: number;
  restores: number;
  down: FreshetError | undefined;
  /** Tries since the log was found not to reach back. */
  halts: number;
  /** Lives that ended one after the other without having gone well. */
  failures: number;
  /** Since when the life that runs goes well, monotonic microseconds; undefined while it does not yet. */
  wellSinceUs: number | undefined;
}

export class ShardHost implements ShardSource, NodeUpkeep {
  readonly #options: ShardHostOptions;
  readonly #kept = new Map<number, Kept>();
  readonly #listeners = new Set<() => void>();
  #onSettled: (number: number) => void = () => undefined;

  constructor(options: ShardHostOptions) {
    this.#options = options;
  }

  /** The shards that run, by number ascending. */
  get shards(): readonly Shard[] {
    return [...this.#kept.values()]
      .flatMap(({ running }) => (running === undefined ? [] : [running.shard]))
      .sort((a, b) => a.shard - b.shard);
  }

  get conditionList(): readonly Condition[] {
    return this.#options.conditions.list();
  }

  get numbers(): readonly number[] {
    return [...this.#kept.keys()].sort((a, b) => a - b);
  }

  /** A shard; undefined when it does not run here (now). */
  shard(number: number): Shard | undefined {
    return this.#kept.get(number)?.running?.shard;
  }

  holds(number: number): boolean {
    return this.#kept.has(number);
  }

  whyDown(number: number): FreshetError | undefined {
    return this.#kept.get(number)?.down;
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  checkpoints(number: number): readonly CheckpointInfo[] {
    return this.#kept.get(number)?.checkpoints?.list ?? [];
  }

  repairs(number: number): number {
    return this.#kept.get(number)?.mends.total ?? 0;
  }

  restores(number: number): number {
    return this.#kept.get(number)?.restores ?? 0;
  }

  scrubbedAtUs(number: number): number {
    return this.#kept.get(number)?.scrubbedAtUs ?? 0;
  }

  takeCheckpoint(number: number): Promise<CheckpointInfo> {
    const running = this.#kept.get(number)?.running;
    if (running !== undefined) return running.upkeep.takeCheckpoint();
    const why = this.whyDown(number) ?? new FreshetError('UNAVAILABLE', `shard ${number} does not run here`);
    return Promise.reject(why);
  }

  async forget(request: ForgetRequest, signal: AbortSignal): Promise<Forgotten> {
    const number = request.shard;
    const { clock, log, asides, removeAside } = this.#options;
    const kept = this.#kept.get(number);
    const { running, checkpoints } = kept ?? {};
    if (kept === undefined || running === undefined || checkpoints === undefined) {
      throw this.whyDown(number) ?? new FreshetError('UNAVAILABLE', `shard ${number} does not run here`);
    }
    const place: ForgetPlace = {
      clock,
      log,
      shard: () => running.shard,
      checkpoints,
      takeCheckpoint: () => running.upkeep.takeCheckpoint(),
      rewrite: (states) => this.#rewrite(number, kept, states),
      asides: () => asides(number),
      removeAside,
    };
    return forgetEntity(place, request, signal);
  }

  #rewrite(number: number, kept: Kept, states: readonly StateName[]): Promise<void> {
    if (kept.rewriting !== undefined || kept.running === undefined) {
      return Promise.reject(new FreshetError('UNAVAILABLE', `shard ${number} is being rewritten or restarted already`));
    }
    return new Promise((resolve, reject) => {
      kept.rewriting = { states, resolve, reject };
      kept.pause.abort(new DOMException('the store is to be rewritten', 'AbortError'));
    });
  }

  /** Between two lives: rewrites the store if that was asked for. */
  async #rewriteNow(number: number, kept: Kept): Promise<void> {
    const { rewriting } = kept;
    if (rewriting === undefined) return;
    kept.rewriting = undefined;
    kept.down = new FreshetError(
      'UNAVAILABLE',
      `the store of shard ${number} is being rewritten: an entity was erased`,
    );
    try {
      await this.#options.compact(number, rewriting.states);
      rewriting.resolve();
    } catch (error) {
      rewriting.reject(error);
    }
  }

  /**
   * Runs the shards until the signal aborts; then commits each once more and closes it. `onOpen` is called once each of
   * them either can be followed or could not be opened.
   */
  async run(numbers: readonly number[], signal: AbortSignal, onOpen: () => void = () => undefined): Promise<void> {
    const unsettled = new Set(numbers);
    this.#onSettled = (number) => {
      if (unsettled.delete(number) && unsettled.size === 0) onOpen();
    };
    for (const number of numbers) {
      const mends = new MendHistory();
      const nothing = { checkpoints: undefined, running: undefined, down: undefined, wellSinceUs: undefined };
      const pause = new AbortController();
      this.#kept.set(number, {
        mends,
        ...nothing,
        pause,
        rewriting: undefined,
        scrubbedAtUs: 0,
        restores: 0,
        failures: 0,
        halts: 0,
      });
    }
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const running = [...this.#kept].map(([number, kept]) => this.#keep(number, kept, stop.signal));
      try {
        await Promise.all(running);
      } finally {
        stop.abort(new DOMException('another shard failed', 'AbortError'));
        await Promise.allSettled(running);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #keep(number: number, kept: Kept, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      kept.wellSinceUs = undefined;
      kept.pause = new AbortController();
      await this.#rewriteNow(number, kept);
      try {
        await this.#once(number, kept, AbortSignal.any([signal, kept.pause.signal]));
      } catch (error) {
        if (signal.aborted) return;
        if (kept.pause.signal.aborted && isAbort(error)) continue;
        // A fault of ours comes as it is; one that a peer tells of is the peer's.
        if (!isFreshetError(error)) throw error;
        kept.down = error;
        const wentWell = clock.monotonicUs() - (kept.wellSinceUs ?? Infinity) >= WELL_US;
        kept.failures = wentWell ? 1 : kept.failures + 1;
        this.#onSettled(number);
        this.#notify();
        const waitMs = await this.#judge(number, kept, error);
        if (waitMs > 0) await clock.sleep(waitMs, signal).catch(() => undefined);
      }
    }
    kept.rewriting?.reject(new FreshetError('UNAVAILABLE', `shard ${number} is stopping`));
  }

  /** What is to be done about a life's end; returns how long to wait before the next, in milliseconds. */
  async #judge(number: number, kept: Kept, error: FreshetError): Promise<number> {
    const { conditions, clock, setAside, asides, discard } = this.#options;
    const id = `shard/${number}/down`;
    const place = error.place === '' ? `shard ${number}` : error.place;
    const { code, message, remedy } = error;
    const isHalted = code === 'OFFSET_OUT_OF_RANGE';
    kept.halts = isHalted ? kept.halts + 1 : 0;
    if (!isFreshetError(error, 'WRONG_LOG', 'DATA_DAMAGED') && kept.halts <= HALTED_TRIES) {
      conditions.raise(id, { code, message, remedy, place }, isHalted ? 'problem' : 'warning');
      if (isHalted) return HALTED_MS;
      return kept.failures < 2 ? 0 : Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(kept.failures - 2, 10));
    }
    const isMissed = error instanceof MissedErase;
    let where: string;
    try {
      if (isMissed) {
        await discard(number);
        await this.#forgetErased(kept, error);
        where = 'the store was removed';
        // Not removed unasked: somebody may want to look at it.
        const others = await asides(number);
        if (others.length > 0) where += `; what was put aside before may hold it too, remove ${others.join(', ')}`;
      } else where = `the store was put aside to ${await setAside(number)}`;
    } catch (cause) {
      conditions.raise(id, {
        code: 'DISK_FAILED',
        message: `${message}; its store cannot be put out of the way: ${String(cause)}`,
        place,
      });
      return RETRY_MAX_MS;
    }
    const waitMs = kept.mends.add(clock.monotonicUs());
    const text = { code, message: `${message}; ${where}`, place };
    if (waitMs === 0) {
      conditions.raise(
        `shard/${number}/mended`,
        { ...text, remedy: isMissed ? error.remedy : 'it is made anew; remove what was put aside once you looked' },
        'note',
      );
      return 0;
    }
    const often = `shard ${number} was made anew ${kept.mends.recent} times within an hour: `;
    const about = 'look at the disk: the store is damaged again and again; the next try is in a while';
    conditions.raise(`shard/${number}/mended`, { ...text, message: often + text.message, remedy: about }, 'problem');
    return waitMs;
  }

  /** No checkpoint that may hold the entity stays either. A life that began with one would come to the same record and be ended. */
  async #forgetErased({ checkpoints }: Kept, { heldUpTo }: MissedErase): Promise<void> {
    for (const info of [...(checkpoints?.list ?? [])]) {
      if (info.position <= heldUpTo) await checkpoints?.forget(info);
    }
  }

  async #once(number: number, kept: Kept, signal: AbortSignal): Promise<void> {
    const { openCheckpoints, conditions, clock } = this.#options;
    kept.checkpoints ??= await openCheckpoints(number);
    await liveOnce(number, signal, {
      ...this.#options,
      checkpoints: kept.checkpoints,
      onHealthy: () => {
        kept.halts = 0;
        kept.wellSinceUs ??= clock.monotonicUs();
        conditions.clear(`shard/${number}/down`);
      },
      onRestoring: (why) => {
        kept.down = why;
        this.#onSettled(number);
      },
      onRestored: () => {
        kept.restores += 1;
      },
      onRunning: (running) => {
        kept.running = running;
        this.#onSettled(number);
        this.#notify();
      },
      onScrubbed: (atUs) => {
        kept.scrubbedAtUs = atUs;
      },
    });
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
