/**
 * A ViewPlan made ready to run: expressions compiled, features grouped by window and ttl, inputs numbered.
 *
 * Owns the groups: features with the same window and ttl share panes in a key's state and a timeline in its row.
 * Groups are in the order of their first feature, features within a group in plan order, as freshet.type.v1.Row says.
 */
import type { FeaturePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { Accumulator, Raw } from '../aggregates/aggregate.ts';
import { aggregateByName } from '../aggregates/table.ts';
import { compileExpression, type Expression, type ExpressionColumn } from '../expression/expression.ts';
import { isLong, valueBytesMax } from '../limits.ts';
import { normaliseInteger } from '../numbers/integers.ts';
import { type WindowShape, windowShape } from '../windows.ts';
import { type RunnableJoin, runnableJoins } from './join-plan.ts';
import { type RawCodec, rawCodec } from './raw-codec.ts';
import { type ViewReach, viewReach } from './reach.ts';

export interface FeatureFold {
  /** The index in the view's features. */
  readonly feature: number;
  /** The index of the input in the row of columns, joined and derived columns; -1: rows are counted. */
  readonly input: number;
  readonly accumulator: Accumulator;
  /** Where in a pane the accumulator's cells begin; the pane's number is at 0. */
  readonly cell: number;
  /** The same in a pane of partials (../contributions/partials.ts); -1: it is never folded again. */
  readonly partial: number;
  readonly resultType: ValueType;
}

export interface FeatureGroup {
  readonly window: WindowShape;
  /** 0: none. */
  readonly ttlUs: number;
  /** The cells of a pane: its number, and those of the accumulators. */
  readonly stride: number;
  /** The cells of a pane of partials; 0: none of its features is ever folded again. */
  readonly partialStride: number;
  readonly features: readonly FeatureFold[];
}

interface Derived {
  readonly index: number;
  readonly expression: Expression;
  readonly kind: Kind;
}

/** An input of the view's aggregates, as a contribution keeps it. */
export interface ViewInput {
  /** The index in the row of columns and derived columns. */
  readonly index: number;
  /** Undefined when it is only counted: then there is nothing to keep of it but whether it is null. */
  readonly codec: RawCodec | undefined;
}

/** A view that can be folded. */
export interface RunnableView {
  readonly viewId: string;
  readonly plan: ViewPlan;
  readonly route: number;
  readonly groups: readonly FeatureGroup[];
  readonly reach: ViewReach;
  /** The distinct inputs of its aggregates, by index. */
  readonly inputs: readonly ViewInput[];
  /** By group, the cells of a pane. */
  readonly strides: readonly number[];
  /** By group, the cells of a pane of partials. */
  readonly partialStrides: readonly number[];
  /** Whether nearly all cells of all accumulators hold numbers. */
  readonly numeric: boolean;
  readonly columns: readonly { readonly name: string; readonly type: ValueType }[];
  readonly joins: readonly RunnableJoin[];
  /** The joins that `where` needs, and the others, which are only looked up when it holds. */
  readonly whereJoins: readonly RunnableJoin[];
  readonly otherJoins: readonly RunnableJoin[];
  readonly derived: readonly Derived[];
  readonly where: Expression | undefined;
  /** The columns that `where` needs, through derived columns too; the others are only read when it holds. */
  readonly whereColumns: readonly number[];
  readonly otherColumns: readonly number[];
  /** Whether `where` uses a derived column, so that these are computed before it. */
  readonly whereUsesDerived: boolean;
  /** The inputs of aggregates whose values may be too long, by their index in the row. */
  readonly longInputs: readonly number[];
  /** The longest value that its aggregates take, in bytes. */
  readonly valueBytesMax: number;
}

/** The features' indexes by group: which timeline of a row holds which features. */
export function featureGroups(features: readonly FeaturePlan[]): number[][] {
  const groups = new Map<string, number[]>();
  features.forEach((feature, index) => {
    const { kind, unitUs, reach } = windowShape(feature.window);
    const key = `${kind} ${unitUs} ${reach} ${feature.ttlUs}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [index]);
    else group.push(index);
  });
  return [...groups.values()];
}

/** Makes the view ready; the plan was checked when it was made. */
export function runnableView(plan: ViewPlan): RunnableView {
  const columns = plan.columns.map((column) => ({
    name: column.name,
    type: must(column.type, `column ${column.name} has no type`),
    nullable: column.nullable,
  }));
  const joins = runnableJoins(plan);
  const joined = joins.flatMap((join) => join.columns.map(({ as, type }) => ({ name: as, type, nullable: true })));
  const all: ExpressionColumn[] = [...columns, ...joined];
  const given = all.length;
  const derived = plan.derived.map((column): Derived => {
    const type = must(column.type, `derived column ${column.name} has no type`);
    const expression = compileExpression(column.expression, all);
    all.push({ name: column.name, type, nullable: true });
    return { index: all.length - 1, expression, kind: type.kind };
  });
  const where = plan.where === '' ? undefined : compileExpression(plan.where, all);
  const whereUsesDerived = where?.uses.some((index) => index >= given) ?? false;
  // Derived columns may need any column, so with them all are read.
  const isUsed = ({ columns: of }: RunnableJoin): boolean =>
    of.some(({ index }) => where?.uses.includes(index) === true);
  const whereJoins = joins.filter((join) => whereUsesDerived || isUsed(join));
  const needed = [...(where?.uses ?? []), ...whereJoins.flatMap(({ on }) => on)];
  const whereColumns = columns.flatMap((_, index) => (whereUsesDerived || needed.includes(index) ? [index] : []));
  const indexOf = new Map(all.map((column, index) => [column.name, index]));
  const indexes = featureGroups(plan.features);
  const reach = viewReach(plan, indexes);
  const groups = indexes.map((group) => featureGroup(plan, group, indexOf, reach.mutable));
  return {
    viewId: toHex(plan.viewId),
    plan,
    route: plan.route,
    groups,
    reach,
    inputs: viewInputs(plan, indexOf),
    strides: groups.map(({ stride }) => stride),
    partialStrides: groups.map(({ partialStride }) => partialStride),
    numeric: groups.every(({ features }) => features.every(({ accumulator }) => accumulator.numeric)),
    columns,
    joins,
    whereJoins,
    otherJoins: joins.filter((join) => !whereJoins.includes(join)),
    derived,
    where,
    whereColumns,
    otherColumns: columns.map((_, index) => index).filter((index) => !whereColumns.includes(index)),
    whereUsesDerived,
    longInputs: [...new Set(groups.flatMap(({ features }) => features.map(({ input }) => input)))].filter((input) =>
      isLong(all[input]?.type.kind),
    ),
    valueBytesMax: valueBytesMax(plan.features),
  };
}

function viewInputs(plan: ViewPlan, indexOf: ReadonlyMap<string, number>): ViewInput[] {
  const inputs = new Map<number, ViewInput>();
  for (const { name, input, inputType, aggregate } of plan.features) {
    if (input === '') continue;
    const index = must(indexOf.get(input), `feature ${name} has no input`);
    const { kind, element } = must(inputType, `feature ${name} has no input type`);
    const codec = aggregate === 'count' ? inputs.get(index)?.codec : rawCodec(kind, element);
    inputs.set(index, { index, codec });
  }
  return [...inputs.values()].sort((a, b) => a.index - b.index);
}

function featureGroup(
  plan: ViewPlan,
  group: readonly number[],
  indexOf: ReadonlyMap<string, number>,
  retractable: boolean,
): FeatureGroup {
  const first = must(plan.features[must(group[0])]);
  let stride = 1;
  let partialStride = 0;
  const features = group.map((index): FeatureFold => {
    const feature = must(plan.features[index]);
    const aggregate = aggregateByName(feature.aggregate);
    assert(aggregate !== undefined, `feature ${feature.name}: there is no aggregate ${feature.aggregate}`);
    const accumulator = aggregate.accumulator(feature.inputType, { retractable });
    const cell = stride;
    stride += accumulator.width;
    const partial = accumulator.isRefolded ? Math.max(1, partialStride) : -1;
    if (partial > 0) partialStride = partial + accumulator.width;
    const input = feature.input === '' ? -1 : must(indexOf.get(feature.input), `feature ${feature.name} has no input`);
    const resultType = must(feature.resultType, `feature ${feature.name} has no result type`);
    return { feature: index, input, accumulator, cell, partial, resultType };
  });
  return { window: windowShape(first.window), ttlUs: Number(first.ttlUs), stride, partialStride, features };
}

/** A value that CEL made, in the engine's representation. */
export function rawOfResult(kind: Kind, value: Raw): Raw {
  if (typeof value === 'bigint') return normaliseInteger(value);
  if (kind === Kind.LIST && Array.isArray(value)) {
    return value.map((item: Raw) => (typeof item === 'bigint' ? normaliseInteger(item) : item));
  }
  return value;
}
