/**
 * Goal: a route waits, ends or goes on by what was found of its table and by how far it is, and never takes another with it.
 * Method: findings by hand, for each phase that a route may be in.
 */
import { create } from '@bufbuild/protobuf';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type RoutePlan, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { type CatalogTable, contractOf } from './contract.ts';
import { allWaiting, type Examined, endedByFindings, readiness } from './readiness.ts';
import { EMPTY_STATE, type RouteState, type SourceState } from './source-state.ts';

const TABLE: CatalogTable = {
  oid: 7,
  schema: 'public',
  table: 't',
  kind: 'r',
  persistence: 'p',
  replicaIdentity: 'd',
  primaryKey: ['id'],
  identityIndex: [],
  maySelect: true,
  owner: 'o',
  rowSecurity: false,
  columns: [
    {
      number: 1,
      name: 'id',
      typeOid: 20,
      typeText: 'bigint',
      nullable: false,
      generated: false,
      base: { oid: 20, name: 'int8', category: 'N', elementOid: 0, modifier: -1 },
      typeModifier: -1,
      defaultExpression: '',
      enumLabels: [],
      domains: [],
    },
  ],
};
const NO_RIGHT = new FreshetError('SOURCE_NOT_READY', 'user u may not read public.t', { remedy: 'GRANT', place: 't' });

function plan(route: number): RoutePlan {
  const origin = { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } } as const;
  const source = { name: 's', mode: SourceMode.MUTABLE, origin, contract: contractOf('s', TABLE) };
  return create(RoutePlanSchema, { route, source, keyColumns: ['id'], entity: { name: 'e', key: [{ name: 'id' }] } });
}

const examined = (route: number, table = TABLE, findings: readonly FreshetError[] = []): Examined => ({
  plan: plan(route),
  table,
  findings,
});

function stateOf(phase: RouteState['phase'] | undefined): SourceState {
  if (phase === undefined) return EMPTY_STATE;
  const route = { route: 2, generation: 1, phase, fromLsn: 0n, stage: '', tableOid: 7 };
  return { ...EMPTY_STATE, routes: [{ ...route, contractVersion: 1, contractLsn: 0n }] };
}

describe('a route whose table has findings', () => {
  it.each([
    [undefined, []],
    ['ended', []],
    ['appending', [2]],
    ['live', []],
  ] as const)('that is %s lets the others go on', (phase, ends) => {
    const looks = [examined(1), examined(2, TABLE, [NO_RIGHT])];
    const state = stateOf(phase);
    const ended = endedByFindings(looks, state).map(({ route }) => route);
    expect(ended).toEqual(ends);
    const after = ended.length > 0 ? stateOf('ended') : state;
    const { ready, waiting } = readiness(looks, after);
    expect(ready.map(({ route }) => route)).toEqual(phase === 'live' ? [1, 2] : [1]);
    expect([...waiting.keys()]).toEqual(phase === 'live' ? [] : [2]);
  });

  it('ends while it is live only when its rows cannot be told apart any more', () => {
    const live = stateOf('live');
    for (const table of [
      { ...TABLE, replicaIdentity: 'n' },
      { ...TABLE, primaryKey: [] },
    ]) {
      expect(endedByFindings([examined(2, table, [NO_RIGHT])], live)).toMatchObject([{ route: 2, isLoss: false }]);
    }
    expect(endedByFindings([examined(2, { ...TABLE, rowSecurity: true }, [NO_RIGHT])], live)).toEqual([]);
  });

  it('gives all of its findings, and those of others, where nothing is ready', () => {
    const more = new FreshetError('SOURCE_NOT_READY', 'row-level security', { remedy: 'BYPASSRLS' });
    const found = readiness([examined(1, TABLE, [NO_RIGHT, more]), examined(2, TABLE, [NO_RIGHT])], EMPTY_STATE);
    const all = allWaiting(found);
    expect([all, ...(all?.also ?? [])].map((error) => error?.message)).toEqual([
      NO_RIGHT.message,
      more.message,
      NO_RIGHT.message,
    ]);
    expect(allWaiting(readiness([examined(1)], EMPTY_STATE))).toBeUndefined();
  });
});
