/**
 * The oracle: what a feature's value is, straight from "What a feature value is" in the design, by brute force over
 * all events. Every other component is compared with it.
 *
 * Owns the definition only; which events there are (order, duplicates, generations) is oracle/history.ts.
 * Does not know panes, steps, rows or accumulators, and imports nothing of the engine: all times are BigInt, every value
 * is computed from the whole list of events at every call.
 *
 * Where the design leaves a choice, this is it:
 * - An event that no window of the view reaches any more at its log time is not folded: it changes neither values, nor
 *   the row's log time, nor the newest event time that a ttl counts from.
 * - A ttl counts from the newest event time that was folded for the key, in whichever window that event is. Events
 *   without a time do not count; a key without any timed event has no ttl running.
 * - Of a mutable source, an image counts that puts something into a window when it comes: one that is null everywhere,
 *   or out of reach, is as one that does not meet the condition. It still takes the place of the image before.
 * - "No value" (nothing in the window, ttl over) is the declared default if there is one, else ABSENT. An empty count
 *   is 0 and present, also with a default.
 */

import type { FeaturePlan, ViewPlan, Window } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type Value, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from '@freshet/values/scalar.ts';
import { decimalText, divideExact, type ExactSum, roundToDouble, sumDecimals, sumDoubles } from './exact.ts';
import { compareOracle } from './order.ts';

/** One live row of one key that meets the view's condition, derived columns included. Events are given by offset. */
export interface OracleEvent {
  readonly offset: number;
  /** Microseconds. */
  readonly logTimeUs: bigint;
  /** Microseconds; undefined: the time is not known. */
  readonly eventTimeUs: bigint | undefined;
  /** By column name. */
  readonly values: ReadonlyMap<string, Scalar>;
}

/** A feature's value at one time. Without a value (ABSENT, OUT_OF_RANGE) it is null. */
export interface OracleAnswer {
  readonly status: ValueStatus;
  readonly value: Scalar;
}

/** The greatest multiple of unit that is not above t. */
export function floorTo(t: bigint, unit: bigint): bigint {
  const remainder = t % unit;
  return remainder < 0n ? t - remainder - unit : t - remainder;
}

/** Whether the window at time t holds the event time. */
export function inWindow(window: Window, eventTimeUs: bigint | undefined, t: bigint): boolean {
  const kind = window.kind;
  if (kind.case === 'lifetime') return true;
  if (eventTimeUs === undefined) return false;
  if (kind.case === 'rolling') return eventTimeUs >= floorTo(t - kind.value.lengthUs, kind.value.paneUs);
  if (kind.case === 'tumbling') {
    const length = kind.value.lengthUs;
    const start = floorTo(t, length) - (kind.value.closed ? length : 0n);
    return eventTimeUs >= start && eventTimeUs < start + length;
  }
  throw new Error('the window has no kind');
}

/** Whether some window of the view at some time from the event's log time on holds it: else it is not folded. */
export function isFolded(view: ViewPlan, event: OracleEvent): boolean {
  return view.features.some((feature) => isReached(feature, event.eventTimeUs, event.logTimeUs));
}

/** Whether the feature's window at some time from t on holds the event time. */
function isReached({ window }: FeaturePlan, eventTimeUs: bigint | undefined, t: bigint): boolean {
  const kind = window?.kind;
  if (kind?.case === 'lifetime') return true;
  if (kind === undefined || eventTimeUs === undefined) return false;
  if (kind.case === 'rolling') return eventTimeUs >= floorTo(t - kind.value.lengthUs, kind.value.paneUs);
  if (kind.case !== 'tumbling') return false;
  // An event of a window yet to come is reached when that window is.
  return eventTimeUs >= floorTo(t, kind.value.lengthUs) - (kind.value.closed ? kind.value.lengthUs : 0n);
}

/** Mutable sources: whether the image puts anything into a window at its log time. */
export function isFed(view: ViewPlan, event: OracleEvent): boolean {
  return view.features.some(
    (feature) =>
      isReached(feature, event.eventTimeUs, event.logTimeUs) &&
      (feature.input === '' || inputOf(feature, event) !== null),
  );
}

/**
 * Mutable sources: whether an image that was fed can still be taken out at the log time: while a window reaches it, and
 * in a view with a ttl, which the newest live row decides, as long as the row lives.
 */
export function isTold(view: ViewPlan, event: OracleEvent, logTimeUs: bigint): boolean {
  if (view.features.some(({ ttlUs }) => ttlUs > 0n)) return true;
  return view.features.some((feature) => isReached(feature, event.eventTimeUs, logTimeUs));
}

/**
 * The value of a feature of one key at a time.
 * @param events the key's events of the prefix that are folded (isFolded), by offset
 * @param tUs the time in microseconds; before the log time of the last change it is raised to that
 * @param rowTime the log time of the last change: of append sources, of the last event
 */
export function oracleValue(
  feature: FeaturePlan,
  events: readonly OracleEvent[],
  tUs: bigint,
  rowTime: bigint | undefined = events.at(-1)?.logTimeUs,
): OracleAnswer {
  const window = feature.window;
  if (window === undefined) throw new Error('the feature has no window');
  const t = rowTime !== undefined && rowTime > tUs ? rowTime : tUs;

  if (feature.ttlUs > 0n) {
    // Over as soon as no timed event is young enough; no ttl runs without a timed event.
    const timed = events.flatMap(({ eventTimeUs }) => (eventTimeUs === undefined ? [] : [eventTimeUs]));
    if (timed.length > 0 && timed.every((time) => t >= time + feature.ttlUs)) return noValue(feature);
  }
  const live = events.filter(({ eventTimeUs }) => inWindow(window, eventTimeUs, t));
  const counted = feature.input === '' ? live : live.filter((event) => inputOf(feature, event) !== null);
  if (feature.aggregate === 'count') return present(BigInt(counted.length));
  return counted.length === 0 ? noValue(feature) : aggregate(feature, counted);
}

function aggregate(feature: FeaturePlan, events: readonly OracleEvent[]): OracleAnswer {
  const kind = feature.inputType?.kind ?? Kind.UNSPECIFIED;
  const inputs = events.map((event) => inputOf(feature, event));
  switch (feature.aggregate) {
    case 'sum':
      return sum(kind, inputs);
    case 'mean':
      // A mean has no signed zero, also when it is too small for a double: + 0.
      return present(roundToDouble(divideExact(exactSum(kind, inputs), BigInt(inputs.length))) + 0);
    case 'min':
      return present(inputs.reduce((a, b) => (compareOracle(kind, b, a) < 0 ? b : a)));
    case 'max':
      return present(inputs.reduce((a, b) => (compareOracle(kind, b, a) > 0 ? b : a)));
    case 'last':
      return present(
        inputOf(
          feature,
          events.reduce((a, b) => (isNewer(b, a) ? b : a)),
        ),
      );
    default:
      throw new Error(`the oracle does not know the aggregate ${feature.aggregate}`);
  }
}

function sum(kind: Kind, inputs: readonly Scalar[]): OracleAnswer {
  if (kind === Kind.DECIMAL) return present(decimalText(sumDecimals(inputs as string[])));
  if (kind === Kind.DOUBLE) return present(roundToDouble(sumDoubles(inputs as number[])));
  const total = (inputs as bigint[]).reduce((a, b) => a + b, 0n);
  if (total < INT64_MIN || total > INT64_MAX) return { status: ValueStatus.OUT_OF_RANGE, value: null };
  return present(total);
}

function exactSum(kind: Kind, inputs: readonly Scalar[]): ExactSum {
  if (kind === Kind.DECIMAL) return sumDecimals(inputs as string[]).sum;
  if (kind === Kind.DOUBLE) return sumDoubles(inputs as number[]);
  return { numerator: (inputs as bigint[]).reduce((a, b) => a + b, 0n), denominator: 1n };
}

/** By event time, then offset; events without a time are before all others. */
function isNewer(b: OracleEvent, a: OracleEvent): boolean {
  if (b.eventTimeUs !== a.eventTimeUs) {
    if (b.eventTimeUs === undefined) return false;
    return a.eventTimeUs === undefined || b.eventTimeUs > a.eventTimeUs;
  }
  return b.offset > a.offset;
}

function inputOf(feature: FeaturePlan, event: OracleEvent): Scalar {
  return event.values.get(feature.input) ?? null;
}

function present(value: Scalar): OracleAnswer {
  return { status: ValueStatus.PRESENT, value };
}

function noValue(feature: FeaturePlan): OracleAnswer {
  if (feature.defaultValue === undefined) return { status: ValueStatus.ABSENT, value: null };
  return { status: ValueStatus.DEFAULTED, value: scalarOf(feature.defaultValue) };
}

/** A value of the contract in memory (packages/values/src/scalar.ts says how). */
export function scalarOf(value: Value | undefined): Scalar {
  const kind = value?.kind;
  switch (kind?.case) {
    case undefined:
      return null;
    case 'list':
      return kind.value.elements.map(scalarOf);
    case 'vector':
      return Float32Array.from(kind.value.components);
    default:
      return kind?.value ?? null;
  }
}
