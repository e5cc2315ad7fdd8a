/**
 * Goal: an old row tells no more than the partition that tells least, as far as the stream described partitions; a table whose
 * partitions tell what it promises is as it is described. And of a row alone, what cannot be by its relation is seen.
 * Method: messages as pgoutput sends them under publish_via_partition_root, which describes a partition right behind its table.
 */
import { create } from '@bufbuild/protobuf';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { type CatalogLeaf, type CatalogTable, contractOf } from './contract.ts';
import { besideFindings, fullIdentity, leafFindings, untoldLeaves } from './leaf-findings.ts';
import { LeafIdentities } from './leaf-identities.ts';
import type { PgOutputMessage, Relation, Tuple } from './pgoutput/messages.ts';
import { keyFinding } from './preflight.ts';
import { identityProblem, untoldRow } from './relation-identity.ts';
import { prepareRoute } from './route.ts';
import type { StreamRow } from './route-change.ts';

const NAMES = ['id', 'at', 'user'] as const;
const relation = (id: number, replicaIdentity: string, told: readonly string[]): Relation => ({
  id,
  schema: 'public',
  table: id === 7 ? 'parts' : `parts_${id}`,
  replicaIdentity,
  columns: NAMES.map((name) => ({
    name,
    typeOid: 20,
    typeModifier: -1,
    identity: replicaIdentity === 'f' || told.includes(name),
  })),
});
const KEY = ['id', 'at'];
const update = (table: Relation, values?: Tuple, whole = false): StreamRow => ({
  relation: table,
  operation: Operation.UPDATE,
  row: ['1', '2', '3'],
  old: values === undefined ? undefined : { whole, values },
});
const remove = (table: Relation, row: Tuple): StreamRow => ({
  relation: table,
  operation: Operation.DELETE,
  row,
  old: undefined,
});

/** The table and partitions, each described before a row out of it. */
function seen(table: Relation, ...leaves: readonly Relation[]): LeafIdentities {
  const identities = new LeafIdentities();
  for (const leaf of leaves) {
    identities.take({ kind: 'relation', relation: table });
    identities.take({ kind: 'relation', relation: leaf });
    identities.take({ kind: 'insert', relationId: table.id, row: [] });
  }
  return identities;
}

describe('what partitions tell of old rows', () => {
  const [full, byKey, byIndex] = [relation(7, 'f', []), relation(7, 'd', KEY), relation(7, 'i', ['user'])];
  it.each([
    ['nothing of partitions is known', full, []],
    ['each is FULL, as the table', full, [relation(1, 'f', []), relation(2, 'f', [])]],
    ['each has the key of the table', byKey, [relation(1, 'd', KEY)]],
    ['one tells more', byKey, [relation(1, 'f', []), relation(2, 'i', NAMES)]],
    ['one that told less tells all now', full, [relation(1, 'd', KEY), relation(1, 'f', [])]],
  ])('is what the table says when %s', (_, table, leaves) => {
    const identities = seen(table, ...leaves);
    const row = update(table, ['1', '2', '4'], table === full);
    expect(identities.asTold(row)).toBe(row);
    expect(identities.problemOf(table)).toBeUndefined();
  });

  it.each([
    ['f', full, [relation(1, 'f', []), relation(2, 'd', KEY)], KEY],
    ['f', full, [relation(1, 'i', ['at', 'user']), relation(2, 'd', KEY)], ['at']],
    ['i', byIndex, [relation(1, 'd', KEY)], []],
    ['d', byKey, [relation(1, 'n', [])], []],
  ])('C1: is what the least of them tells (%s)', (_, table, leaves, told) => {
    const identities = seen(table, ...leaves);
    const { relation: weak, old } = identities.asTold(update(table, ['1', '2', null], table === full));
    expect(weak.replicaIdentity).not.toBe('f');
    expect(weak.columns.filter(({ identity }) => identity).map(({ name }) => name)).toEqual(told);
    expect(old).toEqual({ whole: false, values: ['1', '2', null] });
    expect(identities.problemOf(table)).toMatch(
      /public\.parts_\d tells? less .* ALTER TABLE public\.parts_\d REPLICA IDENTITY FULL;/,
    );
  });

  it('C1: is what the least of them tells of a table that was made FULL untold, until it is described anew', () => {
    const identities = seen(byKey, relation(1, 'd', KEY), relation(2, 'f', []));
    const [keyOnly, whole] = [update(byKey), update(byKey, ['1', '2', null], true)];
    expect(identities.asTold(keyOnly)).toBe(keyOnly);
    for (const row of [whole, keyOnly]) {
      const told = identities.asTold(row);
      expect(told.relation.columns.map(({ identity }) => identity)).toEqual([true, true, false]);
      expect(told.old?.whole).toBe(row.old && false);
    }
    expect(identities.problemOf(byKey)).toMatch(/public\.parts_1 tells less .* ALTER TABLE public\.parts_1 REPLICA/);
    identities.take({ kind: 'relation', relation: byKey });
    expect(identities.asTold(keyOnly)).toBe(keyOnly);
    // Where partitions tell all, it is whole.
    expect(seen(byKey, relation(2, 'f', [])).asTold(whole)).toBe(whole);
  });

  it('takes no relation for a partition that is described for another reason, and knows one of each table', () => {
    const identities = new LeafIdentities();
    const other = relation(8, 'd', KEY);
    const insert = (relationId: number): PgOutputMessage => ({ kind: 'insert', relationId, row: [] });
    // Of a truncation, and of a row of the table that is described last.
    for (const message of [
      { kind: 'relation', relation: other },
      { kind: 'truncate', relationIds: [8], cascade: false, restartIdentity: false },
      { kind: 'relation', relation: other },
      { kind: 'relation', relation: full },
      insert(7),
      { kind: 'relation', relation: full },
      { kind: 'relation', relation: other },
      insert(8),
    ] as const)
      identities.take(message);
    expect([identities.problemOf(full), identities.problemOf(other)]).toEqual([undefined, undefined]);
  });
});

describe('a row that its relation does not fit', () => {
  const plan = create(RoutePlanSchema, {
    route: 1,
    source: {
      name: 's',
      mode: SourceMode.MUTABLE,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 'parts' } },
      contract: {
        version: 1,
        columns: NAMES.map((name) => ({ name, type: { kind: Kind.INT64 }, sourceTypeOid: 20 })),
        primaryKey: KEY,
      },
    },
    entity: { name: 'user', key: [{ name: 'user', kind: Kind.INT64 }] },
    keyColumns: ['user'],
  });
  const route = prepareRoute(plan, 1, 4);
  const joined = prepareRoute(create(RoutePlanSchema, { ...plan, entity: undefined, keyColumns: KEY }), 1, 4);
  const [full, byKey] = [relation(7, 'f', []), relation(7, 'd', [...NAMES])];

  it.each([
    ['an update without an old row under FULL', update(full), /came without its old row/],
    ['an update with a part of it under FULL', update(full, ['1', '2', null]), /came without its old row/],
    ['an old row without a column that tells rows apart', update(byKey, ['1', null, '3']), /came without at/],
    ['the like, as if it were whole', update(full, [null, null, '3'], true), /came without id/],
    ['a delete of nobody', remove(full, ['1', null, '3']), /came without at/],
  ])('C1: is told: %s', (_, row, why) => {
    for (const one of [route, joined]) expect(untoldRow(one, row, [0, 1, 2])).toMatch(why);
  });

  it.each([
    ['an update with all of it', update(full, ['1', '2', null], true)],
    ['an update whose key stays', update(byKey)],
    ['a delete', remove(byKey, ['1', '2', null])],
    ['an insert', { ...update(full), operation: Operation.INSERT }],
  ])('is not told of %s', (_, row) => {
    for (const one of [route, joined]) expect(untoldRow(one, row, [0, 1, 2])).toBeUndefined();
  });

  it('C1: is held as what it told, so that no release takes its nulls for values', () => {
    const { relation: weak } = seen(full, relation(1, 'd', KEY)).asTold(update(full, ['1', '2', null], true));
    expect(identityProblem(route, full, [0, 1, 2])).toBeUndefined();
    expect(identityProblem(route, weak, [0, 1, 2])).toBe('old rows do not tell user, by which their entity is keyed');
  });
});

describe('partitions as the catalog has them', () => {
  const leaf = (n: number, replicaIdentity: string, identity: readonly string[]): CatalogLeaf => ({
    schema: 'public',
    table: `p_${n}`,
    replicaIdentity,
    identity,
  });
  const table = (replicaIdentity: string, leaves: readonly CatalogLeaf[]): CatalogTable => ({
    oid: 7,
    schema: 'public',
    table: 'parts',
    kind: 'p',
    persistence: 'p',
    replicaIdentity,
    primaryKey: KEY,
    identityIndex: replicaIdentity === 'i' ? ['user'] : [],
    columns: [],
    maySelect: true,
    owner: '',
    rowSecurity: false,
    leaves,
  });

  it('are found when they tell less than their table, with the SQL for the first of them', () => {
    const many = Array.from({ length: 8 }, (_, n) => leaf(n, 'd', KEY));
    expect(leafFindings(table('d', many))).toEqual([]);
    expect(leafFindings(table('i', [leaf(1, 'i', ['user', 'at'])]))).toEqual([]);
    expect(leafFindings(table('i', many.slice(0, 1))).map(({ remedy }) => remedy)).toEqual([
      'ALTER TABLE public.p_0 REPLICA IDENTITY FULL;',
    ]);
    const [found, ...rest] = leafFindings(table('f', many));
    expect(rest).toEqual([]);
    expect(found?.message).toMatch(/public\.parts \(public\.p_0, .*public\.p_4 and 3 more\) tell less/);
    expect(found?.remedy.match(/ALTER TABLE/g)).toHaveLength(5);
    expect(found?.remedy).toMatch(/-- and so for 3 more partitions$/);
    expect(fullIdentity(table('d', many.slice(0, 1)))).toBe(
      'ALTER TABLE public.parts REPLICA IDENTITY FULL; ALTER TABLE public.p_0 REPLICA IDENTITY FULL;',
    );
  });

  it.each([
    ['now', 'now', 'partition'],
    ['before', 'now', 'partition'],
    ['never', 'now', 'partition'],
    ['now', 'before', 'table'],
    ['now', 'never', 'table'],
    // One that is read anew keeps its place before one that never began.
    ['before', 'never', 'table'],
    ['never', 'before', 'partition'],
    ['before', 'before', 'partition'],
    ['never', 'never', 'partition, table'],
  ] as const)('that are captured %s beside their table, which is %s: it waits the %s', (partition, whole, waits) => {
    const root = { table: table('d', []), begun: whole };
    const one = { ...root.table, table: 'p_1', kind: 'r', partitionOf: [{ schema: 'public', table: 'parts' }] };
    const both = [{ table: one, begun: partition }, root];
    const found = both.flatMap((captured) => besideFindings(captured, both)).map(({ place }) => place);
    const names = {
      partition: ['public.p_1'],
      table: ['public.parts'],
      'partition, table': ['public.p_1', 'public.parts'],
    };
    expect(found).toEqual(names[waits]);
  });

  it('are in the SQL that has all columns tell rows apart again', () => {
    const contract = contractOf('s', { ...table('f', []), primaryKey: [] });
    const plan = create(RoutePlanSchema, { source: { name: 's', mode: SourceMode.MUTABLE, contract } });
    expect(keyFinding(plan, table('d', [leaf(1, 'd', KEY)]))?.remedy).toContain(
      'ALTER TABLE public.parts REPLICA IDENTITY FULL; ALTER TABLE public.p_1 REPLICA IDENTITY FULL;',
    );
  });

  it('are found apart when they tell nothing, as their own updates fail then', () => {
    const none = [leaf(1, 'n', []), leaf(2, 'd', [])];
    expect(leafFindings(table('f', none))).toEqual([]);
    expect(untoldLeaves(table('f', none)).map(({ message }) => message)).toEqual([
      expect.stringMatching(/\(public\.p_1, public\.p_2\) do not tell which row/),
    ]);
  });
});
