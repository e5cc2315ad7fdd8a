/**
 * Goal: whoever is told of values that were computed anew is told of all of them, each once, for a day; what is found while
 * nothing can be saved is found again, and ends no stream unless rows wait for it; and of two looks only one is remembered.
 * Method: a state in which that was found of three routes over two tables; a store that refuses, as a full disk has it do; a
 * state that another look changes meanwhile.
 */
import { create } from '@bufbuild/protobuf';
import { ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { expect, it } from 'vitest';
import type { ChangeStream } from '../core/change-stream.ts';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import { type ColumnValues, type TableFill, unaccepted } from '../core/table-fill.ts';
import { lookAtFills, valuesNotice } from './fill-look.ts';

const DAY_US = 86_400_000_000;
const FOUND_US = 5 * DAY_US;

function routeOf(route: number, atUs: number, columns: readonly string[]): RouteState {
  const about = { generation: 1, phase: 'live', fromLsn: 0n, stage: '', tableOid: 7, contractVersion: 1 } as const;
  return {
    ...about,
    route,
    contractLsn: 0n,
    values: columns.map((name, i) => ({ number: i + 1, name, sinceUs: atUs })),
  };
}

it('tells of every table whose values were computed anew, once each, for a day or until it is accepted', () => {
  const routes = ['prices', 'prices', 'fees'].map((table, i) =>
    create(RoutePlanSchema, {
      route: i + 1,
      source: {
        origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table } },
        contract: { columns: (table === 'fees' ? ['share', 'least'] : ['amount']).map((name) => ({ name })) },
      },
    }),
  );
  const state: SourceState = {
    ...EMPTY_STATE,
    routes: [
      routeOf(1, FOUND_US, ['amount']),
      routeOf(2, FOUND_US, ['amount']),
      routeOf(3, FOUND_US + DAY_US / 2, ['share', 'least']),
    ],
  };
  const store = { state, update: () => Promise.reject(new Error('nothing is news')) };
  const toldAt = (nowUs: number): string | undefined => valuesNotice({ routes }, { store, nowUs })?.message;
  expect(toldAt(FOUND_US + DAY_US)).toMatch(
    /^values of public\.prices \(amount\), public\.fees \(share, least\) were computed anew/,
  );
  expect(toldAt(FOUND_US + DAY_US + 1)).toMatch(/^values of public\.fees \(share, least\) were computed anew/);
  expect(toldAt(FOUND_US + 2 * DAY_US)).toBeUndefined();
  for (const { source } of routes.slice(0, 2))
    for (const column of source?.contract?.columns ?? []) column.valuesSinceUs = BigInt(FOUND_US);
  expect(toldAt(FOUND_US + DAY_US)).toMatch(/^values of public\.fees \(share, least\) were computed anew/);
});

const source = {
  ...{ name: 'prices', mode: SourceMode.APPEND },
  origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 'prices' } },
} as const;
const routes = [create(RoutePlanSchema, { route: 1, source })];
const filled = (file: string): TableFill => ({ file, columns: [[1, 'amount', `a${file}`]] });

/** A route of a table whose filling was seen, with a store that may refuse. */
function world() {
  const told: (readonly ColumnValues[])[] = [];
  const stream = {
    routes: [
      { route: { number: 1, generation: 1, contract: create(ContractSchema) } },
    ] as unknown as ChangeStream['routes'],
    noteValues: (_route: number, values: readonly ColumnValues[]): void => void told.push(values),
  };
  const store = {
    state: { ...EMPTY_STATE, routes: [{ ...routeOf(1, 0, []), fill: filled('1') }] } as SourceState,
    isFull: false,
    update: async (change: (state: SourceState) => SourceState): Promise<void> => {
      if (store.isFull) throw new FreshetError('DISK_FULL', 'no space left');
      store.state = change(store.state);
    },
  };
  const look = (file: string, mustSave = false): Promise<boolean> => {
    const fills = new Map([[7, filled(file)]]);
    const keeps = () => Promise.resolve(true);
    return lookAtFills({ routes }, { fills, keeps, store, stream, nowUs: FOUND_US, mustSave });
  };
  return { store, stream, look, told };
}

it('leaves what it finds while nothing can be saved to the next look, unless rows wait for it', async () => {
  const { store, look, told } = world();
  store.isFull = true;
  expect(await look('2')).toBe(false);
  await expect(look('2', true)).rejects.toMatchObject({ code: 'DISK_FULL' });
  expect([store.state.routes[0]?.fill, told]).toEqual([filled('1'), []]);
  store.isFull = false;
  expect(await look('2')).toBe(true);
  const values = [{ number: 1, name: 'amount', sinceUs: FOUND_US }];
  expect(store.state.routes[0]).toMatchObject({ fill: filled('2'), values });
  expect(told).toEqual([values]);
});

it('remembers one of two looks that found something, and says so to the other', async () => {
  const { store, look } = world();
  const { update } = store;
  store.update = async (change) => {
    store.update = update;
    await look('3');
    await update(change);
  };
  expect(await look('2')).toBe(false);
  expect(store.state.routes[0]).toMatchObject({ fill: filled('3'), values: [{ number: 1 }] });
  expect(await look('3')).toBe(true);
  expect(store.state.routes[0]?.values).toHaveLength(1);
});

it('C1: is later than what a contract accepted of a life before, whatever the clock says', async () => {
  const { store, stream } = world();
  const columns = [{ name: 'amount', columnNumber: 1, valuesSinceUs: BigInt(FOUND_US + DAY_US) }];
  const accepted = [create(RoutePlanSchema, { route: 1, source: { ...source, contract: { version: 2, columns } } })];
  const keeps = () => Promise.resolve(true);
  const fills = new Map([[7, filled('2')]]);
  await lookAtFills({ routes: accepted }, { fills, keeps, store, stream, nowUs: FOUND_US, mustSave: true });
  const { contract } = must(accepted[0]?.source);
  expect(unaccepted(must(contract), store.state.routes[0]?.values ?? [])).toMatchObject([{ name: 'amount' }]);
});
