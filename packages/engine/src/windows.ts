/**
 * Windows on the time line: which pane an event falls into, and for which T a pane is inside a window.
 *
 * Owns the arithmetic of panes. Does not own what is in a pane (state/key-state.ts) or the steps of a row
 * (rows/timeline-steps.ts). All times are microseconds since the Unix epoch, safe integers, and may be negative.
 *
 *     rolling(W, g)       pane p = [p*g, (p+1)*g); window(T) = [floor_g(T - W), ∞), so p is in it while
 *                         T < (p + W/g + 1) * g. Events from after T are in it at once.
 *     tumbling(W)         pane p = [p*W, (p+1)*W); current: p is shown for T in [p*W, (p+1)*W),
 *                         closed: p is shown one length later.
 *     lifetime            one pane, number 0, shown for ever.
 *
 * Invariant F2 rests on isInReach (state/reach.ts): a pane that is out of reach at a log time is in no window(T) for any T at or after.
 */
import type { Window } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert } from '@freshet/kit/assert.ts';

/** The version of the semantics that this engine folds by; part of every view's id. */
export const engineVersion = 1;

/** What views with joins need: an engine that does not know them would fold such a view without its tables. */
export const JOINS_ENGINE_VERSION = 2;

/** The newest semantics that this engine knows. */
export const newestEngineVersion = JOINS_ENGINE_VERSION;

/**
 * A rolling window has at most this many panes; so have the events that lead the clock, up to the source's max_skew.
 * Together they bound a row's steps and the work per row.
 */
export const MAX_PANES = 360;

const SECOND_US = 1_000_000;

/**
 * The pane of a rolling window that names none: the largest divisor of the length, in whole seconds, that is at most
 * max(1 s, length / 60). A length that is no multiple of a second is one pane.
 */
export function defaultPaneUs(lengthUs: number): number {
  if (lengthUs <= 0 || lengthUs % SECOND_US !== 0) return lengthUs;
  const lengthS = lengthUs / SECOND_US;
  const most = Math.max(1, Math.floor(lengthS / 60));
  // The codivisor is at least lengthS / most, so it is found within a few steps of 60 for any length people write.
  for (let panes = Math.ceil(lengthS / most); panes < lengthS; panes++) {
    if (lengthS % panes === 0) return (lengthS / panes) * SECOND_US;
  }
  return SECOND_US;
}

/** floor(a / b) for safe integers, b positive; right for negative a and where the double quotient would round up. */
export function floorDiv(a: number, b: number): number {
  const quotient = Math.floor(a / b);
  const product = quotient * b;
  if (product > a) return quotient - 1;
  // Rounded itself. A remainder is exact, and ten times as slow.
  if (product < Number.MIN_SAFE_INTEGER) return (a - (a % b)) / b - 1;
  return a - product >= b ? quotient + 1 : quotient;
}

/** A window, ready to compute with. */
export interface WindowShape {
  readonly kind: 'rolling' | 'tumbling' | 'lifetime';
  /** The pane's length in microseconds; 1 for lifetime, which has no grid. */
  readonly unitUs: number;
  /** Rolling: length / pane. Tumbling: 0 for current, 1 for closed. Lifetime: 0. */
  readonly reach: number;
}

/** The shape of a planned window. */
export function windowShape(window: Window | undefined): WindowShape {
  const kind = window?.kind;
  switch (kind?.case) {
    case 'rolling': {
      const unitUs = Number(kind.value.paneUs);
      const lengthUs = Number(kind.value.lengthUs);
      assert(unitUs > 0 && lengthUs > 0 && lengthUs % unitUs === 0, 'a rolling window is not a multiple of its pane');
      assert(lengthUs / unitUs <= MAX_PANES, 'a rolling window has too many panes');
      return { kind: 'rolling', unitUs, reach: lengthUs / unitUs };
    }
    case 'tumbling': {
      const unitUs = Number(kind.value.lengthUs);
      assert(unitUs > 0, 'a tumbling window has no length');
      return { kind: 'tumbling', unitUs, reach: kind.value.closed ? 1 : 0 };
    }
    default:
      return { kind: 'lifetime', unitUs: 1, reach: 0 };
  }
}

/** The pane that an event time falls into. */
export function paneAt(window: WindowShape, eventTimeUs: number): number {
  return window.kind === 'lifetime' ? 0 : floorDiv(eventTimeUs, window.unitUs);
}

/** The oldest pane that is in a window(T) for some T at or after the time; older ones are out of reach for good. */
export function oldestPane(window: WindowShape, timeUs: number): number {
  return window.kind === 'lifetime' ? 0 : floorDiv(timeUs, window.unitUs) - window.reach;
}
