/**
 * Exact sums of decimals in one cell: 0, or a DecimalSum.
 *
 * Owns their arithmetic and canonical bytes. A sum has the largest scale of its addends. One that values are taken out of
 * again keeps how many addends it has of each scale, because the scale has to shrink with the last of the largest.
 * Invariant (F1): a sum is a function of the multiset of its addends, and equal sums are written as equal bytes.
 */
import { assert } from '@freshet/kit/assert.ts';
import { formatDecimal, powerOfTen } from '@freshet/values/decimal.ts';
import type { Cells } from '../aggregates/aggregate.ts';
import type { NonFinite } from './exact-double.ts';
import type { ExactSum } from './exact-sum.ts';
import { addIntegers, type Integer, normaliseInteger, parseSmallDecimal } from './integers.ts';
import { ratioToDouble } from './quotient.ts';

/** A sum of decimals at the largest scale of them; what is not finite is counted apart. */
interface DecimalSum {
  unscaled: Integer;
  scale: number;
  nonFinite: NonFinite | undefined;
  /** Retractable: how many finite addends there are of each scale, by scale ascending; else undefined. */
  scales: { readonly scale: number; count: number }[] | undefined;
}

function rescale(unscaled: Integer, by: number): Integer {
  return by === 0 ? unscaled : normaliseInteger(BigInt(unscaled) * powerOfTen(by));
}

function addFinite(sum: DecimalSum, unscaled: Integer, scale: number): void {
  if (scale > sum.scale) {
    sum.unscaled = rescale(sum.unscaled, scale - sum.scale);
    sum.scale = scale;
  }
  sum.unscaled = addIntegers(sum.unscaled, rescale(unscaled, sum.scale - scale));
}

/** Counts so many more addends of a scale. */
function countScale(scales: { readonly scale: number; count: number }[], scale: number, by: number): void {
  let at = scales.length;
  while (at > 0 && (scales[at - 1] as { scale: number }).scale > scale) at--;
  const found = scales[at - 1];
  if (found?.scale !== scale) {
    scales.splice(at, 0, { scale, count: by });
    return;
  }
  found.count += by;
  if (found.count === 0) scales.splice(at - 1, 1);
}

function addText(sum: DecimalSum, text: string): void {
  const value = parseSmallDecimal(text);
  if (typeof value !== 'string') {
    addFinite(sum, value.unscaled, value.scale);
    if (sum.scales !== undefined) countScale(sum.scales, value.scale, 1);
    return;
  }
  sum.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  countNonFinite(sum.nonFinite, value, 1);
}

function countNonFinite(counts: NonFinite, value: string, by: number): void {
  if (value === 'NaN') counts.nan += by;
  else if (value === 'Infinity') counts.positive += by;
  else counts.negative += by;
}

function retractText(sum: DecimalSum, text: string): void {
  const { scales } = sum;
  assert(scales !== undefined, 'a decimal is taken out of a sum that does not keep its scales');
  const value = parseSmallDecimal(text);
  if (typeof value === 'string') {
    const counts = sum.nonFinite ?? { nan: 0, positive: 0, negative: 0 };
    countNonFinite(counts, value, -1);
    sum.nonFinite = counts.nan === 0 && counts.positive === 0 && counts.negative === 0 ? undefined : counts;
    return;
  }
  const { unscaled } = value;
  addFinite(sum, typeof unscaled === 'bigint' ? -unscaled : -unscaled + 0, value.scale);
  countScale(scales, value.scale, -1);
  const scale = scales.at(-1)?.scale ?? 0;
  if (scale === sum.scale) return;
  // What is left has no digits beyond its own largest scale.
  sum.unscaled = normaliseInteger(BigInt(sum.unscaled) / powerOfTen(sum.scale - scale));
  sum.scale = scale;
}

function textOf(sum: DecimalSum): string {
  const counts = sum.nonFinite;
  if (counts !== undefined) {
    if (counts.nan > 0 || (counts.positive > 0 && counts.negative > 0)) return 'NaN';
    return counts.positive > 0 ? 'Infinity' : '-Infinity';
  }
  return formatDecimal({ unscaled: BigInt(sum.unscaled), scale: sum.scale });
}

function merge(into: DecimalSum, from: DecimalSum): void {
  addFinite(into, from.unscaled, from.scale);
  if (into.scales !== undefined) {
    for (const { scale, count } of from.scales ?? []) countScale(into.scales, scale, count);
  }
  if (from.nonFinite === undefined) return;
  into.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  into.nonFinite.nan += from.nonFinite.nan;
  into.nonFinite.positive += from.nonFinite.positive;
  into.nonFinite.negative += from.nonFinite.negative;
}

function sumOf(retractable: boolean): ExactSum {
  /** The cell's sum, made when it is still zero. */
  const own = (cells: Cells, at: number): DecimalSum => {
    let sum = cells[at] as DecimalSum | 0;
    if (sum === 0) {
      sum = { unscaled: 0, scale: 0, nonFinite: undefined, scales: retractable ? [] : undefined };
      cells[at] = sum;
    }
    return sum;
  };
  return {
    width: 1,
    numeric: false,
    add: (cells, at, value) => addText(own(cells, at), value as string),
    retract: (cells, at, value) => retractText(own(cells, at), value as string),
    merge: (cells, at, from, fromAt) => merge(own(cells, at), from[fromAt] as DecimalSum),
    result: (cells, at) => textOf(cells[at] as DecimalSum),
    quotient: (cells, at, count) => {
      const sum = cells[at] as DecimalSum;
      if (sum.nonFinite !== undefined) return Number(textOf(sum));
      return ratioToDouble(BigInt(sum.unscaled), powerOfTen(sum.scale) * BigInt(count));
    },
    write: (writer, cells, at) => {
      const sum = cells[at] as DecimalSum;
      writer.varint(sum.scale);
      writer.bigZigzag(sum.unscaled);
      writer.nonFinite(sum.nonFinite);
      if (sum.scales === undefined) return;
      writer.varint(sum.scales.length);
      for (const { scale, count } of sum.scales) {
        writer.varint(scale);
        writer.varint(count);
      }
    },
    read: (reader, cells, at) => {
      const scale = reader.varint();
      const unscaled = reader.bigZigzag();
      const sum: DecimalSum = { unscaled, scale, nonFinite: reader.nonFinite(), scales: undefined };
      cells[at] = sum;
      if (!retractable) return;
      sum.scales = [];
      for (let left = reader.varint(); left > 0; left--) {
        sum.scales.push({ scale: reader.varint(), count: reader.varint() });
      }
    },
  };
}

/** Of values that only ever are added. */
export const decimalSum: ExactSum = sumOf(false);
/** Of values that are taken out again. */
export const retractableDecimalSum: ExactSum = sumOf(true);
