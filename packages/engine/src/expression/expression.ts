/**
 * CEL expressions over the columns of a row: `where`, derived columns, on-demand features.
 *
 * Owns compiling (parse, check, plan) and the passage of values into CEL and back. Does not own what an error means:
 * evaluate throws, and the fold takes it as false or null and counts it.
 *
 * In CEL an int64 is an int, a timestamp is a google.protobuf.Timestamp, and a decimal can only be converted, by
 * double(x) or string(x), and compared with null. Nulls: `x == null` works on any column; any other operator with a
 * null operand is an error, which `&&` and `||` absorb when the other side decides. Invariant F1: pure (functions.ts).
 */
import { type CelInput, type CelValue, celEnv, isCelError, parse, plan } from '@bufbuild/cel';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { isLong } from '../limits.ts';
import { celTypeOf, typeText, valueTypeOf } from './cel-types.ts';
import { CheckError, type CheckScope, checkExpression, type Expr } from './checker.ts';
import { PURE_FUNCTIONS, timestampFromUs, usFromTimestamp } from './functions.ts';
import { lengthOf, MATCH_CALLS, payFor, startMeter } from './meter.ts';

/** Parsing recurses: deeper or longer texts are refused before they can end the process. */
const SOURCE_CHARS_MAX = 4096;
const BRACKETS_MAX = 100;

export interface ExpressionColumn {
  readonly name: string;
  readonly type: ValueType;
  readonly nullable: boolean;
}

export interface Expression {
  /** The type of the result; it may be null at run time. */
  readonly type: ValueType;
  /** The indexes of the columns that it reads, ascending. */
  readonly uses: readonly number[];
  /** How many calls it is made of; one that looks at much for each character counts several times. */
  readonly calls: number;
  /**
   * The value for a row, whose values are in the order of the columns given at compile time; an int64 or timestamp
   * may be a number there when it is a safe integer, and is a bigint in the result. Throws an Error on a run-time error.
   */
  evaluate(row: readonly Scalar[]): Scalar;
}

export interface CompileOptions {
  /** What one evaluation may cost (limits.ts); EVALUATION_COST_MAX unless told. */
  readonly costMax?: number | undefined;
  /** What the columns are called in errors; "column" unless told. */
  readonly noun?: string | undefined;
}

const ENV = celEnv({ funcs: [...PURE_FUNCTIONS] });

/**
 * Compiles an expression over the columns. Throws INVALID_DEFINITION, with `place` as "line:column" within the
 * source, both from 1.
 */
export function compileExpression(
  source: string,
  columns: readonly ExpressionColumn[],
  options: CompileOptions = {},
): Expression {
  if (source.length > SOURCE_CHARS_MAX)
    throw invalid(source, 0, `an expression has at most ${SOURCE_CHARS_MAX} characters`);
  const parsed = parseSource(source);
  const used = new Set<string>();
  const scope: CheckScope = {
    columns: new Map(columns.map((column) => [column.name, celTypeOf(column.type)])),
    used,
    patterns: new Map(),
    noun: options.noun ?? 'column',
  };
  let type: ValueType | undefined;
  try {
    const celType = checkExpression(parsed.expr, scope);
    for (const [exprId, pattern] of scope.patterns) checkPattern(exprId, pattern);
    type = valueTypeOf(celType);
    if (type === undefined) {
      throw new CheckError(
        parsed.expr.id,
        `the result is a ${typeText(celType)}, which no value can be`,
        celType.name === 'duration' ? 'Take its seconds with int(duration).' : '',
      );
    }
  } catch (error) {
    if (!(error instanceof CheckError)) throw error;
    const offset = parsed.sourceInfo?.positions[error.exprId.toString()] ?? 0;
    throw invalid(source, offset, error.message, error.remedy);
  }
  const uses = columns.flatMap((column, index) => (used.has(column.name) ? [index] : []));
  const calls = countCalls(parsed.expr);
  return { type, uses, calls, evaluate: evaluator({ parsed, columns, uses, type, calls }, options.costMax) };
}

const MATCH = plan(ENV, parse('"".matches(pattern)'));

/** A pattern that is no regular expression would fail for every row. */
function checkPattern(exprId: bigint, pattern: string): void {
  const result = MATCH({ pattern });
  if (!isCelError(result)) return;
  throw new CheckError(
    exprId,
    `the pattern cannot be read: ${result.message}`,
    'Patterns are RE2: linear in time, without look-around and back-references.',
  );
}

/** How deep brackets are nested; those in texts count too, which only refuses texts that nobody writes. */
function bracketDepth(source: string): number {
  let depth = 0;
  let deepest = 0;
  for (const char of source) {
    if ('([{'.includes(char)) deepest = Math.max(deepest, ++depth);
    else if (')]}'.includes(char)) depth--;
  }
  return deepest;
}

function parseSource(source: string): ReturnType<typeof parse> {
  if (bracketDepth(source) > BRACKETS_MAX) throw invalid(source, 0, 'the expression is nested too deeply');
  try {
    return parse(source);
  } catch (error) {
    if (error instanceof RangeError) throw invalid(source, 0, 'the expression is nested too deeply');
    const offset = offsetOf(error);
    throw invalid(source, offset, describeSyntaxError(error));
  }
}

interface Checked {
  readonly parsed: ReturnType<typeof parse>;
  readonly columns: readonly ExpressionColumn[];
  readonly uses: readonly number[];
  readonly type: ValueType;
  readonly calls: number;
}

function evaluator(
  { parsed, columns, uses, type, calls }: Checked,
  costMax: number | undefined,
): Expression['evaluate'] {
  const run = plan(ENV, parsed);
  const inputs = uses.map((index) => {
    const column = must(columns[index]);
    const { kind, element } = column.type;
    return { index, name: column.name, isLong: isLong(kind), toCel: toCel(kind, element) };
  });
  const fromResult = fromCel(type.kind, type.element);
  // One object for all rows: evaluation is synchronous and keeps no reference to it.
  const bindings: Record<string, CelInput> = Object.create(null) as Record<string, CelInput>;
  return (row) => {
    startMeter(calls, costMax);
    for (const input of inputs) {
      const value = row[input.index] ?? null;
      if (input.isLong) payFor(lengthOf(value));
      bindings[input.name] = value === null ? null : input.toCel(value);
    }
    const result = withoutStacks(run, bindings);
    if (isCelError(result)) throw result;
    return result === null ? null : fromResult(result);
  };
}

/**
 * Evaluates without stack traces: errors of expressions are values that are told by their message, a null operand is all
 * it takes to make one, and the trace is five sixths of what it costs (measured: 22 µs with it, 4 without).
 */
function withoutStacks(run: ReturnType<typeof plan>, bindings: Record<string, CelInput>): ReturnType<typeof run> {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return run(bindings);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The calls in an expression, by what they cost for each character that they look at. */
function countCalls(expr: Expr | undefined): number {
  const kind = expr?.exprKind;
  if (kind?.case === 'listExpr') return kind.value.elements.reduce((sum, element) => sum + countCalls(element), 0);
  if (kind?.case !== 'callExpr') return 0;
  const { function: name, target, args } = kind.value;
  const own = name === 'matches' ? MATCH_CALLS : 1;
  return args.reduce((sum, arg) => sum + countCalls(arg), own + countCalls(target));
}

function toCel(kind: Kind, element: Kind): (value: Exclude<Scalar, null>) => CelInput {
  switch (kind) {
    case Kind.INT64:
      return (value) => (typeof value === 'number' ? BigInt(value) : (value as bigint));
    case Kind.TIMESTAMP:
      return lastOne((value) => timestampFromUs(value as number | bigint));
    case Kind.LIST: {
      const one = toCel(element, Kind.UNSPECIFIED);
      return (value) => (value as readonly Scalar[]).map((item) => (item === null ? null : one(item)));
    }
    case Kind.VECTOR:
      // Only its being there can be asked for.
      return () => true;
    default:
      return (value) => value as CelInput;
  }
}

/** The function, which remembers its last value: `now` is the same for thousands of evaluations. */
function lastOne(make: (value: Exclude<Scalar, null>) => CelInput): (value: Exclude<Scalar, null>) => CelInput {
  let last: Exclude<Scalar, null> | undefined;
  let made: CelInput = null;
  return (value) => {
    if (value !== last) {
      made = make(value);
      last = value;
    }
    return made;
  };
}

function fromCel(kind: Kind, element: Kind): (value: Exclude<CelValue, null>) => Scalar {
  switch (kind) {
    case Kind.TIMESTAMP:
      return (value) => usFromTimestamp((value as unknown as { message: Timestamp }).message);
    case Kind.LIST: {
      const one = fromCel(element, Kind.UNSPECIFIED);
      return (value) => {
        const items = [...(value as unknown as Iterable<CelValue>)];
        return items.map((item) => (item === null ? null : one(item)));
      };
    }
    default:
      return (value) => value as Scalar;
  }
}

function offsetOf(error: unknown): number {
  const location = (error as { location?: { start?: { offset?: number } } }).location;
  return location?.start?.offset ?? 0;
}

function describeSyntaxError(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // "syntax error <input>:1:3: found = but expecting …": the place is told apart, and the list of what could be is long.
  const found = /^(?:\w+ error )?(?:<input>:\d+:\d+: )?(.*?)(?: but expecting .*)?$/s.exec(message)?.[1];
  return `the expression cannot be read: ${found ?? message}`;
}

function invalid(source: string, position: number, message: string, remedy = ''): FreshetError {
  // The parser counts the space before an operator to it.
  const offset = position + (/^\s*/.exec(source.slice(position))?.[0].length ?? 0);
  const before = source.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - (before.lastIndexOf('\n') + 1) + 1;
  return new FreshetError('INVALID_DEFINITION', `In the expression \`${shorten(source)}\`: ${message}.`, {
    place: `${line}:${column}`,
    remedy,
  });
}

function shorten(source: string): string {
  return source.length <= 80 ? source : `${source.slice(0, 77)}...`;
}
