/** For tests of joins: a view of events that are joined with a table of prices, their records, and what a fold says of a user. */
import { create } from '@bufbuild/protobuf';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type JoinPlan, JoinPlanSchema, type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { expect } from 'vitest';
import { decodeRow } from '../rows/row-codec.ts';
import { rowLayout, valuesAt } from '../rows/row-reader.ts';
import type { ShardFold } from '../shard-fold.ts';
import { encodeRecord, feature, LIFETIME, START_US, type, userKey, view, viewHex } from './plans.testing.ts';
import { begin, Script, snapshotEnd } from './script.testing.ts';

export type Columns = readonly (readonly [name: string, kind: Kind])[];

export const TABLE: Columns = [
  ['code', Kind.STRING],
  ['price', Kind.INT64],
];

/** A view of route 1 that sums the price of what `s` names in the table of route 2. */
export function priced(joins: JoinPlan[] = [catalog()], mode: SourceMode = SourceMode.APPEND): ViewPlan {
  const features = [
    feature('n', 'count', '', LIFETIME),
    feature('sum', 'sum', 'price', LIFETIME, { inputType: type(Kind.INT64) }),
  ];
  return create(ViewPlanSchema, { ...view([]), features, joins, mode, engineVersion: 2 });
}

export function catalog(): JoinPlan {
  return create(JoinPlanSchema, {
    table: 'catalog',
    route: 2,
    broadcast: true,
    on: [{ column: 's', key: { name: 'code', kind: Kind.STRING } }],
    columns: [{ name: 'price', column: { name: 'price', type: type(Kind.INT64) } }],
  });
}

export function define(generation: number, plan: ViewPlan, table: Columns = TABLE, version = 1): Uint8Array {
  const contract = (columns: Columns, of: number) => ({
    version: of,
    columns: columns.map(([name, kind]) => ({ name, type: type(kind), nullable: true })),
    primaryKey: [must(columns[0])[0]],
  });
  const events: Columns = plan.columns.map((column) => [column.name, must(column.type).kind]);
  return encodeRecord({
    case: 'definitions',
    value: {
      generation: BigInt(generation),
      views: [plan],
      routes: [
        { route: 1, source: { name: 'events', mode: plan.mode, contract: contract(events, 1) } },
        { route: 2, source: { name: 'catalog', mode: SourceMode.MUTABLE, contract: contract(table, version) } },
      ],
    },
  });
}

let sequence = 0n;

export function tableRow(
  code: string,
  price: bigint | undefined,
  columns = TABLE,
  contractVersion = 1,
  generation = 1,
): Uint8Array {
  const values: Readonly<Record<string, Scalar>> = { code, price: price ?? null };
  const change = {
    route: 2,
    generation,
    lane: 2,
    sequence: { major: ++sequence },
    operation: price === undefined ? Operation.DELETE : Operation.UPDATE,
    entityKey: encodeKey([Kind.STRING], [code]),
    contractVersion,
    row: price === undefined ? [] : columns.map(([name, kind]) => valueToProto(type(kind), values[name] ?? null)),
  };
  return encodeRecord({ case: 'table', value: { change } });
}

export function valuesOf(fold: ShardFold, plan: ViewPlan, user = 1): Scalar[] {
  const row = fold.row(viewHex(1), userKey(user));
  if (row === undefined) return [];
  const layout = rowLayout(plan);
  return valuesAt(decodeRow(row.bytes, layout.types), START_US, layout).map(({ value }) => value);
}

/** The version of a user's row, which all ways to it say alike. */
export function versionOf(fold: ShardFold, user = 1): number | undefined {
  const row = fold.row(viewHex(1), userKey(user));
  expect(row?.version).toBe(fold.version(viewHex(1), userKey(user)));
  if (row !== undefined) expect(decodeRow(row.bytes).version).toBe(row.version);
  return row?.version;
}

export function buildAll(fold: ShardFold, log: Script): void {
  for (let [build] = fold.builds(); build !== undefined; [build] = fold.builds()) {
    fold.foldBuild(build.viewId, log.entries.slice(build.position));
  }
}

/** Definitions, an empty table, and events from then on. */
export function started(plan = priced()): Script {
  return new Script()
    .add(define(1, plan))
    .add(begin(2, 1))
    .add(snapshotEnd(2, 1))
    .add(begin(1, 1))
    .add(snapshotEnd(1, 1));
}
