/**
 * What a view's expressions and features may name: the source's columns, joined ones, derived ones; and which of them
 * are read. Owns the bookkeeping; type checking of CEL is the engine's.
 */
import { create } from '@bufbuild/protobuf';
import { compileExpression, type ExpressionColumn } from '@freshet/engine/expression/expression.ts';
import type { Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import type { ResolveContext } from './context.ts';

/** The columns that expressions and features may name, and which of them are read. */
export class ColumnScope {
  readonly #source: SourcePlan;
  readonly #columns: ExpressionColumn[] = [];
  readonly #read = new Set<string>();

  constructor(source: SourcePlan) {
    this.#source = source;
    for (const { name, type, nullable } of source.contract?.columns ?? []) {
      this.#columns.push({ name, type: type ?? create(ValueTypeSchema), nullable });
    }
  }

  has(name: string): boolean {
    return this.#columns.some((column) => column.name === name);
  }

  /** A joined column may be null whatever the table says: the row may be missing. */
  addJoined(name: string, type: ValueType): void {
    this.#columns.push({ name, type, nullable: true });
  }

  /** Whether anything reads the column. */
  isRead(name: string): boolean {
    return this.#read.has(name);
  }

  /** An expression's result may be null whatever it reads: an error at run time gives null. */
  addDerived(name: string, type: ValueType): void {
    this.#columns.push({ name, type, nullable: true });
  }

  types(): ReadonlyMap<string, ValueType> {
    return new Map(this.#columns.map(({ name, type }) => [name, type]));
  }

  read(name: string): void {
    this.#read.add(name);
  }

  /** The type of an expression's result; undefined, with a problem, when it has none. */
  compile(
    source: string,
    what: string,
    location: Location | undefined,
    context: ResolveContext,
  ): ValueType | undefined {
    try {
      const expression = compileExpression(source, this.#columns);
      for (const index of expression.uses) this.read(this.#columns[index]?.name ?? '');
      return expression.type;
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      const at = error.place === '' ? '' : ` (line:column ${error.place} of the expression)`;
      const remedy = error.remedy || 'Correct the expression; see the documentation for what CEL has here.';
      context.problems.add(location, `${what}: ${error.message}${at}`, remedy);
      return undefined;
    }
  }

  /** The source's columns that are read, by name ascending. */
  columnsRead(): NonNullable<SourcePlan['contract']>['columns'] {
    const columns = (this.#source.contract?.columns ?? []).filter(({ name }) => this.#read.has(name));
    return columns.sort((a, b) => compareStrings(a.name, b.name));
  }
}
