/**
 * What the fold knows about one key of one view: for each feature group, the panes that any window can still reach,
 * with one accumulator per feature.
 *
 * Owns adding an event. Does not own the panes' layout (panes.ts), the bytes (state-codec.ts), rows (../rows), or where
 * states are kept (../fold/state-cache.ts).
 *
 * Invariant F1: the content after a record is a function of the records and log times so far. Panes out of reach are
 * dropped when the state changes, and only then: never by a commit, an eviction or the passing of time.
 */
import { NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { oldestPane, paneAt } from '../windows.ts';
import { dropOlder, findPane, insertPane, NO_PANES, type Panes, strideOf } from './panes.ts';
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

export interface KeyState {
  readonly key: string;
  /** The offset of the last record that changed the state. */
  version: number;
  /** That record's log time. */
  logTimeUs: number;
  /** The newest event time folded; NO_EVENT_TIME when none was. */
  newestUs: number;
  /** By feature group. */
  readonly groups: Panes[];
  stage: number;
  /** Whether the row changed since it was last handed out for emission. */
  emitPending: boolean;
  /** Second chance: used since the eviction's hand last passed. */
  recent: boolean;
  /** An estimate of the memory held, in bytes. */
  sizeBytes: number;
}

/** Measured with 100,000 keys: the object, its key, its place in the map. */
const STATE_BYTES = 350;
const CELL_BYTES = 16;

export function emptyKeyState(view: RunnableView, key: string): KeyState {
  return {
    key,
    version: 0,
    logTimeUs: 0,
    newestUs: NO_EVENT_TIME,
    groups: view.groups.map(noPanes),
    stage: Stage.CLEAN,
    emitPending: false,
    recent: true,
    sizeBytes: STATE_BYTES + 3 * key.length,
  };
}

function noPanes(): Panes {
  return NO_PANES;
}

/** An estimate of the memory that a state read from bytes holds. */
export function sizeOfStored(key: string, encodedBytes: number): number {
  return STATE_BYTES + 3 * key.length + 4 * encodedBytes;
}

/** Whether a window of the view can reach the event at the log time or after: else it has expired. */
export function isReachable(view: RunnableView, eventTimeUs: number, logTimeUs: number): boolean {
  const { groups } = view;
  for (let g = 0; g < groups.length; g++) {
    const { window } = groups[g] as FeatureGroup;
    if (window.kind === 'lifetime') return true;
    if (eventTimeUs !== NO_EVENT_TIME && paneAt(window, eventTimeUs) >= oldestPane(window, logTimeUs)) return true;
  }
  return false;
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
  state.version = offset;
  state.logTimeUs = logTimeUs;
  if (eventTimeUs > state.newestUs) state.newestUs = eventTimeUs;
  const { groups } = view;
  for (let g = 0; g < groups.length; g++) {
    const { window, features } = groups[g] as FeatureGroup;
    const stride = strideOf(features.length);
    const oldest = oldestPane(window, logTimeUs);
    let panes = state.groups[g] as Panes;
    if ((panes[1] as number) < oldest) dropOlder(panes, stride, oldest);
    if (window.kind !== 'lifetime' && eventTimeUs === NO_EVENT_TIME) continue;
    const pane = paneAt(window, eventTimeUs);
    if (pane < oldest) continue;
    let at = findPane(panes, stride, pane);
    if (at < 0) {
      at = -1 - at;
      panes = insertPane(panes, stride, at, pane);
      state.groups[g] = panes;
      state.sizeBytes += stride * CELL_BYTES;
    }
    addInputs(features, panes, at, row, eventTimeUs, offset);
  }
}

function addInputs(
  features: readonly FeatureFold[],
  panes: Panes,
  at: number,
  row: readonly Raw[],
  eventTimeUs: number,
  offset: number,
): void {
  for (let f = 0; f < features.length; f++) {
    const { input, accumulator } = features[f] as FeatureFold;
    const value = input < 0 ? undefined : (row[input] as Raw);
    if (value === null) continue;
    const cell = at + 1 + f;
    panes[cell] = accumulator.add(panes[cell], value, eventTimeUs, offset);
  }
}
