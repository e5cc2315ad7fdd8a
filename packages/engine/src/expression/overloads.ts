/**
 * What the functions and arithmetic operators of expressions take and give. Comparison, logic, `in`, `?:` and indexing
 * are generic and are checked in checker.ts.
 *
 * Only what is listed here can be used: each entry is a function of its arguments alone (F1), the same on every
 * machine. functions.ts replaces those of the CEL library that are not.
 */
import type { CelTypeName } from './cel-types.ts';

export interface Overload {
  /** The type before the dot; undefined for a plain function. */
  readonly target?: CelTypeName;
  readonly args: readonly CelTypeName[];
  readonly result: CelTypeName;
}

function plain(args: readonly CelTypeName[], result: CelTypeName): Overload {
  return { args, result };
}

function method(target: CelTypeName, args: readonly CelTypeName[], result: CelTypeName): Overload {
  return { target, args, result };
}

const STRING_TEST: readonly Overload[] = [method('string', ['string'], 'bool')];
const TIME_PART: readonly Overload[] = [
  method('timestamp', [], 'int'),
  // The zone is a fixed offset such as "+02:00", or "UTC": named zones would depend on the machine's zone data.
  method('timestamp', ['string'], 'int'),
];
const TIME_OR_DURATION_PART: readonly Overload[] = [...TIME_PART, method('duration', [], 'int')];

export const FUNCTIONS: ReadonlyMap<string, readonly Overload[]> = new Map([
  ['startsWith', STRING_TEST],
  ['endsWith', STRING_TEST],
  ['contains', STRING_TEST],
  ['matches', STRING_TEST],
  ['size', (['string', 'bytes', 'list'] as const).flatMap((type) => [plain([type], 'int'), method(type, [], 'int')])],
  ['int', (['int', 'double', 'string', 'timestamp', 'duration'] as const).map((type) => plain([type], 'int'))],
  ['double', (['int', 'double', 'string', 'decimal'] as const).map((type) => plain([type], 'double'))],
  [
    'string',
    (['string', 'bool', 'int', 'double', 'decimal', 'bytes', 'timestamp', 'duration'] as const).map((type) =>
      plain([type], 'string'),
    ),
  ],
  ['bool', (['bool', 'string'] as const).map((type) => plain([type], 'bool'))],
  ['bytes', (['bytes', 'string'] as const).map((type) => plain([type], 'bytes'))],
  ['timestamp', (['timestamp', 'string', 'int'] as const).map((type) => plain([type], 'timestamp'))],
  ['duration', (['duration', 'string'] as const).map((type) => plain([type], 'duration'))],
  ['getFullYear', TIME_PART],
  ['getMonth', TIME_PART],
  ['getDate', TIME_PART],
  ['getDayOfMonth', TIME_PART],
  ['getDayOfWeek', TIME_PART],
  ['getDayOfYear', TIME_PART],
  ['getHours', TIME_OR_DURATION_PART],
  ['getMinutes', TIME_OR_DURATION_PART],
  ['getSeconds', TIME_OR_DURATION_PART],
  ['getMilliseconds', TIME_OR_DURATION_PART],
]);

/** Arithmetic, by the function name that the parser gives an operator. */
export const ARITHMETIC: ReadonlyMap<string, readonly Overload[]> = new Map([
  [
    '_+_',
    [
      plain(['int', 'int'], 'int'),
      plain(['double', 'double'], 'double'),
      plain(['string', 'string'], 'string'),
      plain(['bytes', 'bytes'], 'bytes'),
      plain(['timestamp', 'duration'], 'timestamp'),
      plain(['duration', 'timestamp'], 'timestamp'),
      plain(['duration', 'duration'], 'duration'),
    ],
  ],
  [
    '_-_',
    [
      plain(['int', 'int'], 'int'),
      plain(['double', 'double'], 'double'),
      plain(['timestamp', 'timestamp'], 'duration'),
      plain(['timestamp', 'duration'], 'timestamp'),
      plain(['duration', 'duration'], 'duration'),
    ],
  ],
  ['_*_', [plain(['int', 'int'], 'int'), plain(['double', 'double'], 'double')]],
  ['_/_', [plain(['int', 'int'], 'int'), plain(['double', 'double'], 'double')]],
  ['_%_', [plain(['int', 'int'], 'int')]],
  ['-_', [plain(['int'], 'int'), plain(['double'], 'double')]],
]);

/** The kinds that `<` and its like order, each with itself; int and double also with each other. */
export const ORDERED: ReadonlySet<CelTypeName> = new Set([
  'int',
  'double',
  'string',
  'bool',
  'bytes',
  'timestamp',
  'duration',
] as const);
