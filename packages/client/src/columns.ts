/** Columns of an answer as values. Owns the mapping of ValueColumn's lists and statuses. */
import { type ValueColumn, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';

/** What is known about a value. */
export type Status = 'PRESENT' | 'ABSENT' | 'DEFAULTED' | 'OUT_OF_RANGE';

/** One feature of all entities asked for, in their order. */
export interface FeatureColumnValues {
  /** The values as @freshet/values/scalar.ts has them; null where there is none (ABSENT, OUT_OF_RANGE). */
  readonly values: readonly Scalar[];
  readonly statuses: readonly Status[];
}

const STATUSES: Readonly<Record<ValueStatus, Status>> = {
  [ValueStatus.UNSPECIFIED]: 'PRESENT',
  [ValueStatus.PRESENT]: 'PRESENT',
  [ValueStatus.ABSENT]: 'ABSENT',
  [ValueStatus.DEFAULTED]: 'DEFAULTED',
  [ValueStatus.OUT_OF_RANGE]: 'OUT_OF_RANGE',
};

export function readColumn(column: ValueColumn | undefined): FeatureColumnValues {
  if (column === undefined) return { values: [], statuses: [] };
  const all = listOf(column);
  const statuses =
    column.statuses.length === 0
      ? all.map((): Status => 'PRESENT')
      : column.statuses.map((status): Status => STATUSES[status] ?? 'ABSENT');
  const values = all.map((value, i) => (statuses[i] === 'PRESENT' || statuses[i] === 'DEFAULTED' ? value : null));
  return { values, statuses };
}

/** The list that the column uses: only one has entries. */
function listOf(column: ValueColumn): readonly Scalar[] {
  const { int64s, doubles, decimals, strings, bools, bytes, timestamps, lists, vectors } = column;
  const plain: readonly (readonly Scalar[])[] = [int64s, doubles, decimals, strings, bools, bytes, timestamps];
  const used = plain.find((list) => list.length > 0);
  if (used !== undefined) return used;
  if (lists.length > 0) return lists.map(({ elements }) => elements.map(valueFromProto));
  return vectors.map(({ components }) => Float32Array.from(components));
}
