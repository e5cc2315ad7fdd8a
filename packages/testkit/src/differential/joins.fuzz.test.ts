/**
 * Goal: views that join tables have the values of docs/values.md, whenever they were made and built, and the fold of their
 * tables is as pure as the rest (F1). Method: random histories of events, tables, generations, erased users and definitions; each is folded
 * straight through, and in random batches with commits, evictions, crashes, sweeps and half-fed builds between them; both
 * must agree with an oracle that goes through the records by brute force, and with each other to the byte and the digest; and
 * with a fold of the log from which the erased users' records are gone. Of one that goes straight through no version is ever two
 * rows (R1).
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { ErasedSchema, LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { keyString } from '@freshet/values/key.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildJoinScenario,
  type JoinRecipe,
  type JoinScenario,
  joinRecipes,
  readAnew,
} from '../generate/join-scenario.ts';
import { hex } from '../oracle/history.ts';
import { joinedEvents } from '../oracle/join-history.ts';
import { oracleValue } from '../oracle/oracle.ts';
import { show } from './compare.ts';
import { EngineUnderTest } from './engine-under-test.ts';
import { assertFuzz, FUZZ_MS_MAX } from './fuzz-options.ts';
import { viewRow } from './row-view.ts';

const RUNS = 300;
const PROBES_US = [0, 7_000_000, 25_000_000, 65_000_000, 300_000_000];

type Action =
  | { readonly fold: number }
  | { readonly build: number }
  /** Sweeps what is stored; every other of it when odd. */
  | { readonly sweep: number }
  | 'commit'
  | 'begin commit'
  | 'end commit'
  | 'crash'
  | 'forget'
  | 'read';

interface Run {
  readonly recipe: JoinRecipe;
  readonly actions: readonly Action[];
  readonly cacheBytes: number;
  /** The first record of a log that begins late, if there are so many. */
  readonly origin: number;
}

const actions: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ fold: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ build: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 3, arbitrary: fc.constantFrom('commit' as const) },
  { weight: 1, arbitrary: fc.record({ sweep: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.constantFrom('begin commit' as const, 'end commit' as const) },
  { weight: 1, arbitrary: fc.constantFrom('crash' as const, 'forget' as const, 'read' as const) },
);

const runs: fc.Arbitrary<Run> = fc.record({
  recipe: joinRecipes,
  actions: fc.array(actions, { maxLength: 60, size: 'max' }),
  cacheBytes: fc.constantFrom(0, 1_000, 1_000_000),
  origin: fc.integer({ min: 1, max: 30 }),
});

/** What was compared, so that a test which compares nothing is seen. */
const seen = { whole: 0, values: 0, joined: 0, erased: 0, late: 0 };

async function check({ recipe, actions: list, cacheBytes, origin }: Run): Promise<void> {
  const scenario = buildJoinScenario(recipe);
  const straight = new EngineUnderTest(scenario, { cacheBytes: 100_000_000 });
  const shown = foldStraight(straight);
  // Whoever lost its state, on a log whose first records were trimmed, knows less, and shows nothing else.
  const late = foldStraight(new EngineUnderTest(scenario, { cacheBytes, origin }), shown);
  for (const of of late.keys()) if (shown.has(of)) seen.late++;
  compareReadAnew(recipe, { cacheBytes, origin: Math.min(origin, scenario.records.length) });
  const cut = new EngineUnderTest(scenario, { cacheBytes });
  for (const action of list) act(cut, action, scenario);
  while (cut.fold.position < scenario.records.length) cut.foldNext(7);
  for (let round = 0; cut.fold.builds().length > 0; round++) {
    if (round > 2_000) throw new Error('builds do not end');
    cut.feedBuilds(5);
  }
  await Promise.resolve();
  compareToOracle(scenario, straight);
  compareToOracle(scenario, cut);
  compareFolds(straight, cut, 'batches, commits and builds');
  cut.commit();
  compareFolds(straight, cut, 'a commit');
  cut.crash();
  compareFolds(straight, cut, 'a restart after the commit');

  const without = new EngineUnderTest({ records: withoutErased(scenario) }, { cacheBytes });
  without.foldNext(scenario.records.length);
  for (let round = 0; without.fold.builds().length > 0; round++) {
    if (round > 2_000) throw new Error('builds do not end');
    without.feedBuilds(5);
  }
  compareFolds(straight, without, 'a log from which the records of erased users are gone');
}

/**
 * Folds all records, one by one, each with all builds. R1: a version is one row, also when the view went and came again in
 * between, and also what another one has shown of it. The rows shown, by view, key and version.
 */
function foldStraight(engine: EngineUnderTest, other?: ReadonlyMap<string, string>): Map<string, string> {
  const shown = new Map<string, string>();
  while (engine.fold.position < engine.entries.length) {
    engine.foldNext(1);
    engine.feedBuilds();
    for (const { view, key, version, bytes } of engine.rows()) {
      const of = `${view} ${key} ${version}`;
      const before = shown.get(of) ?? other?.get(of);
      if (before !== undefined && before !== bytes) throw new Error(`R1: ${of} was ${before}, and is ${bytes}`);
      shown.set(of, bytes);
    }
  }
  return shown;
}

/** Who lost its state has all that others have once everything was read anew for it, and waits for nothing more. */
function compareReadAnew(recipe: JoinRecipe, options: { readonly cacheBytes: number; readonly origin: number }): void {
  const scenario = buildJoinScenario(readAnew(recipe));
  const whole = new EngineUnderTest(scenario, { cacheBytes: options.cacheBytes });
  const late = new EngineUnderTest(scenario, options);
  for (const engine of [whole, late]) foldStraight(engine);
  const waiting = late.fold.waitingForRoutes();
  if (waiting.length > 0) throw new Error(`routes ${waiting.join()} are waited for, and were read anew`);
  compareFolds(whole, late, 'a log that begins late, and in which all was read anew,');
}

/** The log as it is once the records of users that were erased from all their routes were taken out of it. */
function withoutErased({ records, messages }: JoinScenario): JoinScenario['records'] {
  return records.map((entry, offset) => {
    const { kind } = must(messages[offset]);
    if (kind.case !== 'change') return entry;
    const { route, generation, lane, sequence, entityKey } = kind.value;
    const isGone = messages.some(
      ({ kind: { case: later, value } }, at) =>
        at > offset && later === 'erase' && value.routes.length > 1 && hex(value.entityKey) === hex(entityKey),
    );
    if (!isGone) return entry;
    seen.erased++;
    const place = { route, generation, lane, ...(sequence === undefined ? {} : { sequence }) };
    const record = create(LogRecordSchema, { kind: { case: 'erased', value: create(ErasedSchema, place) } });
    return { ...entry, record: toBinary(LogRecordSchema, record) };
  });
}

function act(engine: EngineUnderTest, action: Action, { users }: JoinScenario): void {
  if (action === 'commit') engine.commit();
  else if (action === 'crash') engine.crash();
  else if (action === 'begin commit') engine.beginCommit();
  else if (action === 'end commit') engine.endCommit();
  else if (action === 'forget') for (const user of users) engine.fold.forget(keyString(user));
  else if (action === 'read') engine.rows();
  else if ('sweep' in action) engine.sweep((index) => action.sweep % 2 === 0 || index % 2 === 0);
  else if ('fold' in action) engine.foldNext(action.fold);
  else engine.feedBuilds(action.build);
}

function compareToOracle({ records, messages, views, users, endUs }: JoinScenario, engine: EngineUnderTest): void {
  const timed = records.map(({ logTimeUs }, i) => ({ logTimeUs, message: messages[i]! }));
  const inForce = engine.fold.definitions?.views.map(({ viewId }) => hex(viewId)) ?? [];
  for (const { plan, twin } of views) {
    const viewId = hex(plan.viewId);
    if (!inForce.includes(viewId)) continue;
    const { whole, byKey } = joinedEvents(timed, plan, twin);
    const complete = engine.fold.completeViews().includes(viewId) && engine.fold.standing(viewId) === undefined;
    if (complete !== whole)
      throw new Error(`${plan.name} is ${complete ? '' : 'not '}complete, and should be otherwise`);
    if (!whole) continue;
    seen.whole++;
    for (const user of users) {
      const events = byKey.get(hex(user)) ?? [];
      const row = engine.fold.row(viewId, keyString(user));
      const view = row === undefined ? undefined : viewRow(plan, row.bytes);
      for (const probeUs of PROBES_US) {
        const tUs = BigInt(endUs + probeUs);
        const expected = plan.features.map((feature) => oracleValue(feature, events, tUs));
        const actual = view?.answersAt(tUs) ?? plan.features.map((feature) => oracleValue(feature, [], tUs));
        if (show(actual) !== show(expected)) {
          throw new Error(`${plan.name} of ${hex(user)} at ${tUs}: ${show(actual)}, and should be ${show(expected)}`);
        }
        seen.values++;
        if (events.length > 0) seen.joined++;
      }
    }
  }
}

/** A view of which a later generation is being brought stands still only if it was built in time; that is not compared. */
function compareFolds(straight: EngineUnderTest, cut: EngineUnderTest, what: string): void {
  const state = (engine: EngineUnderTest): string => {
    const moving = engine.fold.completeViews().filter((viewId) => engine.fold.standing(viewId) === undefined);
    return show({
      views: moving,
      rows: engine.livingRows().filter(({ view }) => moving.includes(view)),
      position: engine.fold.position,
    });
  };
  if (state(straight) !== state(cut)) throw new Error(`F1: ${what} changed rows\n${state(straight)}\n${state(cut)}`);
  if (hex(straight.fold.digest()) !== hex(cut.fold.digest())) throw new Error(`F1: ${what} changed the digest`);
}

describe('views that join tables', () => {
  it('F1 F2: have the values of the oracle whenever they were built, whatever the batches, commits and crashes', {
    timeout: FUZZ_MS_MAX,
  }, async () => {
    await assertFuzz(RUNS, runs, check);
    // Most histories have a view to compare, and events in it.
    expect(seen.whole).toBeGreaterThan(50);
    expect(seen.joined).toBeGreaterThan(500);
    expect(seen.erased).toBeGreaterThan(50);
    expect(seen.late).toBeGreaterThan(50);
  });
});
