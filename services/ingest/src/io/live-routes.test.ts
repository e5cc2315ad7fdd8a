/**
 * Goal: what of an earlier contract is read is told by the columns' numbers, as rows of then are read under the names of now.
 * Method: a column that was renamed since, and a backlog of before, by hand into the stream.
 */
import { create } from '@bufbuild/protobuf';
import { type Contract, ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema, RoutePlanSchema, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { ChangeStream } from '../core/change-stream.ts';
import type { LiveRoute } from '../core/live-route.ts';
import type { Relation } from '../core/pgoutput/messages.ts';
import { prepareRoute } from '../core/route.ts';
import type { RouteState } from '../core/source-state.ts';
import { revisedRoutes } from './live-routes.ts';

const TABLE_OID = 7;
const NOW_US = 1_800_000_000_000_000;

function contractOf(version: number, until: string, grid: string): Contract {
  return create(ContractSchema, {
    version,
    source: 's',
    columns: [
      { name: 'id', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20 },
      { name: until, type: { kind: Kind.TIMESTAMP }, sourceType: 'timestamp with time zone', sourceTypeOid: 1184 },
      { name: grid, type: { kind: Kind.LIST, element: Kind.INT64 }, sourceType: 'bigint[]', sourceTypeOid: 1016 },
    ].map((column, i) => ({ ...column, nullable: true, tableOid: TABLE_OID, columnNumber: i + 1 })),
  });
}

/** A route that is live under the newer contract, whose view reads a column of it, with the earlier one behind it. */
function renamed(earlier: Contract, newer: Contract, reads: string): LiveRoute {
  const plan = create(RoutePlanSchema, {
    route: 1,
    source: {
      name: 's',
      mode: SourceMode.APPEND,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      maxSkewUs: 5_000_000n,
      contract: newer,
    },
    entity: { name: 'entity', key: [{ name: 'id', kind: Kind.INT64 }] },
    keyColumns: ['id'],
  });
  const columns = newer.columns.filter(({ name }) => name === reads);
  const definitions = create(DefinitionSetSchema, {
    generation: 2n,
    routes: [plan],
    views: [create(ViewPlanSchema, { name: 'v', route: 1, columns })],
  });
  const state: RouteState = {
    route: 1,
    generation: 1,
    phase: 'live',
    fromLsn: 0n,
    stage: '',
    tableOid: TABLE_OID,
    contractVersion: 1,
    contractLsn: 0n,
    shape: undefined,
  };
  const contracts = new Map([[1, [newer, earlier]]]);
  const live: LiveRoute = {
    route: prepareRoute(plan, 1, 1),
    earlier: [],
    tableOid: TABLE_OID,
    floor: { version: 1, lsn: 0n },
    fromLsn: 0n,
  };
  return { ...live, ...revisedRoutes({ wanted: [plan], definitions, contracts, partitions: 1 })(live, state) };
}

function relationOf({ columns }: Contract): Relation {
  return {
    id: TABLE_OID,
    schema: 'public',
    table: 't',
    replicaIdentity: 'd',
    columns: columns.map(({ name, sourceTypeOid }) => ({
      name,
      typeOid: sourceTypeOid,
      typeModifier: -1,
      identity: name === 'id',
    })),
  };
}

describe('a backlog of before a column was renamed', () => {
  const before = contractOf(1, 'until', 'grid');
  for (const [what, after] of [
    ['under a name that is new', contractOf(2, 'ends', 'grid')],
    ['under the name of another, which has its own', contractOf(2, 'grid', 'until')],
  ] as const) {
    it(`I2: has no null in the place of a value that is none where the column is read ${what}`, () => {
      const reads = after.columns[1]?.name ?? '';
      const stream = new ChangeStream([renamed(before, after, reads)]);
      stream.handle({ kind: 'begin', commitLsn: 100n, commitTimeUs: NOW_US, xid: 1 }, NOW_US);
      stream.handle({ kind: 'relation', relation: relationOf(before) }, NOW_US);
      const insert = (row: readonly string[]): void =>
        stream.handle({ kind: 'insert', relationId: TABLE_OID, row }, NOW_US);
      insert(['1', '2026-01-01 00:00:00+00', '{1}']);
      insert(['2', 'infinity', '{1}']);
      insert(['3', '2026-01-01 00:00:00+00', '{{1},{2}}']);
      const { records, quarantine } = stream.takeBatch();
      expect(quarantine.map(({ reason, values }) => [reason, values['id']])).toEqual([['bad_value', '2']]);
      expect([...records.values()].flat()).toHaveLength(2);
    });
  }
});
