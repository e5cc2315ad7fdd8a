/** What min and max share: the least or the greatest value in the total order of packages/values/src/compare.ts. */
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { compareBytes, compareDoubles, compareStrings } from '@freshet/values/compare.ts';
import { compareDecimal, decimalOf } from '@freshet/values/decimal.ts';
import { rawCodec } from '../state/raw-codec.ts';
import { ABSENT, type Accumulator, type Aggregate, type Cells, type Raw } from './aggregate.ts';
import { inputAmong, isNumeric, kindOf } from './types.ts';

const KINDS: readonly Kind[] = [
  Kind.INT64,
  Kind.DOUBLE,
  Kind.DECIMAL,
  Kind.STRING,
  Kind.TIMESTAMP,
  Kind.BOOL,
  Kind.BYTES,
];

type Compare = (a: Raw, b: Raw) => number;

/**
 * Decimals by number; of equal numbers the shorter text is the lesser (1.0 before 1.00), so that the order is total on
 * texts and the extreme does not depend on the order of events.
 */
function compareDecimalTexts(a: string, b: string): number {
  if (a === b) return 0;
  return compareDecimal(decimalOf(a), decimalOf(b)) || a.length - b.length;
}

function comparison(kind: Kind): Compare {
  switch (kind) {
    case Kind.DOUBLE:
      return compareDoubles as Compare;
    case Kind.DECIMAL:
      return compareDecimalTexts as Compare;
    case Kind.STRING:
      return compareStrings as Compare;
    case Kind.BYTES:
      return compareBytes as Compare;
    default:
      // int64 and timestamp (numbers mixed with bigints compare by value) and booleans.
      return (a, b) => ((a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0);
  }
}

/** Keeps the value for which sign * compare is least: sign 1 is min, -1 is max. Cells: 1, and the value. */
function accumulator(kind: Kind, sign: 1 | -1): Accumulator {
  const compare = comparison(kind);
  const codec = rawCodec(kind);
  const offer = (cells: Cells, at: number, value: Raw): void => {
    if (cells[at] !== 0 && sign * compare(value, cells[at + 1] as Raw) >= 0) return;
    cells[at] = 1;
    cells[at + 1] = value;
  };
  return {
    width: 2,
    numeric: isNumeric(kind),
    isOrdered: false,
    isRefolded: true,
    add: (cells, at, value) => offer(cells, at, value as Raw),
    // Whether another value is as far out, or which is next, only the values that are left can tell.
    retract: (cells, at, value) => compare(value as Raw, cells[at + 1] as Raw) !== 0,
    merge: (cells, at, from, fromAt) => offer(cells, at, from[fromAt + 1] as Raw),
    result: (cells, at) => (cells[at] === 0 ? ABSENT : (cells[at + 1] as Raw)),
    write: (writer, cells, at) => codec.write(writer, cells[at + 1] as Raw),
    read: (reader, cells, at) => {
      cells[at] = 1;
      cells[at + 1] = codec.read(reader);
    },
  };
}

/** The aggregate `min` (sign 1) or `max` (sign -1). */
export function extreme(name: string, sign: 1 | -1): Aggregate {
  return {
    name,
    inputOptional: false,
    resultType: (input) => inputAmong(name, input, KINDS),
    accumulator: (input: ValueType | undefined) => accumulator(kindOf(input), sign),
  };
}
