/**
 * Value rules of a source: what its rows' values must be, compiled once and asked for each row.
 *
 * Owns what a rule means: an expression that is false or fails breaks it, one that gives null does not, and neither does
 * one that only fails because a column that it reads is null. Expressions are the engine's, with the fuel limit of every
 * other expression. Does not own what becomes of a row that breaks one.
 */

import { create } from '@bufbuild/protobuf';
import { compileExpression, type Expression } from '@freshet/engine/expression/expression.ts';
import type { Contract, ValueRule } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { typeName } from '@freshet/values/type-name.ts';
import { NULL_RATE_ROWS_MAX, NullRateWindow } from './null-rate.ts';

/** A rule that a row broke. */
export interface BrokenRule {
  readonly rule: string;
  /** True: the row passes, and it is told. */
  readonly onlyTell: boolean;
  /** Why, in a sentence. No values of the row: they may be nobody's business. */
  readonly reason: string;
}

interface Compiled {
  readonly rule: ValueRule;
  /** Why the row breaks the rule; undefined when it keeps it. */
  readonly check: (row: readonly Scalar[]) => string | undefined;
  /** The columns that it asks of. */
  readonly uses: readonly number[];
}

export class ValueRules {
  readonly #rules: readonly Compiled[];

  private constructor(rules: readonly Compiled[]) {
    this.#rules = rules;
  }

  /**
   * Compiles the rules against the contract whose rows will be asked. Throws INVALID_DEFINITION with the first problem
   * and the others in `also`; the place is the rule's name.
   */
  static compile(rules: readonly ValueRule[], contract: Contract): ValueRules {
    const problems: FreshetError[] = [];
    const compiled: Compiled[] = [];
    for (const rule of rules) {
      try {
        compiled.push({ rule, ...compileRule(rule, contract) });
      } catch (error) {
        if (!(error instanceof FreshetError)) throw error;
        const { message, remedy } = error;
        problems.push(new FreshetError('INVALID_DEFINITION', message, { place: rule.name, remedy }));
      }
    }
    const [first, ...also] = problems;
    if (first === undefined) return new ValueRules(compiled);
    throw new FreshetError(first.code, first.message, { place: first.place, remedy: first.remedy, also });
  }

  get size(): number {
    return this.#rules.length;
  }

  /** The columns that rules which keep rows back ask of, by their places in the contract. */
  get holding(): ReadonlySet<number> {
    return new Set(this.#rules.flatMap(({ rule, uses }) => (rule.onlyTell ? [] : uses)));
  }

  /**
   * The rules that a row breaks; its values are in the order of the contract's columns. Counts it for null rates. Of `unknown`
   * columns it is not known what they have: rules that use them are not asked.
   */
  check(row: readonly Scalar[], unknown: readonly number[] = []): BrokenRule[] {
    const broken: BrokenRule[] = [];
    for (const { rule, check, uses } of this.#rules) {
      if (unknown.length > 0 && uses.some((column) => unknown.includes(column))) continue;
      const reason = check(row);
      if (reason !== undefined) broken.push({ rule: rule.name, onlyTell: rule.onlyTell, reason });
    }
    return broken;
  }
}

/** Which columns the rules of a source ask of: those that keep rows back, and those that only tell. */
export interface RuleColumns {
  readonly holding: ReadonlySet<string>;
  readonly telling: ReadonlySet<string>;
}

/** Throws INVALID_DEFINITION for rules that its contract does not know, which plan refuses. */
export function ruleColumnsOf(source: Pick<SourcePlan, 'rules' | 'contract'> | undefined): RuleColumns {
  const columns: RuleColumns & Record<'holding' | 'telling', Set<string>> = { holding: new Set(), telling: new Set() };
  for (const rule of source?.rules ?? []) {
    const contract = must(source?.contract, 'rules without a contract');
    for (const index of compileRule(rule, contract).uses)
      columns[rule.onlyTell ? 'telling' : 'holding'].add(must(contract.columns[index]).name);
  }
  return columns;
}

function compileRule({ name, rule }: ValueRule, contract: Contract): Pick<Compiled, 'check' | 'uses'> {
  if (rule.case === 'expression') return compileCondition(name, rule.value, contract);
  if (rule.case !== 'nullRate')
    throw invalid(`Rule ${name} asks nothing.`, 'Give it an `expression` or a `null_rate`.');
  const { column, max, rows } = rule.value;
  const index = contract.columns.findIndex((one) => one.name === column);
  if (index < 0) throw unknownColumn(name, column, contract);
  if (!(max >= 0 && max <= 1))
    throw invalid(`Rule ${name}: the largest share of nulls is ${max}.`, 'Give a number from 0 to 1, such as 0.05.');
  if (rows > NULL_RATE_ROWS_MAX)
    throw invalid(`Rule ${name}: a null rate is taken over at most ${NULL_RATE_ROWS_MAX} rows.`, 'Give fewer rows.');
  const window = new NullRateWindow(max, rows);
  const check: Compiled['check'] = (row) => {
    if (!window.take((row[index] ?? null) === null)) return undefined;
    return `column ${column} is null in ${(window.share * 100).toFixed(1)} % of the newest rows, ${max * 100} % is allowed`;
  };
  return { check, uses: [index] };
}

function compileCondition(name: string, source: string, contract: Contract): Pick<Compiled, 'check' | 'uses'> {
  const columns = contract.columns.map((column) => ({
    name: column.name,
    type: column.type ?? create(ValueTypeSchema),
    nullable: column.nullable,
  }));
  const expression = compileOrExplain(name, source, columns);
  if (expression.type.kind !== Kind.BOOL) {
    throw invalid(
      `Rule ${name} must be true or false, but it is ${typeName(expression.type)}.`,
      'Compare it with something, for example `amount >= 0`.',
    );
  }
  const check: Compiled['check'] = (row) => {
    let result: Scalar;
    try {
      result = expression.evaluate(row);
    } catch (error) {
      // An operator fails on null; that a value is missing is for a rule that says so.
      if (expression.uses.some((index) => (row[index] ?? null) === null)) return undefined;
      return `the expression fails: ${error instanceof Error ? error.message : String(error)}`;
    }
    return result === false ? `${shorten(source)} is false` : undefined;
  };
  return { check, uses: expression.uses };
}

function compileOrExplain(name: string, source: string, columns: Parameters<typeof compileExpression>[1]): Expression {
  try {
    return compileExpression(source, columns);
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error;
    const at = error.place === '' ? '' : ` (line:column ${error.place} of the expression)`;
    throw invalid(`Rule ${name}: ${error.message}${at}`, error.remedy || 'Correct the expression.');
  }
}

function unknownColumn(name: string, column: string, contract: Contract): FreshetError {
  const names = contract.columns.map((one) => one.name);
  const meant = closest(column, names);
  const remedy = meant === undefined ? `The columns are ${names.slice(0, 20).join(', ')}.` : `Did you mean "${meant}"?`;
  return invalid(`Rule ${name}: there is no column "${column}".`, remedy);
}

function invalid(message: string, remedy: string): FreshetError {
  return new FreshetError('INVALID_DEFINITION', message, { remedy });
}

function shorten(source: string): string {
  return source.length <= 80 ? source : `${source.slice(0, 77)}...`;
}
