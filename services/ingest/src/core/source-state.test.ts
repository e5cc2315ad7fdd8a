/**
 * Goal: from whatever point ingest is started, the next step leads to a stream with every route's snapshot in the log
 * exactly once per generation; what only a person can decide is refused.
 * Method: a model world that is stepped to the end, stopped and started at random points; and one example per refusal.
 */
import { create } from '@bufbuild/protobuf';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema, type RoutePlan, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shapeOf } from './row-shape.ts';
import { settleRoutes } from './settle-routes.ts';
import {
  checkTables,
  EMPTY_STATE,
  endUnwanted,
  heldAt,
  nextBuild,
  nextStep,
  publishedKey,
  type RouteState,
  type SlotFacts,
  type SourceState,
  type StageFacts,
  startedOver,
  type WorldFacts,
  withRoutes,
} from './source-state.ts';

function plan(route: number, columns: readonly string[] = ['id']): RoutePlan {
  return create(RoutePlanSchema, {
    route,
    source: {
      name: `s${route}`,
      mode: SourceMode.APPEND,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: `t${route}` } },
      contract: { columns: columns.map((name) => ({ name })) },
    },
  });
}

const SLOT: SlotFacts = {
  plugin: 'pgoutput',
  database: 'app',
  active: false,
  activePid: 0,
  walStatus: 'reserved',
  invalidationReason: '',
  confirmedLsn: 100n,
  safeWalBytes: undefined,
};

function world(more: Partial<WorldFacts> = {}): WorldFacts {
  return {
    systemId: 'sys',
    timeline: 1,
    database: 'app',
    slotName: 'freshet_shop',
    slot: SLOT,
    stages: new Map(),
    ...more,
  };
}

const TABLE = { tableOid: 7, contractVersion: 1, contractLsn: 5n };
const MADE: SourceState = { ...EMPTY_STATE, slot: 'made', systemId: 'sys', timeline: 1, acknowledgedLsn: 100n };

describe('nextStep', () => {
  it('comes to stream every wanted route from any interruption, each generation from one stage', () => {
    const wish = fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(fc.record({ wanted: wish, steps: fc.nat({ max: 4 }) }), { minLength: 1, maxLength: 6 }),
        (runs) => {
          let state: SourceState = EMPTY_STATE;
          let slot: SlotFacts | undefined;
          const stages = new Map<string, StageFacts>();
          const appended = new Map<string, string>();
          let names = 0;
          for (const [i, { wanted, steps }] of runs.entries()) {
            const plans = wanted.map((route) => plan(route));
            state = endUnwanted(state, plans);
            const last = i === runs.length - 1;
            for (let n = 0; last || n < steps; n++) {
              const next = nextStep(state, world({ slot, stages }), plans);
              // What is live is streamed whatever else is to be built, which goes on beside it.
              const live = new Set(state.routes.filter(({ phase }) => phase === 'live').map(({ route }) => route));
              if (next.kind === 'stream') expect(new Set(next.routes.map(({ route }) => route))).toEqual(live);
              else if (next.kind !== 'create_slot' && next.kind !== 'idle') expect(live.size).toBe(0);
              const step = next.kind === 'stream' ? (nextBuild(state, stages, plans) ?? next) : next;
              if (step.kind === 'idle') {
                expect(plans).toEqual([]);
                break;
              }
              if (step.kind === 'stream') {
                expect(new Set(step.routes.map(({ route }) => route))).toEqual(new Set(wanted));
                for (const route of step.routes) expect(route.phase).toBe('live');
                break;
              }
              expect(n).toBeLessThan(20);
              if (step.kind === 'create_slot') {
                state = { ...state, slot: 'creating', systemId: 'sys' };
                // Stopped between the two:
                if (!last && n === steps - 1) slot = SLOT;
                else {
                  slot = SLOT;
                  state = { ...state, slot: 'made', acknowledgedLsn: 100n };
                }
              } else if (step.kind === 'stage') {
                const name = `stage${++names}`;
                stages.set(name, {
                  columns: new Map(step.routes.map(({ plan: { route } }) => [`public.t${route}`, ['id']])),
                });
                state = withRoutes(
                  state,
                  step.routes.map(
                    ({ plan: { route }, generation }): RouteState => ({
                      route,
                      generation,
                      phase: 'appending',
                      fromLsn: 5n,
                      stage: name,
                      ...TABLE,
                    }),
                  ),
                );
              } else {
                for (const { route, generation } of step.routes) {
                  const key = `${route}/${generation}`;
                  expect(appended.get(key) ?? step.stage).toBe(step.stage);
                  appended.set(key, step.stage);
                }
                // Stopped while appending: the state stays, and the same stage comes again.
                if (last || n !== steps - 1)
                  state = withRoutes(
                    state,
                    step.routes.map((route) => ({ ...route, phase: 'live', stage: '' })),
                  );
              }
            }
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it('takes a new generation when the staged rows do not have what the contract now wants', () => {
    const state = withRoutes(MADE, [
      { route: 1, generation: 3, phase: 'appending', fromLsn: 5n, stage: 'a', ...TABLE },
    ]);
    const stages = new Map([['a', { columns: new Map([['public.t1', ['id']]]) }]]);
    expect(nextStep(state, world({ stages }), [plan(1)])).toMatchObject({ kind: 'append', stage: 'a' });
    expect(nextStep(state, world({ stages }), [plan(1, ['id', 'new'])])).toMatchObject({
      kind: 'stage',
      routes: [{ generation: 4 }],
    });
    expect(nextStep(state, world(), [plan(1)])).toMatchObject({ kind: 'stage', routes: [{ generation: 4 }] });
  });

  it('I1: holds back what routes need that are not live yet', () => {
    const route: RouteState = { route: 1, generation: 1, phase: 'appending', fromLsn: 50n, stage: 'a', ...TABLE };
    expect(heldAt(withRoutes(MADE, [route, { ...route, route: 2, fromLsn: 40n }]))).toBe(40n);
    expect(
      heldAt(
        withRoutes(MADE, [
          { ...route, phase: 'live' },
          { ...route, route: 2, phase: 'ended' },
        ]),
      ),
    ).toBe(undefined);
  });

  it('reads a table anew that took the name of a live one, or was out of the publication, and leaves others alone', () => {
    const live: RouteState = { route: 1, generation: 3, phase: 'live', fromLsn: 5n, stage: '', ...TABLE };
    const state = withRoutes(MADE, [live, { ...live, route: 2 }]);
    const plans = [plan(1), plan(2)];
    const published = (oid: number): Map<string, number> =>
      new Map([
        [publishedKey(SourceMode.APPEND, 'public', 't1'), oid],
        [publishedKey(SourceMode.MUTABLE, 'public', 't1'), TABLE.tableOid],
        [publishedKey(SourceMode.APPEND, 'public', 't2'), TABLE.tableOid],
      ]);
    const endMoved = (before: SourceState, now: Map<string, number>, wanted: RoutePlan[]): SourceState => {
      const definitions = create(DefinitionSetSchema, { routes: wanted });
      return settleRoutes({ state: before, wanted, definitions, published: now, asked: () => undefined, nowUs: 1 })
        .state;
    };
    expect(endMoved(state, published(TABLE.tableOid), plans)).toBe(state);
    expect(() => checkTables(state, published(TABLE.tableOid), plans)).not.toThrow();
    const gone = published(0);
    gone.delete(publishedKey(SourceMode.APPEND, 'public', 't1'));
    for (const now of [published(8), gone]) {
      expect(() => checkTables(state, now, plans)).toThrow(
        expect.objectContaining({ code: 'SOURCE_NOT_READY', place: 'public.t1' }),
      );
      const ended = endMoved(state, now, plans);
      expect(nextStep(ended, world(), plans)).toMatchObject({ kind: 'stream', routes: [{ route: 2 }] });
      expect(nextBuild(ended, new Map(), plans)).toMatchObject({
        kind: 'stage',
        routes: [{ plan: { route: 1 }, generation: 4 }],
      });
      expect(endMoved(ended, now, plans)).toBe(ended);
    }
  });

  it.each([
    // Rows that are deleted by now are lost to it.
    [SourceMode.APPEND, true],
    [SourceMode.MUTABLE, false],
  ])(
    'reads a table anew of which rows went untold, once, and later each time that it is so again: %s',
    (mode, isLoss) => {
      const wanted = [plan(1)];
      const first = must(wanted[0]);
      must(first.source).mode = mode;
      const about = { generation: 3, phase: 'live', fromLsn: 5n, stage: '', shape: shapeOf(first) } as const;
      const route: RouteState = { route: 1, ...about, ...TABLE };
      const settle = (state: SourceState) =>
        settleRoutes({
          state,
          wanted,
          definitions: create(DefinitionSetSchema, { routes: wanted }),
          published: new Map([[publishedKey(mode, 'public', 't1'), TABLE.tableOid]]),
          asked: () => undefined,
          nowUs: 1,
        });
      const { state, ended } = settle(withRoutes(MADE, [{ ...route, torn: 'rows went' }]));
      expect(ended).toMatchObject([{ route: 1, why: 'of table public.t1 rows went', isLoss, mayRecur: true }]);
      expect(nextBuild(state, new Map(), wanted)).toMatchObject({ kind: 'stage', routes: [{ generation: 4 }] });
      expect(settle(state).ended).toEqual([]);
      expect(settle(withRoutes(MADE, [route])).ended).toEqual([]);
    },
  );

  it.each<[string, SourceState, Partial<WorldFacts>, string]>([
    ['the slot is gone', MADE, { slot: undefined }, 'SLOT_LOST'],
    ['the slot is lost', MADE, { slot: { ...SLOT, walStatus: 'lost' } }, 'SLOT_LOST'],
    ['the slot is invalidated', MADE, { slot: { ...SLOT, invalidationReason: 'idle_timeout' } }, 'SLOT_LOST'],
    ['the slot moved without us', MADE, { slot: { ...SLOT, confirmedLsn: 101n } }, 'SLOT_LOST'],
    ['the slot is of another plugin', MADE, { slot: { ...SLOT, plugin: 'test_decoding' } }, 'SLOT_LOST'],
    ['the slot is of another database', MADE, { slot: { ...SLOT, database: 'other' } }, 'SLOT_LOST'],
    ['the cluster is another', MADE, { systemId: 'other' }, 'SLOT_LOST'],
    ['the database failed over', MADE, { timeline: 2 }, 'SLOT_LOST'],
    ['the slot is somebody else’s', EMPTY_STATE, {}, 'SOURCE_NOT_READY'],
  ])('refuses when %s', (_, state, more, code) => {
    expect(() => nextStep(state, world(more), [plan(1)])).toThrow(
      expect.objectContaining({ code, remedy: expect.stringMatching(/./) as string }),
    );
  });

  it('starts over with new generations', () => {
    const state = startedOver(
      withRoutes(MADE, [{ route: 1, generation: 3, phase: 'live', fromLsn: 5n, stage: '', ...TABLE }]),
      { resync: 'today' },
    );
    expect(state.resync).toBe('today');
    expect(nextStep(state, world({ slot: undefined, systemId: 'other', timeline: 9 }), [plan(1)])).toEqual({
      kind: 'create_slot',
    });
    expect(nextStep({ ...state, slot: 'made', acknowledgedLsn: 100n }, world(), [plan(1)])).toMatchObject({
      kind: 'stage',
      routes: [{ generation: 4 }],
    });
  });
});
