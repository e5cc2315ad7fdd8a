/**
 * An exact sum of doubles in two cells, [high, low]: high is the sum rounded once and low the rest, exactly. Nearly every
 * sum is such a pair, and adding to it makes no object. One that is not lies in the first cell as a DoubleSum
 * (exact-double.ts), the second is 0; it goes back to a pair when it can.
 *
 * Invariant (F1): the bytes are those of the exact value alone (double-sum-codec.ts), whichever way it lies in the cells.
 */
import type { Cells } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { readDoubleSum, writeDoublePair, writeDoubleSum } from './double-sum-codec.ts';
import {
  addDouble,
  type DoubleSum,
  divideDoubleSum,
  EXPANSION_MAX,
  mergeDoubleSums,
  retractDouble,
  roundDoubleSum,
} from './exact-double.ts';
import type { ExactSum } from './exact-sum.ts';
import { dividePair } from './quotient.ts';

function add(cells: Cells, at: number, value: number): void {
  const high = cells[at];
  if (typeof high === 'number') {
    const low = cells[at + 1] as number;
    const sum = high + value;
    const sumVirtual = sum - high;
    const error = high - (sum - sumVirtual) + (value - sumVirtual);
    const rest = low + error;
    const restVirtual = rest - low;
    // Overflow and values that are not finite fail these comparisons.
    if (low - (rest - restVirtual) + (error - restVirtual) === 0) {
      const total = sum + rest;
      const totalVirtual = total - sum;
      if (Math.abs(total) < EXPANSION_MAX) {
        cells[at] = total;
        cells[at + 1] = sum - (total - totalVirtual) + (rest - totalVirtual);
        return;
      }
    }
  }
  store(cells, at, addDouble(load(cells, at), value));
}

/** The sum in the form of exact-double.ts; an object of its own unless one lies in the cell. */
function load(cells: Cells, at: number): DoubleSum {
  const high = cells[at] as DoubleSum;
  const low = cells[at + 1] as number;
  return typeof high !== 'number' || low === 0 ? high : [low, high];
}

function store(cells: Cells, at: number, sum: DoubleSum): void {
  const isPair = Array.isArray(sum) && sum.length === 2 && (sum[0] as number) + (sum[1] as number) === sum[1];
  cells[at] = isPair ? sum[1] : sum;
  cells[at + 1] = isPair ? sum[0] : 0;
}

export const doubleSum: ExactSum = {
  width: 2,
  numeric: true,
  add: (cells, at, value) => add(cells, at, value as number),
  retract: (cells, at, value) => {
    const plain = typeof cells[at] === 'number' && Math.abs(value as number) < EXPANSION_MAX;
    if (plain) add(cells, at, -(value as number));
    else store(cells, at, retractDouble(load(cells, at), value as number));
  },
  merge: (cells, at, from, fromAt) => {
    const high = from[fromAt] as DoubleSum;
    if (typeof high === 'number') {
      add(cells, at, high);
      const low = from[fromAt + 1] as number;
      if (low !== 0) add(cells, at, low);
    } else {
      store(cells, at, mergeDoubleSums(load(cells, at), high));
    }
  },
  result: (cells, at) => {
    const high = cells[at] as DoubleSum;
    return typeof high === 'number' ? high : roundDoubleSum(high);
  },
  quotient: (cells, at, count) => {
    const high = cells[at] as DoubleSum;
    const plain = typeof high === 'number' ? dividePair(high, cells[at + 1] as number, count) : undefined;
    return plain ?? divideDoubleSum(load(cells, at), count);
  },
  write: (writer: ByteWriter, cells, at) => {
    const high = cells[at] as DoubleSum;
    if (typeof high === 'number') writeDoublePair(writer, high, cells[at + 1] as number);
    else writeDoubleSum(writer, high);
  },
  read: (reader: ByteReader, cells, at) => store(cells, at, readDoubleSum(reader)),
};
