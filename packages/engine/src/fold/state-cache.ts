/**
 * The key states of one view instance in memory, in front of the cold store.
 *
 * Owns which states are held, which are dirty, and dropping clean ones beyond the byte budget (second chance: a hand
 * goes round, and drops what was not used since it last came by). Does not own what is in a state.
 *
 * Invariant R4: evict() brings memory under the budget as far as states that are dirty, or in a commit that is not
 * durable, allow. Invariant F1: whether a state is held or not never shows in a value.
 */
import { PartialsShare } from '../contributions/partials-share.ts';
import type { ColdState } from '../shard-fold.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { emptyKeyState, isClear, KeyState, NOT_STORED, Stage, sizeOfEncoded } from '../state/key-state.ts';
import { decodeState, encodeState } from '../state/state-codec.ts';
import type { RunnableView } from '../state/view-plan.ts';

/** What all caches of a shard use together, in estimated bytes. */
export interface CacheUse {
  bytes: number;
  /** Of what the next commit would encode; close() leaves it too high until that commit. */
  dirtyBytes: number;
  /** The part of `bytes` that is known of contributions, and can be known again. */
  readonly partials: PartialsShare;
}

/** Nothing, of the bytes that there are. */
export function noUse(cacheBytes: number, unknownMax?: number): CacheUse {
  const bytes = { bytes: 0, dirtyBytes: 0 };
  return Object.assign(bytes, { partials: new PartialsShare(bytes, cacheBytes, unknownMax) });
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
        this.keys++;
      }
      this.#states.set(key, state);
      this.#use.bytes += state.sizeBytes;
    }
    if (state.gone) this.#revive(state);
    state.recent = true;
    return state;
  }

  /**
   * The key has no state any more, from now on and in the next commit. `version` is that of its stored state, when it is not
   * in memory.
   */
  remove(key: string, version: number): void {
    let state = this.#states.get(key);
    if (state === undefined) {
      state = new KeyState(key, []);
      state.storedVersion = version;
      this.#states.set(key, state);
      this.#use.bytes += state.sizeBytes;
    }
    const { sizeBytes } = state;
    state.gone = true;
    state.cells = [];
    state.sizeBytes = new KeyState(key, []).sizeBytes;
    this.keys--;
    this.changed(state, sizeBytes);
  }

  /**
   * Removes the key's state if nothing is in it. Says whether a state is left. Nobody need be told: a row of it says what no
   * row says.
   */
  forget(key: string): boolean {
    const state = this.peek(key);
    if (state === undefined) return false;
    if (!isClear(this.#view, state)) return true;
    this.expect([]);
    this.remove(key, state.storedVersion);
    return false;
  }

  #revive(state: KeyState): void {
    const fresh = emptyKeyState(this.#view, state.key);
    state.gone = false;
    state.cells = fresh.cells;
    this.#use.bytes += fresh.sizeBytes - state.sizeBytes;
    state.sizeBytes = fresh.sizeBytes;
    this.keys++;
  }

  /** Notes that the state was changed; `sizeBefore` is the size it had before. */
  changed(state: KeyState, sizeBefore: number): void {
    this.#use.bytes += state.sizeBytes - sizeBefore;
    if (state.stage === Stage.DIRTY) return;
    state.stage = Stage.DIRTY;
    this.#use.dirtyBytes += state.sizeBytes * ENCODED_SHARE;
    this.#dirty.push(state);
  }

  /** The state for reading, without keeping it in memory when it was not there: passes read every key once. */
  peek(key: string): KeyState | undefined {
    const held = this.#held(key);
    if (held === undefined) return this.#load(key);
    return held.gone ? undefined : held;
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
    return this.#isPartial && !this.#states.has(key) ? this.#cold.load(this.#instance, key) : undefined;
  }

  /** Whether the cold store may have states that are not in memory. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  /** The state if it is in memory. */
  hot(key: string): KeyState | undefined {
    const held = this.#held(key);
    return held?.gone === true ? undefined : held;
  }

  /** Whether it is known that the key has no state, whatever the cold store has. */
  isGone(key: string): boolean {
    return this.#states.get(key)?.gone === true;
  }

  *hotKeys(): Generator<string> {
    for (const state of this.#states.values()) if (!state.gone) yield state.key;
  }

  /**
   * Encodes the dirty states and hands them to `put`, with the version of the stored state that each replaces
   * (NOT_STORED: none); of one that is gone: undefined. They stay in memory until settle().
   */
  take(writer: ByteWriter, put: (state: KeyState, bytes: Uint8Array | undefined, replaced: number) => void): void {
    for (const state of this.#dirty) {
      if (state.gone) {
        state.stage = Stage.TAKEN;
        this.#taken.push(state);
        if (state.storedVersion !== NOT_STORED) put(state, undefined, state.storedVersion);
        state.storedVersion = NOT_STORED;
        continue;
      }
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

  /** What was taken is durable. */
  settle(): void {
    for (const state of this.#taken) {
      if (state.stage !== Stage.TAKEN) continue;
      state.stage = Stage.CLEAN;
      if (!state.gone) continue;
      this.#states.delete(state.key);
      this.#use.bytes -= state.sizeBytes;
    }
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
    this.#dirty = [];
    this.#taken = [];
  }

  #held(key: string): KeyState | undefined {
    return this.#expectedFor(key) ?? this.#states.get(key);
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
    if (!this.#isPartial) return undefined;
    const bytes = this.#cold.load(this.#instance, key);
    return bytes === undefined ? undefined : decodeState(this.#view, key, bytes);
  }
}
