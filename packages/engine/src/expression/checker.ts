/**
 * Type-checks a parsed CEL expression against columns, so that what `plan` lets through fails at run time only because
 * of values (a null operand, a division by zero), never because of types or names.
 *
 * Owns the rules of operators that are generic; overloads.ts has the rest. Macros (exists, map), maps, messages and
 * unsigned integers are refused: nothing in a row has those types.
 */
import type { parse } from '@bufbuild/cel';
import { closest } from '@freshet/kit/closest.ts';
import { type CelType, isNumeric, sameType, typeText } from './cel-types.ts';
import { ARITHMETIC, FUNCTIONS, ORDERED, type Overload } from './overloads.ts';

export type Expr = ReturnType<typeof parse>['expr'];

/** A type error at a place of the expression. */
export class CheckError extends Error {
  override readonly name = 'CheckError';
  readonly exprId: bigint;
  readonly remedy: string;

  constructor(exprId: bigint, message: string, remedy = '') {
    super(message);
    this.exprId = exprId;
    this.remedy = remedy;
  }
}

const BOOL: CelType = { name: 'bool' };
const NULL: CelType = { name: 'null' };
const INT: CelType = { name: 'int' };
const COMPARISONS: ReadonlySet<string> = new Set(['_<_', '_<=_', '_>_', '_>=_']);
const EQUALITIES: ReadonlySet<string> = new Set(['_==_', '_!=_']);
const OPERATOR_TEXT = /[_@]/g;

interface Call {
  readonly id: bigint;
  readonly name: string;
  readonly target: CelType | undefined;
  readonly args: readonly CelType[];
}

/**
 * How deep operators may stand in each other. Evaluation recurses; a limit by count holds wherever the expression runs,
 * where the end of the stack would depend on who calls.
 */
const DEPTH_MAX = 250;

/** What an expression is checked against, and what checking finds out about it. */
export interface CheckScope {
  readonly columns: ReadonlyMap<string, CelType>;
  /** What a column is called in errors. */
  readonly noun: string;
  /** The columns that it names. */
  readonly used: Set<string>;
  /** The patterns that it writes out for matches(), by the id of the expression. */
  readonly patterns: Map<bigint, string>;
}

/** The type of the expression. Adds to what the scope collects. Throws CheckError. */
export function checkExpression(expr: Expr, scope: CheckScope, depth = 0): CelType {
  const check = (part: Expr | undefined): CelType => {
    if (part === undefined) throw new CheckError(expr.id, 'the expression is incomplete');
    if (depth === DEPTH_MAX) throw new CheckError(expr.id, 'the expression is nested too deeply');
    return checkExpression(part, scope, depth + 1);
  };
  const kind = expr.exprKind;
  switch (kind.case) {
    case 'constExpr':
      return checkConstant(expr.id, kind.value.constantKind);
    case 'identExpr':
      return checkName(expr.id, kind.value.name, scope);
    case 'listExpr':
      return listOf(expr.id, kind.value.elements.map(check));
    case 'callExpr': {
      const { function: name, target, args } = kind.value;
      const pattern = args.length === 1 ? textConstant(args[0]) : undefined;
      if (name === 'matches') {
        // A pattern out of a row would let a row decide how long the fold takes.
        if (pattern === undefined)
          throw new CheckError(expr.id, 'the pattern of matches() must be written out as a text');
        scope.patterns.set(expr.id, pattern);
      }
      if (name === 'has' && target === undefined) throw hasRefused(expr.id);
      return checkCall({ id: expr.id, name, target: target && check(target), args: args.map(check) });
    }
    case 'selectExpr':
      if (kind.value.testOnly) throw hasRefused(expr.id);
      throw new CheckError(expr.id, `columns have no fields: .${kind.value.field} cannot be read`);
    case 'comprehensionExpr':
      throw new CheckError(expr.id, 'macros such as exists, all, map and filter are not supported');
    default:
      throw new CheckError(expr.id, 'maps and messages are not supported');
  }
}

function textConstant(expr: Expr | undefined): string | undefined {
  const constant = expr?.exprKind.case === 'constExpr' ? expr.exprKind.value.constantKind : undefined;
  return constant?.case === 'stringValue' ? constant.value : undefined;
}

function hasRefused(id: bigint): CheckError {
  return new CheckError(id, 'has() is for fields of messages', 'Write `column != null` instead.');
}

function checkConstant(id: bigint, constant: { case: string | undefined; value?: unknown } | undefined): CelType {
  switch (constant?.case) {
    case 'nullValue':
      return NULL;
    case 'boolValue':
      return BOOL;
    case 'int64Value':
      if (typeof constant.value === 'bigint' && BigInt.asIntN(64, constant.value) !== constant.value) {
        throw new CheckError(id, `${constant.value} does not fit in 64 bits`);
      }
      return INT;
    case 'doubleValue':
      return { name: 'double' };
    case 'stringValue':
      return { name: 'string' };
    case 'bytesValue':
      return { name: 'bytes' };
    case 'uint64Value':
      throw new CheckError(id, 'unsigned integers are not supported', 'Leave the suffix u away.');
    default:
      throw new CheckError(id, 'this constant is not supported');
  }
}

function checkName(id: bigint, name: string, { columns, used, noun }: CheckScope): CelType {
  const type = columns.get(name);
  if (type !== undefined) {
    used.add(name);
    return type;
  }
  const near = closest(name, [...columns.keys()]);
  const known = [...columns.keys()].slice(0, 20).join(', ');
  throw new CheckError(
    id,
    `there is no ${noun} ${name}`,
    near === undefined ? `The ${noun}s are ${known}.` : `Did you mean ${near}? The ${noun}s are ${known}.`,
  );
}

function listOf(id: bigint, elements: readonly CelType[]): CelType {
  let element = NULL;
  for (const next of elements) {
    if (element.name === 'null') element = next;
    else if (next.name !== 'null' && !sameType(element, next)) {
      throw new CheckError(id, `a list cannot hold both ${typeText(element)} and ${typeText(next)}`);
    }
  }
  return { name: 'list', element };
}

function checkCall(call: Call): CelType {
  const { name, args } = call;
  if (EQUALITIES.has(name)) return checkEquality(call);
  if (COMPARISONS.has(name)) return checkOrder(call);
  if (name === '_&&_' || name === '_||_' || name === '!_') {
    for (const arg of args) if (arg.name !== 'bool') throw mismatch(call, 'needs bool');
    return BOOL;
  }
  if (name === '_?_:_') return checkConditional(call);
  if (name === '@in') return checkIn(call);
  if (name === '_[_]') {
    const [list, index] = args;
    if (list?.name !== 'list' || index?.name !== 'int') throw mismatch(call, 'needs a list and an int');
    return list.element ?? NULL;
  }
  if (name === '_+_' && args[0]?.name === 'list' && args[1]?.name === 'list') return listOf(call.id, elementsOf(args));
  return checkOverloads(call);
}

function elementsOf(lists: readonly CelType[]): CelType[] {
  return lists.map((list) => list.element ?? NULL);
}

function comparable(a: CelType, b: CelType): boolean {
  return a.name === 'null' || b.name === 'null' || sameType(a, b) || (isNumeric(a) && isNumeric(b));
}

function checkEquality(call: Call): CelType {
  const [a = NULL, b = NULL] = call.args;
  if (!comparable(a, b)) throw mismatch(call, 'compares values of one type');
  const isNullTest = a.name === 'null' || b.name === 'null';
  for (const type of [a, b]) {
    if (!isNullTest && (type.name === 'decimal' || type.name === 'vector')) throw opaque(call, type);
  }
  return BOOL;
}

function checkOrder(call: Call): CelType {
  const [a = NULL, b = NULL] = call.args;
  for (const type of [a, b]) if (type.name === 'decimal') throw opaque(call, type);
  const isOrdered = ORDERED.has(a.name) && ORDERED.has(b.name);
  if (!isOrdered || !(sameType(a, b) || (isNumeric(a) && isNumeric(b)))) {
    throw mismatch(call, 'orders values of one type');
  }
  return BOOL;
}

function checkConditional(call: Call): CelType {
  const [condition = NULL, yes = NULL, no = NULL] = call.args;
  if (condition.name !== 'bool') throw mismatch(call, 'needs bool before the ?');
  if (yes.name === 'null') return no;
  if (no.name !== 'null' && !sameType(yes, no)) throw mismatch(call, 'needs one type on both sides of the :');
  return yes;
}

function checkIn(call: Call): CelType {
  const [value = NULL, list] = call.args;
  if (list?.name !== 'list') throw mismatch(call, 'needs a list on its right');
  const element = list.element ?? NULL;
  if (value.name === 'decimal' || value.name === 'vector') throw opaque(call, value);
  if (!comparable(value, element)) throw mismatch(call, 'looks for a value among those of its type');
  return BOOL;
}

function checkOverloads(call: Call): CelType {
  const overloads = ARITHMETIC.get(call.name) ?? FUNCTIONS.get(call.name);
  if (overloads === undefined) {
    const near = closest(call.name, [...FUNCTIONS.keys()]);
    const remedy =
      near === undefined ? `The functions are ${[...FUNCTIONS.keys()].join(', ')}.` : `Did you mean ${near}?`;
    throw new CheckError(call.id, `there is no function ${call.name}`, remedy);
  }
  for (const overload of overloads) if (matchesOverload(call, overload)) return { name: overload.result };
  const operand = [call.target, ...call.args].find((type) => type?.name === 'decimal');
  if (operand !== undefined) throw opaque(call, operand);
  throw mismatch(call, `takes ${overloads.map(overloadText).join(' or ')}`);
}

function matchesOverload(call: Call, overload: Overload): boolean {
  return (
    call.target?.name === overload.target &&
    call.args.length === overload.args.length &&
    call.args.every((arg, i) => arg.name === overload.args[i])
  );
}

function overloadText(overload: Overload): string {
  const args = `(${overload.args.join(', ')})`;
  return overload.target === undefined ? args : `${overload.target}.${args}`;
}

function mismatch(call: Call, rule: string): CheckError {
  const operands = [...(call.target === undefined ? [] : [call.target]), ...call.args].map(typeText).join(' and ');
  const isNumberMix = call.args.length === 2 && call.args.every(isNumeric);
  return new CheckError(
    call.id,
    `${operatorText(call.name)} ${rule}, not ${operands === '' ? 'nothing' : operands}`,
    isNumberMix ? 'Convert one side with double() or int().' : '',
  );
}

function opaque(call: Call, type: CelType): CheckError {
  return new CheckError(
    call.id,
    `${operatorText(call.name)} cannot be used with a ${type.name}`,
    type.name === 'decimal' ? 'Convert it with double(column), which rounds to 53 bits.' : '',
  );
}

function operatorText(name: string): string {
  if (name === '_?_:_') return '?:';
  if (name === '_[_]') return '[]';
  if (name === '@in') return 'in';
  return FUNCTIONS.has(name) ? `${name}()` : name.replace(OPERATOR_TEXT, '');
}
