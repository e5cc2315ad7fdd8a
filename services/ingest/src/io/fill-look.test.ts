/**
 * Goal: whoever is told of values that were computed anew is told of all of them, each once, for a day; and what is found while
 * nothing can be saved is found again, and ends no stream.
 * Method: a state in which that was found of three routes over two tables; a store that refuses, as a full disk has it do.
 */
import { create } from '@bufbuild/protobuf';
import { DefinitionSetSchema, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { expect, it } from 'vitest';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { lookAtFills } from './fill-look.ts';

const DAY_US = 86_400_000_000;
const FOUND_US = 5 * DAY_US;

function routeOf(route: number, atUs: number, columns: readonly string[]): RouteState {
  const about = { generation: 1, phase: 'live', fromLsn: 0n, stage: '', tableOid: 7, contractVersion: 1 } as const;
  return { ...about, route, contractLsn: 0n, rewritten: { atUs, columns } };
}

it('tells of every table whose values were computed anew, once each, for a day', async () => {
  const routes = ['prices', 'prices', 'fees'].map((table, i) =>
    create(RoutePlanSchema, {
      route: i + 1,
      source: { origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table } } },
    }),
  );
  const definitions = create(DefinitionSetSchema, { routes });
  const state: SourceState = {
    ...EMPTY_STATE,
    routes: [
      routeOf(1, FOUND_US, ['amount']),
      routeOf(2, FOUND_US, ['amount']),
      routeOf(3, FOUND_US + DAY_US / 2, ['share', 'least']),
    ],
  };
  const store = { state, update: () => Promise.reject(new Error('nothing is news')) };
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => FOUND_US, random: () => 0 });
  const toldAt = (nowUs: number): Promise<string | undefined> =>
    database.look(new AbortController().signal, async (session) => {
      const wanted = { definitions, contracts: new Map(), routes };
      return (await lookAtFills(wanted, { session, store, nowUs }))?.message;
    });
  expect(await toldAt(FOUND_US + DAY_US)).toMatch(
    /^values of public\.prices \(amount\), public\.fees \(share, least\) were computed anew/,
  );
  expect(await toldAt(FOUND_US + DAY_US + 1)).toMatch(/^values of public\.fees \(share, least\) were computed anew/);
  expect(await toldAt(FOUND_US + 2 * DAY_US)).toBeUndefined();
});

it('leaves what it finds while nothing can be saved to the next look', async () => {
  const source = {
    origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 'prices' } },
  } as const;
  const routes = [create(RoutePlanSchema, { route: 1, source })];
  let state: SourceState = { ...EMPTY_STATE, routes: [routeOf(1, FOUND_US, ['amount'])] };
  let isFull = true;
  const store = {
    get state() {
      return state;
    },
    update: async (change: (state: SourceState) => SourceState): Promise<void> => {
      if (isFull) throw new FreshetError('DISK_FULL', 'no space left');
      state = change(state);
    },
  };
  const fill = { file: '1', columns: [[1, 'amount', '5']] } as const;
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => FOUND_US, random: () => 0 });
  const look = (): Promise<FreshetError | undefined> =>
    database.look(new AbortController().signal, (of) => {
      const session = { ...of, fills: () => Promise.resolve(new Map([[7, fill]])) };
      const wanted = { definitions: create(DefinitionSetSchema, { routes }), contracts: new Map(), routes };
      return lookAtFills(wanted, { session, store, nowUs: FOUND_US });
    });
  expect((await look())?.message).toContain('public.prices (amount)');
  expect(state.routes[0]?.fill).toBeUndefined();
  isFull = false;
  await look();
  expect(state.routes[0]?.fill).toEqual(fill);
});
