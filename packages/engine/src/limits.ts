/**
 * What bounds the size of values and rows, and the work of one expression. docs/values.md lists these for users.
 *
 * Owns the numbers, and the bound of a view's rows that follows from its plan. Everything here is part of what a view
 * means (F1): another number gives other values, so a change is a new engine version (windows.ts).
 */
import type { FeaturePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Raw } from './aggregates/aggregate.ts';
import { windowShape } from './windows.ts';

/** The longest text (UTF-16 units) or bytes that an expression may make; longer is an error of the expression. */
export const MADE_LENGTH_MAX = 2 ** 20;
/** The longest list that an expression may make. */
export const MADE_ITEMS_MAX = 10_000;
/** How many characters, bytes and items all calls of one evaluation may look at together. */
export const EVALUATION_COST_MAX = 2 ** 24;
/** The same for one evaluation of an on-demand feature: a reader waits for it, and others wait behind him. */
export const ON_DEMAND_COST_MAX = 2 ** 20;

/** The longest value that an aggregate takes, in encoded bytes; a view whose rows would be too long takes less. */
export const VALUE_BYTES_MAX = 65_536;
/** A view is refused when it could not take values of this length. */
export const VALUE_BYTES_MIN = 256;
/** The longest row. Frames, batches of a store and messages are made for rows of this size at most. */
export const ROW_BYTES_MAX = 2 ** 20;

/** What a step costs beside its values, and a number costs as a value, with its status, in bytes at most. */
const STEP_BYTES = 10;
const NUMBER_BYTES = 11;
/** What a long value costs beside its bytes. */
const LONG_BYTES = 8;

/** Whether values of the kind can be of any length. */
export function isLong(kind: Kind | undefined): boolean {
  switch (kind) {
    case Kind.STRING:
    case Kind.DECIMAL:
    case Kind.BYTES:
    case Kind.LIST:
    case Kind.VECTOR:
      return true;
    default:
      return false;
  }
}

/** How many values a feature has in a row at most, if no event leads the log's time by more than that. */
function valuesMax(feature: FeaturePlan, leadUs: number): number {
  const { kind, unitUs, reach } = windowShape(feature.window);
  if (kind === 'lifetime') return 2;
  const panes = reach + 1 + Math.ceil(leadUs / unitUs);
  // Between two panes of a tumbling window there may be a step to nothing; the last one always leads there.
  return (kind === 'rolling' ? panes : 2 * panes) + 2;
}

/** How long a value, in bytes, an aggregate of the view takes: as long as leaves half of a row for all the rest. */
export function valueBytesMax(features: readonly FeaturePlan[]): number {
  let values = 0;
  for (const feature of features) {
    // Of two decimals one may have the digits before the point and the other those behind it.
    const share = feature.resultType?.kind === Kind.DECIMAL ? 2 : 1;
    if (isLong(feature.resultType?.kind)) values += share * valuesMax(feature, 0);
  }
  return values === 0 ? VALUE_BYTES_MAX : Math.min(VALUE_BYTES_MAX, Math.floor(ROW_BYTES_MAX / 2 / values));
}

/** The longest row that the features can have, in bytes, when events lead the log's time by so much at most. */
export function rowBytesMax(features: readonly FeaturePlan[], leadUs: number): number {
  const longest = valueBytesMax(features);
  let bytes = 0;
  for (const feature of features) {
    const kind = feature.resultType?.kind;
    const share = kind === Kind.DECIMAL ? 2 : 1;
    const value = isLong(kind) ? share * longest + LONG_BYTES : NUMBER_BYTES;
    bytes += valuesMax(feature, leadUs) * (STEP_BYTES + value);
  }
  return bytes;
}

/** Whether the value takes more bytes than that. */
export function isLongerThan(value: Raw, bytesMax: number): boolean {
  if (typeof value === 'string') return isTextLonger(value, bytesMax);
  if (value instanceof Uint8Array || value instanceof Float32Array) return value.byteLength > bytesMax;
  if (!Array.isArray(value)) return false;
  let bytes = 0;
  for (const item of value as readonly Raw[]) {
    bytes += LONG_BYTES;
    if (typeof item === 'string') bytes += textBytes(item);
    else bytes += item instanceof Uint8Array ? item.length : NUMBER_BYTES;
    if (bytes > bytesMax) return true;
  }
  return false;
}

/** Whether the text is longer as UTF-8, of which a UTF-16 unit takes one to three bytes. */
function isTextLonger(text: string, bytesMax: number): boolean {
  return text.length * 3 > bytesMax && textBytes(text) > bytesMax;
}

function textBytes(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Half of a pair is half of its four bytes.
    bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
  }
  return bytes;
}
