/**
 * Goal: earlier contracts are there for a backlog, bounded, and only those under which the route can be read.
 * Method: definitions one after the other.
 */
import { create } from '@bufbuild/protobuf';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { addContracts, type ContractHistory, plansByContract } from './contract-history.ts';

function definitions(route: number, version: number, userKind: Kind = Kind.STRING): DefinitionSet {
  return create(DefinitionSetSchema, {
    routes: [
      {
        route,
        source: { contract: { version, columns: [{ name: 'user', type: { kind: userKind } }] } },
        entity: { name: 'user', key: [{ name: 'user', kind: Kind.STRING }] },
        keyColumns: ['user'],
      },
    ],
  });
}

const versions = (history: ContractHistory, route: number): number[] =>
  (history.get(route) ?? []).map(({ version }) => version);

describe('ContractHistory', () => {
  it('keeps the newest 16 versions of a route, newest first, and no route that is gone', () => {
    let history: ContractHistory = new Map();
    for (let version = 1; version <= 20; version++) history = addContracts(history, definitions(1, version));
    history = addContracts(history, definitions(1, 20));
    expect(versions(history, 1)).toEqual(Array.from({ length: 16 }, (_, i) => 20 - i));
    expect([...addContracts(history, definitions(2, 1)).keys()]).toEqual([2]);
  });

  it('offers no earlier contract under which the key is of another type', () => {
    let history = addContracts(new Map(), definitions(1, 1));
    history = addContracts(history, definitions(1, 2, Kind.INT64));
    const newest = definitions(1, 3);
    history = addContracts(history, newest);
    const plans = plansByContract(must(newest.routes[0]), history);
    expect(plans.map(({ source }) => source?.contract?.version)).toEqual([3, 1]);
  });
});
