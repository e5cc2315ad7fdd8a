/** What tests of contracts share: a table, and definitions that read it in every way. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Column,
  type Contract,
  ContractSchema,
  type DomainSchema,
  ReplicaIdentity,
  SourceMode,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';

export type ColumnInit = { name: string } & Partial<Omit<Column, 'type' | 'domains' | '$typeName' | '$unknown'>> & {
    type?: { kind: Kind };
    domains?: MessageInitShape<typeof DomainSchema>[];
  };

/** Columns as the catalog describes them; each test changes one thing. */
export const COLUMNS: readonly ColumnInit[] = [
  { name: 'id', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20, sourceTypeModifier: -1 },
  { name: 'user_id', type: { kind: Kind.INT64 }, sourceType: 'integer', sourceTypeOid: 23, sourceTypeModifier: -1 },
  {
    name: 'at',
    type: { kind: Kind.TIMESTAMP },
    sourceType: 'timestamp with time zone',
    timeZone: true,
    sourceTypeModifier: -1,
  },
  { name: 'sku', type: { kind: Kind.STRING }, sourceType: 'character varying(20)', length: 20, sourceTypeModifier: 24 },
  {
    name: 'amount',
    type: { kind: Kind.DECIMAL },
    sourceType: 'numeric(10,2)',
    precision: 10,
    scale: 2,
    sourceTypeModifier: 655366,
  },
  {
    name: 'mood',
    type: { kind: Kind.STRING },
    sourceType: 'mood',
    enumLabels: ['sad', 'ok', 'happy'],
    sourceTypeModifier: -1,
  },
  { name: 'unread', type: { kind: Kind.STRING }, sourceType: 'text', sourceTypeModifier: -1 },
];

export function contract(
  change: (columns: ColumnInit[]) => ColumnInit[] = (columns) => columns,
  rest: MessageInitShape<typeof ContractSchema> = {},
): Contract {
  return create(ContractSchema, {
    source: 'orders',
    version: 1,
    columns: change(COLUMNS.map((column) => ({ ...column }))),
    primaryKey: ['id'],
    replicaIdentity: ReplicaIdentity.DEFAULT,
    ...rest,
  });
}

/** The columns with one of them changed. */
export function but(name: string, change: Partial<ColumnInit>): (columns: ColumnInit[]) => ColumnInit[] {
  return (columns) => columns.map((column) => (column.name === name ? { ...column, ...change } : column));
}

const column = (name: string): ColumnInit => COLUMNS.find((one) => one.name === name) ?? { name };

/** View spend (key user_id, at, where mood, cents of amount), view skus (key sku), service s with an on-demand feature. */
export function definitions(mode: SourceMode = SourceMode.APPEND): DefinitionSet {
  const source = { name: 'orders', mode, eventTimeColumn: 'at', contract: contract() };
  const count = { aggregate: 'count', resultType: { kind: Kind.INT64 } };
  return create(DefinitionSetSchema, {
    generation: 1n,
    routes: [
      { route: 1, source, entity: { name: 'user' }, keyColumns: ['user_id'] },
      { route: 2, source, entity: { name: 'product' }, keyColumns: ['sku'] },
    ],
    views: [
      {
        viewId: new Uint8Array([1]),
        name: 'spend',
        route: 1,
        mode,
        source: 'orders',
        columns: ['amount', 'mood'].map(column),
        derived: [
          { name: 'euros', expression: 'double(amount)', type: { kind: Kind.DOUBLE } },
          { name: 'cents', expression: 'euros * 100.0', type: { kind: Kind.DOUBLE } },
        ],
        where: 'mood != "sad"',
        features: [
          { name: 'cents_1h', aggregate: 'sum', input: 'cents', resultType: { kind: Kind.DOUBLE } },
          { name: 'orders_1h', ...count },
        ],
      },
      {
        viewId: new Uint8Array([2]),
        name: 'skus',
        route: 2,
        mode,
        source: 'orders',
        features: [{ name: 'n', ...count }],
      },
    ],
    services: [
      {
        name: 's',
        features: [{ output: 'spend:cents_1h', viewId: new Uint8Array([1]), feature: 0 }],
        onDemand: [
          {
            name: 'rich',
            expression: 'cents_1h > 1.0',
            inputs: [{ name: 'cents_1h', source: { case: 'feature', value: 0 } }],
          },
          { name: 'very', expression: 'rich', inputs: [{ name: 'rich', source: { case: 'onDemand', value: 0 } }] },
        ],
      },
    ],
  });
}
