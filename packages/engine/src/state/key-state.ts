/**
 * What the fold knows about one key of one view: for each feature group, the panes that any window can still reach,
 * with one accumulator per feature.
 *
 * Owns adding an event. Does not own the cells' layout (cells.ts), the bytes (state-codec.ts), rows (../rows), or where
 * states are kept (../fold/state-cache.ts).
 *
 * Invariant F1: the content after a record is a function of the records and log times so far. Panes out of reach are
 * dropped when the state changes, and only then: never by a commit, an eviction or the passing of time.
 */
import { type Cells, NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { oldestPane, paneAt } from '../windows.ts';
import { dropOlder, emptyCells, FIRST_GROUP, findPane, insertPane, nextGroup } from './cells.ts';
import type { FeatureFold, FeatureGroup, RunnableView } from './view-plan.ts';

/** Where a state stands between memory and disk. */
export const Stage = {
  /** As it is on disk. */
  CLEAN: 0,
  /** Taken into a commit that is not known to be durable yet. */
  TAKEN: 1,
  /** Changed since it was last taken. */
  DIRTY: 2,
} as const;

/** The storedVersion of a state that the cold store does not have. */
export const NOT_STORED = -1;

const VERSION = 1;
const LOG_TIME = 2;
const NEWEST = 3;

/** Measured with 100,000 keys: the object, its key, its place in the map. */
const STATE_BYTES = 220;
export const CELL_BYTES = 8;

export class KeyState {
  readonly key: string;
  /** As cells.ts says. */
  cells: Cells;
  stage: number = Stage.CLEAN;
  /** The version that the cold store has, or will have with the commit under way; NOT_STORED: none. */
  storedVersion: number = NOT_STORED;
  /** Whether the row changed since it was last handed out for emission. */
  emitPending = false;
  /** The key has no state any more; it is here until the cold store knows (../fold/state-cache.ts). */
  gone = false;
  /** Second chance: used since the eviction's hand last passed. */
  recent = true;
  /** An estimate of the memory held, in bytes. */
  sizeBytes: number;

  constructor(key: string, cells: Cells) {
    this.key = key;
    this.cells = cells;
    this.sizeBytes = sizeOfCells(key, cells);
  }

  /** The offset of the last record that changed the state. */
  get version(): number {
    return this.cells[VERSION] as number;
  }

  /** That record's log time. */
  get logTimeUs(): number {
    return this.cells[LOG_TIME] as number;
  }

  /** The newest event time folded; NO_EVENT_TIME when none was. */
  get newestUs(): number {
    return this.cells[NEWEST] as number;
  }

  /** Sets what is not in a pane. */
  setHead(version: number, logTimeUs: number, newestUs: number): void {
    this.cells[VERSION] = version;
    this.cells[LOG_TIME] = logTimeUs;
    this.cells[NEWEST] = newestUs;
  }
}

function sizeOfCells(key: string, cells: Cells): number {
  return STATE_BYTES + 3 * key.length + CELL_BYTES * cells.length;
}

/** Takes everything out of the state, as of a record: what is left is a version. */
export function clearState(view: RunnableView, state: KeyState, offset: number, logTimeUs: number): void {
  state.cells = emptyCells(view.strides, view.numeric);
  state.setHead(offset, logTimeUs, NO_EVENT_TIME);
  state.sizeBytes = sizeOfCells(state.key, state.cells);
}

/** Whether nothing is in the state: its row says what the row of an entity never seen would say, and always will. */
export function isClear(view: RunnableView, state: KeyState): boolean {
  if (state.newestUs !== NO_EVENT_TIME) return false;
  const { cells } = state;
  for (let g = 0, group = FIRST_GROUP; g < view.groups.length; g++) {
    if ((cells[group] as number) > 0) return false;
    group = nextGroup(cells, group, (view.groups[g] as FeatureGroup).stride);
  }
  return true;
}

export function emptyKeyState(view: RunnableView, key: string): KeyState {
  const state = new KeyState(key, emptyCells(view.strides, view.numeric));
  state.setHead(0, 0, NO_EVENT_TIME);
  return state;
}

/** An estimate of the memory that a state holds whose encoding takes so many bytes: what is no number lies beside the cells. */
export function sizeOfEncoded(view: RunnableView, { key, cells }: KeyState, encodedBytes: number): number {
  const beside = view.numeric ? 0 : 2 * encodedBytes;
  return STATE_BYTES + 3 * key.length + CELL_BYTES * cells.length + beside;
}

/** Folds an event that is reachable; `row` holds the view's columns and derived columns. */
export function addEvent(
  view: RunnableView,
  state: KeyState,
  row: readonly Raw[],
  eventTimeUs: number,
  offset: number,
  logTimeUs: number,
): void {
  let { cells } = state;
  state.setHead(offset, logTimeUs, Math.max(state.newestUs, eventTimeUs));
  const { groups } = view;
  for (let g = 0, group = FIRST_GROUP; g < groups.length; g++) {
    const { window, stride, features } = groups[g] as FeatureGroup;
    const oldest = oldestPane(window, logTimeUs);
    if ((cells[group] as number) > 0 && (cells[group + 1] as number) < oldest) dropOlder(cells, group, stride, oldest);
    const pane = paneAt(window, eventTimeUs);
    // An event without a time is in no pane but that of a lifetime.
    if (pane >= oldest) {
      let at = findPane(cells, group, stride, pane);
      if (at < 0) {
        at = -1 - at;
        cells = insertPane(cells, group, stride, at, pane, view.numeric);
      }
      addInputs(features, cells, at, row, eventTimeUs, offset);
    }
    group = nextGroup(cells, group, stride);
  }
  if (cells === state.cells) return;
  state.sizeBytes += CELL_BYTES * (cells.length - state.cells.length);
  state.cells = cells;
}

function addInputs(
  features: readonly FeatureFold[],
  cells: Cells,
  at: number,
  row: readonly Raw[],
  eventTimeUs: number,
  offset: number,
): void {
  for (let f = 0; f < features.length; f++) {
    const { input, accumulator, cell } = features[f] as FeatureFold;
    const value = input < 0 ? undefined : (row[input] as Raw);
    if (value !== null) accumulator.add(cells, at + cell, value, eventTimeUs, offset);
  }
}
