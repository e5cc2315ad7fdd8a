/**
 * Goal: every value that the engine's rows give, at every time, is what the definition says (F2). Method: random
 * histories folded in random batches; after each batch, the rows of all keys are read by an independent reader of the row
 * contract at every time at which something may change, at every step of every schedule and just before it, and at random
 * times, and are compared with the brute-force oracle. How to run more, or one failure again: fuzz-options.ts.
 */

import type { ServicePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { HOT_ROWS, hotRecipes } from '../generate/hot-recipe.ts';
import { type Recipe, recipes } from '../generate/recipe.ts';
import { buildScenario, type Scenario, type ScenarioKey } from '../generate/scenario.ts';
import { hex, OracleHistory } from '../oracle/history.ts';
import { compareWithOracle, show, viewsOf } from './compare.ts';
import { EngineUnderTest } from './engine-under-test.ts';
import { assertFuzz, FUZZ_MS_MAX } from './fuzz-options.ts';

const RUNS = 300;
/** Long histories have full windows; they take ten times as long. */
const LONG_RUNS = 15;
const HOT_RUNS = 25;

interface Run {
  readonly recipe: Recipe;
  /** The sizes of the batches, cycled. */
  readonly batches: readonly number[];
  /** Random times of reading, in microseconds after (or before) the row's log time. */
  readonly readAfterUs: readonly number[];
  readonly cacheBytes: number;
}

const runsOf = (maxRecords: number, mutable = false): fc.Arbitrary<Run> =>
  fc.record({
    recipe: recipes({ maxRecords, mutable }),
    batches: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
    readAfterUs: fc.array(fc.integer({ min: -100_000_000, max: 2_000_000_000 }), { minLength: 1, maxLength: 3 }),
    cacheBytes: fc.constantFrom(0, 2_000, 1_000_000),
  });

/** The rows come in at once; then some changes at a time. */
const hotRuns: fc.Arbitrary<Run> = fc.record({ recipe: hotRecipes, run: runsOf(0, true) }).map(({ recipe, run }) => ({
  ...run,
  recipe,
  batches: [HOT_ROWS, ...Array.from({ length: 60 }, () => run.batches).flat()],
}));

async function check({ recipe, batches, readAfterUs, cacheBytes }: Run): Promise<void> {
  const scenario = buildScenario(recipe);
  const history = new OracleHistory(scenario.twins);
  const engine = new EngineUnderTest(scenario, { cacheBytes });
  const moreTimes = (service: ServicePlan, key: ScenarioKey): number[] =>
    timesOfRow(engine, history, service, key, readAfterUs);
  for (let batch = 0; engine.fold.position < scenario.records.length; batch++) {
    engine.foldNext(must(batches[batch % batches.length]));
    engine.feedBuilds();
    while (history.position < engine.fold.position) {
      const { logTimeUs, record } = must(scenario.records[history.position]);
      history.append(logTimeUs, record);
    }
    checkInForce(engine, history);
    const last = engine.fold.position === scenario.records.length;
    await compareWithOracle({
      scenario,
      history,
      read: ({ service, key, tUs }) => engine.read(service, key, tUs),
      moreTimes,
      maxTimes: last ? 150 : 10,
      services: ({ name }) => name.startsWith('only_'),
    });
    checkVersions(engine, history, scenario.keys);
    await checkStanding(engine, scenario);
  }
  checkExpired(engine, history, recipe);
}

/** Both sides of every step of the row's schedule, and times around its log time. */
function timesOfRow(
  engine: EngineUnderTest,
  history: OracleHistory,
  service: ServicePlan,
  key: ScenarioKey,
  readAfterUs: readonly number[],
): number[] {
  return viewsOf(history, service).flatMap((view) => {
    const row = engine.rowView(view, key);
    if (row === undefined) return [];
    return [
      ...row.steps.flatMap((step) => [Number(step) - 1, Number(step)]),
      ...readAfterUs.map((us) => Number(row.logTimeUs) + us),
    ];
  });
}

/** Late events that no window reaches are counted, each once per view. */
function checkExpired(engine: EngineUnderTest, history: OracleHistory, recipe: Recipe): void {
  // How views that come and go and routes that begin anew are counted is not specified.
  const plain = recipe.definitions.length === 1 && recipe.records.every(({ kind }) => kind !== 'restart');
  if (!plain) return;
  const expected = (history.definitions?.views ?? []).reduce((sum, view) => sum + history.expired(view), 0);
  const actual = engine.fold.stats().expiredEvents;
  if (expected !== actual) throw new Error(`${actual} expired events counted instead of ${expected}`);
}

/** R3: a view whose route is being read anew answers as it did when that began, from whole rows or not at all. */
async function checkStanding(engine: EngineUnderTest, scenario: Scenario): Promise<void> {
  const histories = new Map<number, OracleHistory>();
  for (const viewId of engine.fold.completeViews()) {
    const position = engine.fold.standing(viewId)?.position;
    if (position === undefined) continue;
    const history = histories.get(position) ?? new OracleHistory(scenario.twins);
    histories.set(position, history);
    for (const { logTimeUs, record } of scenario.records.slice(history.position, position))
      history.append(logTimeUs, record);
    const isOfView = (service: ServicePlan): boolean => service.features.every((f) => hex(f.viewId) === viewId);
    const { reads } = await compareWithOracle({
      scenario,
      history,
      read: ({ service, key, tUs }) => engine.read(service, key, tUs),
      maxTimes: 5,
      services: (service) => service.name.startsWith('only_') && isOfView(service),
    });
    if (reads === 0) throw new Error(`view ${viewId} stands still, but was not whole at ${position}`);
  }
}

/** With every build fed, exactly the views in force are complete, but for those whose route is being read anew. */
function checkInForce(engine: EngineUnderTest, history: OracleHistory): void {
  const whole = (history.definitions?.views ?? []).filter((view) => history.isWhole(view));
  const expected = whole.map(({ viewId }) => hex(viewId)).sort();
  const actual = engine.fold.completeViews().filter((viewId) => engine.fold.standing(viewId) === undefined);
  if (show(actual) !== show(expected)) throw new Error(`complete views ${show(actual)} instead of ${show(expected)}`);
}

/** F2: a row's version and log time are those of the last record that changed the key's state, which folded an event. */
function checkVersions(
  engine: EngineUnderTest,
  history: OracleHistory,
  keys: ReadonlyMap<string, readonly ScenarioKey[]>,
): void {
  for (const view of (history.definitions?.views ?? []).filter((candidate) => history.isWhole(candidate))) {
    for (const key of must(keys.get(must(view.entity).name))) {
      const last = history.lastChange(view, key.bytes);
      const row = engine.rowView(view, key);
      const expected = last === undefined ? undefined : `${last.offset} at ${last.logTimeUs}`;
      const actual = row === undefined ? undefined : `${row.version} at ${row.logTimeUs}`;
      if (expected !== actual) {
        throw new Error(`${view.name} key ${hex(key.bytes)}: version ${actual} instead of ${expected}`);
      }
    }
  }
}

describe('the engine and the oracle', () => {
  it('F2: agree on every value at every time of every prefix', { timeout: FUZZ_MS_MAX }, async () => {
    await assertFuzz(RUNS, runsOf(30), check);
  });

  it('F2: agree on mutable sources, over inserts, updates, deletes, moves and truncations', {
    timeout: FUZZ_MS_MAX,
  }, async () => {
    await assertFuzz(RUNS, runsOf(30, true), check);
  });

  it('F2: agree on long histories of mutable sources too', { timeout: FUZZ_MS_MAX }, async () => {
    await assertFuzz(LONG_RUNS, runsOf(250, true), check);
  });

  it('F2: agree on a key with many live rows, of which any are taken out', { timeout: FUZZ_MS_MAX }, async () => {
    await assertFuzz(HOT_RUNS, hotRuns, check);
  });

  it('F2: agree on long histories too', { timeout: FUZZ_MS_MAX }, async () => {
    await assertFuzz(LONG_RUNS, runsOf(250), check);
  });
});
