/**
 * From the panes of a feature group to its timeline: the values now, and the steps by which they change if nothing else
 * happens.
 *
 * Owns which value holds when (F2). Does not own the bytes (row-encoder.ts).
 *
 * Rolling: one pass from the newest pane to the oldest; what has been merged when a pane is reached is the value that
 * holds when everything older has left. So each step is the very value that a later row would compute from those
 * panes. Tumbling: each pane is shown for one length, and nothing where there is none. With a ttl, all values end at
 * the newest event's time plus the ttl.
 */
import { ABSENT, NO_EVENT_TIME, type Raw, type Result } from '../aggregates/aggregate.ts';
import { type Panes, paneCount, paneIndex, strideOf } from '../state/panes.ts';
import type { FeatureFold, FeatureGroup } from '../state/view-plan.ts';
import { floorDiv } from '../windows.ts';

/** A timeline; one scratch object is reused for every row. */
export interface Steps {
  /** In units of unitUs; results[f][0] holds from the row's log time until steps[0]. */
  readonly steps: number[];
  unitUs: number;
  /** One list per feature of the group, each one longer than steps. */
  readonly results: Result[][];
}

export function createSteps(): Steps {
  return { steps: [], unitUs: 1, results: [] };
}

/** Fills `out` with the group's timeline from the log time on. */
export function computeSteps(group: FeatureGroup, panes: Panes, logTimeUs: number, newestUs: number, out: Steps): void {
  out.steps.length = 0;
  while (out.results.length < group.features.length) out.results.push([]);
  out.results.length = group.features.length;
  for (const result of out.results) result.length = 0;
  out.unitUs = group.window.unitUs;
  switch (group.window.kind) {
    case 'rolling':
      rollingSteps(group, panes, out);
      break;
    case 'tumbling':
      tumblingSteps(group, panes, logTimeUs, out);
      break;
    default:
      lifetimeSteps(group, panes, out);
  }
  if (group.ttlUs > 0) applyTtl(group, logTimeUs, newestUs, out);
  mergeEqual(out);
}

function lifetimeSteps(group: FeatureGroup, panes: Panes, out: Steps): void {
  const at = paneCount(panes) === 0 ? -1 : paneIndex(0, 1);
  pushPane(group, panes, at, out);
}

function rollingSteps(group: FeatureGroup, panes: Panes, out: Steps): void {
  const { features, window } = group;
  const count = paneCount(panes);
  const stride = strideOf(features.length);
  const leavesAfter = window.reach + 1;
  for (let i = 0; i < count; i++) out.steps.push((panes[paneIndex(i, stride)] as number) + leavesAfter);
  for (let f = 0; f < features.length; f++) {
    const { accumulator } = features[f] as FeatureFold;
    const results = out.results[f] as Result[];
    // Filled from the front first, so that the array stays a packed one.
    for (let i = 0; i <= count; i++) results.push(ABSENT);
    results[count] = accumulator.result(undefined);
    let running: unknown;
    for (let i = count - 1; i >= 0; i--) {
      const pane = panes[paneIndex(i, stride) + 1 + f];
      if (pane !== undefined) running = accumulator.merge(running, pane);
      results[i] = accumulator.result(running);
    }
  }
}

function tumblingSteps(group: FeatureGroup, panes: Panes, logTimeUs: number, out: Steps): void {
  const { unitUs, reach } = group.window;
  const count = paneCount(panes);
  const stride = strideOf(group.features.length);
  const now = floorDiv(logTimeUs, unitUs) - reach;
  let next = 0;
  // The pane shown last; none is older than `now`, because those are dropped.
  let shown = now - 1;
  if (count > 0 && panes[paneIndex(0, stride)] === now) {
    pushPane(group, panes, paneIndex(0, stride), out);
    shown = now;
    next = 1;
  } else {
    pushPane(group, panes, -1, out);
  }
  for (; next < count; next++) {
    const at = paneIndex(next, stride);
    const pane = panes[at] as number;
    if (shown >= now && pane > shown + 1) pushStep(group, panes, shown + 1 + reach, -1, out);
    pushStep(group, panes, pane + reach, at, out);
    shown = pane;
  }
  if (shown >= now) pushStep(group, panes, shown + 1 + reach, -1, out);
}

function pushStep(group: FeatureGroup, panes: Panes, step: number, at: number, out: Steps): void {
  out.steps.push(step);
  pushPane(group, panes, at, out);
}

/** The results of the pane at an index; -1: of nothing. */
function pushPane(group: FeatureGroup, panes: Panes, at: number, out: Steps): void {
  for (let f = 0; f < group.features.length; f++) {
    const { accumulator } = group.features[f] as FeatureFold;
    (out.results[f] as Result[]).push(accumulator.result(at < 0 ? undefined : panes[at + 1 + f]));
  }
}

/** Steps in microseconds, cut off where the ttl ends. */
function applyTtl(group: FeatureGroup, logTimeUs: number, newestUs: number, out: Steps): void {
  const { steps, results, unitUs } = out;
  out.unitUs = 1;
  for (let i = 0; i < steps.length; i++) steps[i] = (steps[i] as number) * unitUs;
  if (newestUs === NO_EVENT_TIME) return;
  const endUs = newestUs + group.ttlUs;
  let kept = 0;
  while (kept < steps.length && (steps[kept] as number) < endUs) kept++;
  if (endUs <= logTimeUs) {
    steps.length = 0;
    for (const result of results) {
      result.length = 0;
      result.push(ABSENT);
    }
    return;
  }
  steps.length = kept;
  steps.push(endUs);
  for (const result of results) {
    result.length = kept + 1;
    result.push(ABSENT);
  }
}

/** Drops the steps at which nothing changes. */
function mergeEqual(out: Steps): void {
  const { steps, results } = out;
  let kept = 0;
  for (let i = 0; i < steps.length; i++) {
    if (isSameAt(results, kept, i + 1)) continue;
    if (kept !== i) {
      steps[kept] = steps[i] as number;
      for (const result of results) result[kept + 1] = result[i + 1] as Result;
    }
    kept++;
  }
  if (kept === steps.length) return;
  steps.length = kept;
  for (const result of results) result.length = kept + 1;
}

function isSameAt(results: readonly Result[][], a: number, b: number): boolean {
  for (const result of results) if (!isSameResult(result[a] as Result, result[b] as Result)) return false;
  return true;
}

/** Same by content: rows must not depend on whether equal values happen to be one object (R1). */
function isSameResult(a: Result, b: Result): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const x = a as ArrayLike<Raw>;
  const y = b as ArrayLike<Raw>;
  if (x.length !== y.length) return false;
  for (let i = 0; i < x.length; i++) if (!isSameResult(x[i] as Raw, y[i] as Raw)) return false;
  return true;
}
