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
import { ABSENT, type Cells, NO_EVENT_TIME, type Raw, type Result } from '../aggregates/aggregate.ts';
import { nextGroup, paneCount, zeroCells } from '../state/cells.ts';
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

/** Nothing, of any aggregate. */
const UNIT: Cells = zeroCells(16, true);
/** What was merged so far; zero between uses. Numbers have one of their own, which nothing else ever lies in. */
const RUNNING_NUMBERS: Cells = zeroCells(16, true);
const RUNNING_VALUES: Cells = zeroCells(16, false);

/** Fills `out` with the timeline, from the log time on, of the group that begins at an index of the cells. */
export function computeSteps(
  group: FeatureGroup,
  cells: Cells,
  start: number,
  logTimeUs: number,
  newestUs: number,
  out: Steps,
): void {
  out.steps.length = 0;
  while (out.results.length < group.features.length) out.results.push([]);
  out.results.length = group.features.length;
  for (const result of out.results) result.length = 0;
  out.unitUs = group.window.unitUs;
  switch (group.window.kind) {
    case 'rolling':
      rollingSteps(group, cells, start, out);
      break;
    case 'tumbling':
      tumblingSteps(group, cells, start, logTimeUs, out);
      break;
    default:
      pushPane(group, cells, paneCount(cells, start) === 0 ? -1 : start + 1, out);
  }
  if (group.ttlUs > 0) applyTtl(group, logTimeUs, newestUs, out);
  mergeEqual(out);
}

function rollingSteps(group: FeatureGroup, cells: Cells, start: number, out: Steps): void {
  const { features, window, stride } = group;
  const count = paneCount(cells, start);
  const first = start + 1;
  const leavesAfter = window.reach + 1;
  for (let i = 0; i < count; i++) out.steps.push((cells[first + i * stride] as number) + leavesAfter);
  for (let f = 0; f < features.length; f++) {
    const { accumulator, cell } = features[f] as FeatureFold;
    const { width, numeric } = accumulator;
    const results = out.results[f] as Result[];
    // Filled from the front first, so that the array stays a packed one.
    for (let i = 0; i <= count; i++) results.push(ABSENT);
    results[count] = accumulator.result(UNIT, 0);
    const running = numeric ? RUNNING_NUMBERS : RUNNING_VALUES;
    for (let i = count - 1; i >= 0; i--) {
      const at = first + i * stride + cell;
      if (cells[at] !== 0) accumulator.merge(running, 0, cells, at);
      results[i] = accumulator.result(running, 0);
    }
    for (let i = 0; i < width; i++) running[i] = 0;
  }
}

function tumblingSteps(group: FeatureGroup, cells: Cells, start: number, logTimeUs: number, out: Steps): void {
  const { stride } = group;
  const { unitUs, reach } = group.window;
  const end = nextGroup(cells, start, stride);
  const now = floorDiv(logTimeUs, unitUs) - reach;
  let next = start + 1;
  // The pane shown last; none is older than `now`, because those are dropped.
  let shown = now - 1;
  if (next < end && cells[next] === now) {
    pushPane(group, cells, next, out);
    shown = now;
    next += stride;
  } else {
    pushPane(group, cells, -1, out);
  }
  for (; next < end; next += stride) {
    const pane = cells[next] as number;
    if (shown >= now && pane > shown + 1) pushStep(group, cells, shown + 1 + reach, -1, out);
    pushStep(group, cells, pane + reach, next, out);
    shown = pane;
  }
  if (shown >= now) pushStep(group, cells, shown + 1 + reach, -1, out);
}

function pushStep(group: FeatureGroup, cells: Cells, step: number, at: number, out: Steps): void {
  out.steps.push(step);
  pushPane(group, cells, at, out);
}

/** The results of the pane at an index; -1: of nothing. */
function pushPane(group: FeatureGroup, cells: Cells, at: number, out: Steps): void {
  for (let f = 0; f < group.features.length; f++) {
    const { accumulator, cell } = group.features[f] as FeatureFold;
    const result = at < 0 ? accumulator.result(UNIT, 0) : accumulator.result(cells, at + cell);
    (out.results[f] as Result[]).push(result);
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
