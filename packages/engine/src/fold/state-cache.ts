/**
 * The key states of one view instance in memory, in front of the cold store.
 *
 * Owns which states are held, which are dirty, and dropping clean ones beyond the byte budget (second chance: a hand
 * goes round, and drops what was not used since it last came by). Does not own what is in a state.
 *
 * Invariant R4: evict() brings memory under the budget as far as states that are dirty, or in a commit that is not
 * durable, allow. Invariant F1: whether a state is held or not never shows in a value.
 */
import type { ColdState } from '../shard-fold.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { emptyKeyState, isClear, type KeyState, NOT_STORED, Stage, sizeOfEncoded } from '../state/key-state.ts';
import { decodeState, encodeState } from '../state/state-codec.ts';
import type { RunnableView } from '../state/view-plan.ts';

/** What all caches of a shard use together, in estimated bytes. */
export interface CacheUse {
  bytes: number;
  /** Of what the next commit would encode; close() leaves it too high until that commit. */
  dirtyBytes: number;
}

/** Roughly, what encoding makes of the memory that a state takes. */
const ENCODED_SHARE = 0.2;

export class StateCache {
  readonly #view: RunnableView;
  readonly #instance: string;
  readonly #cold: ColdState;
  readonly #use: CacheUse;
  readonly #states = new Map<string, KeyState>();
  /** Whether the cold store may have states that are not in memory: not before the first eviction of a new instance. */
  #isPartial: boolean;
  /** How many keys have state, in memory or not. */
  keys: number;
  #dirty: KeyState[] = [];
  #taken: KeyState[] = [];
  /** Keys to be deleted by the next commit, with the version that is stored; and by one that is not durable yet. */
  #gone = new Map<string, number>();
  #leaving: ReadonlyMap<string, number> = new Map();
  #hand: MapIterator<[string, KeyState]> | undefined;
  #expected: readonly KeyState[] = [];
  #expectedAt = 0;

  constructor(options: {
    readonly view: RunnableView;
    readonly instance: string;
    readonly cold: ColdState;
    readonly use: CacheUse;
    readonly isPartial: boolean;
    readonly keys: number;
  }) {
    this.#view = options.view;
    this.#instance = options.instance;
    this.#cold = options.cold;
    this.#use = options.use;
    this.#isPartial = options.isPartial;
    this.keys = options.keys;
  }

  get size(): number {
    return this.#states.size;
  }

  /** The state to be changed, made or loaded if need be; call changed() after changing it. */
  open(key: string): KeyState {
    let state = this.#states.get(key);
    if (state === undefined) {
      state = this.#load(key);
      if (state === undefined) {
        state = emptyKeyState(this.#view, key);
        state.storedVersion = this.#gone.get(key) ?? NOT_STORED;
        this.#gone.delete(key);
        this.keys++;
      }
      this.#states.set(key, state);
      this.#use.bytes += state.sizeBytes;
    }
    state.recent = true;
    return state;
  }

  /** Notes that the state was changed; `sizeBefore` is the size it had before. */
  changed(state: KeyState, sizeBefore: number): void {
    this.#use.bytes += state.sizeBytes - sizeBefore;
    if (state.stage === Stage.DIRTY) return;
    state.stage = Stage.DIRTY;
    this.#use.dirtyBytes += state.sizeBytes * ENCODED_SHARE;
    this.#dirty.push(state);
  }

  /**
   * Drops the key's state if nothing is in it: the next commit deletes it. Says whether a state is left. Nobody need be
   * told: a row of it says what no row says.
   */
  forget(key: string): boolean {
    const state = this.peek(key);
    if (state === undefined) return false;
    if (!isClear(this.#view, state)) return true;
    this.expect([]);
    if (this.#states.delete(key)) this.#use.bytes -= state.sizeBytes;
    if (state.stage === Stage.DIRTY) this.#dirty = this.#dirty.filter((one) => one !== state);
    if (state.storedVersion !== NOT_STORED) this.#gone.set(key, state.storedVersion);
    this.keys--;
    return false;
  }

  /** The state for reading, without keeping it in memory when it was not there: passes read every key once. */
  peek(key: string): KeyState | undefined {
    return this.hot(key) ?? this.#load(key);
  }

  /**
   * Says which states, all in memory, will be asked for next, if in this order: their rows are about to be sent. Among
   * hundreds of thousands, looking a key up takes longer than many a row (measured).
   */
  expect(states: readonly KeyState[]): void {
    this.#expected = states;
    this.#expectedAt = 0;
  }

  /** The encoded state of a key that is not in memory. */
  peekCold(key: string): Uint8Array | undefined {
    return this.#isPartial && !this.#states.has(key) && !this.isGone(key)
      ? this.#cold.load(this.#instance, key)
      : undefined;
  }

  /** Whether what the cold store has of the key, if anything, does not count any more. */
  isGone(key: string): boolean {
    return this.#gone.has(key) || this.#leaving.has(key);
  }

  /** Whether the cold store may have states that are not in memory. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  /** The state if it is in memory. */
  hot(key: string): KeyState | undefined {
    return this.#expectedFor(key) ?? this.#states.get(key);
  }

  hotKeys(): IterableIterator<string> {
    return this.#states.keys();
  }

  /**
   * Encodes the dirty states and hands them to `put`, with the version of the stored state that each replaces
   * (NOT_STORED: none). They stay in memory until settle().
   */
  take(writer: ByteWriter, put: (state: KeyState, bytes: Uint8Array, replaced: number) => void): void {
    for (const state of this.#dirty) {
      const bytes = encodeState(writer, this.#view, state);
      // Now that the size of what the accumulators hold is known, the estimate can follow it.
      const sizeBytes = sizeOfEncoded(this.#view, state, bytes.length);
      this.#use.bytes += sizeBytes - state.sizeBytes;
      state.sizeBytes = sizeBytes;
      state.stage = Stage.TAKEN;
      this.#taken.push(state);
      put(state, bytes, state.storedVersion);
      state.storedVersion = state.version;
    }
    this.#dirty = [];
  }

  /** Hands the keys that are to be deleted to `remove`, with the version of the stored state of each. */
  takeGone(remove: (key: string, replaced: number) => void): void {
    this.#leaving = this.#gone;
    this.#gone = new Map();
    for (const [key, replaced] of this.#leaving) remove(key, replaced);
  }

  /** What was taken is durable. */
  settle(): void {
    this.#leaving = new Map();
    for (const state of this.#taken) if (state.stage === Stage.TAKEN) state.stage = Stage.CLEAN;
    this.#taken = [];
  }

  /** Drops clean states until the shard's use is within the limit, or the hand has gone round twice. */
  evict(limitBytes: number): void {
    // One that was dropped could be loaded again and change, and be expected as it was.
    this.expect([]);
    let left = this.#states.size * 2;
    while (this.#use.bytes > limitBytes && left > 0) {
      left--;
      this.#hand ??= this.#states.entries();
      const next = this.#hand.next();
      if (next.done === true) {
        this.#hand = undefined;
        continue;
      }
      const [key, state] = next.value;
      if (state.recent) {
        state.recent = false;
      } else if (state.stage === Stage.CLEAN) {
        this.#states.delete(key);
        this.#use.bytes -= state.sizeBytes;
        this.#isPartial = true;
      }
    }
  }

  /** Gives up everything in memory; the instance is over. */
  close(): void {
    this.expect([]);
    for (const state of this.#states.values()) this.#use.bytes -= state.sizeBytes;
    this.#states.clear();
    this.#gone = new Map();
    this.#dirty = [];
    this.#taken = [];
  }

  /** The expected state if it is the one asked for last, or the one behind that. */
  #expectedFor(key: string): KeyState | undefined {
    const last = this.#expected[this.#expectedAt];
    if (last?.key === key) return last;
    const next = this.#expected[this.#expectedAt + 1];
    if (next?.key !== key) return undefined;
    this.#expectedAt++;
    return next;
  }

  #load(key: string): KeyState | undefined {
    if (!this.#isPartial || this.isGone(key)) return undefined;
    const bytes = this.#cold.load(this.#instance, key);
    return bytes === undefined ? undefined : decodeState(this.#view, key, bytes);
  }
}
