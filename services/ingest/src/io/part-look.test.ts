/**
 * Goal: whether a partition's file that is another one has rows of before is asked once, however long the stream takes to come to
 * where it was seen: to tell, such a file may have to be read whole. It is judged then.
 * Method: a state that knows a partition in one file; a database that has it in another, and is asked where the stream is behind.
 */
import { create } from '@bufbuild/protobuf';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { expect, it } from 'vitest';
import { PartTells } from '../core/part-tells.ts';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import type { PartsFacts } from '../core/table-parts.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { lookAtParts } from './part-look.ts';

const PARTITION = { oid: 71, name: 'prices_1', link: '5', xid: 90, isTold: true, isBorn: true };

it('asks once for rows of before, and judges when the stream has come to where the file was seen', async () => {
  const origin = { case: 'postgres', value: { database: 'shop', schema: 'public', table: 'prices' } } as const;
  const routes = [create(RoutePlanSchema, { route: 1, source: { mode: SourceMode.MUTABLE, contract: {}, origin } })];
  const wanted = { definitions: create(DefinitionSetSchema, { routes }), contracts: new Map(), routes };
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => 0, random: () => 0 });
  database.createTable('prices', ['amount']);
  const about = { generation: 1, phase: 'live', fromLsn: 0n, stage: '', tableOid: 7, contractVersion: 1 } as const;
  const parts = { endedBelow: '80', leaves: [[71, 71, '5']] } as const;
  const route: RouteState = { ...about, route: 1, contractLsn: 0n, parts };
  let state: SourceState = { ...EMPTY_STATE, routes: [route] };
  const store = {
    get state() {
      return state;
    },
    update: async (change: (state: SourceState) => SourceState): Promise<void> => {
      state = change(state);
    },
  };
  const now: PartsFacts = { endedBelow: '95', lsn: 1_000n, leaves: [{ ...PARTITION, file: 99 }] };
  let [durableLsn, asked] = [0n, 0];
  const shared = { store, tells: new PartTells(), durableLsn: () => durableLsn, waits: new Map<string, bigint>() };
  const look = (): Promise<void> =>
    database.look(new AbortController().signal, (of) => {
      const hasRows = async (): Promise<boolean> => {
        asked += 1;
        return false;
      };
      // Each look finds the server further on.
      const found = { ...now, lsn: now.lsn + durableLsn };
      return lookAtParts(wanted, {
        ...shared,
        session: { ...of, hasRows, parts: () => Promise.resolve(new Map([[7, found]])) },
      });
    });
  for (const at of [0n, 500n, 999n]) {
    durableLsn = at;
    await look();
  }
  expect(state.routes[0]).toEqual(route);
  durableLsn = 1_000n;
  await expect(look()).rejects.toMatchObject({ code: 'SOURCE_NOT_READY' });
  expect(state.routes[0]?.torn).toContain('prices_1 was truncated or written anew');
  expect(asked).toBe(1);
});
