/**
 * A view's joins made ready to run: which columns of the row find a table's row, and where its columns go.
 *
 * Owns the indexes. In a row of a view the source's columns come first, then the joined ones in the order of the joins,
 * then the derived ones.
 */
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Kind, ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';

interface JoinedColumn {
  /** The index in the row. */
  readonly index: number;
  /** The name in the view. */
  readonly as: string;
  /** The name in the table. */
  readonly name: string;
  readonly type: ValueType;
}

/** A join that can be looked up. */
export interface RunnableJoin {
  readonly route: number;
  /** False: the row's entity key is the table's. */
  readonly broadcast: boolean;
  /** The indexes in the row of the columns of the table's key; of a broadcast table only. */
  readonly on: readonly number[];
  readonly kinds: readonly Kind[];
  readonly columns: readonly JoinedColumn[];
}

/** The joins of a plan, in its order. */
export function runnableJoins(plan: ViewPlan): RunnableJoin[] {
  let index = plan.columns.length;
  return plan.joins.map(({ route, broadcast, on, columns }): RunnableJoin => {
    const keys = broadcast ? on : [];
    return {
      route,
      broadcast,
      on: keys.map(({ column }) => {
        const at = plan.columns.findIndex(({ name }) => name === column);
        return must(at < 0 ? undefined : at, `column ${column} finds rows and is not read`);
      }),
      kinds: keys.map(({ key }) => must(key, 'a join without its key').kind),
      columns: columns.map(({ name, column }) => {
        const { name: of, type } = must(column, `joined column ${name} is none`);
        return { index: index++, as: name, name: of, type: must(type, `joined column ${name} has no type`) };
      }),
    };
  });
}
