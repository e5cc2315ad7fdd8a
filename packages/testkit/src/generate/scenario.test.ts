/**
 * Goal: the generated histories are valid logs and reach the cases that matter. Method: structural properties of every
 * scenario, and counters of cases over a fixed set of seeds ("sometimes" assertions), so that a change of the generator
 * that silently stops making a case fails here.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareWithOracle, type Read, viewsOf } from '../differential/compare.ts';
import { OracleHistory } from '../oracle/history.ts';
import { AGGREGATES, recipes } from './recipe.ts';
import { buildScenario, type Scenario } from './scenario.ts';

const SEED = 20_261_122;

function historyOf(scenario: Scenario, records = scenario.records.length): OracleHistory {
  const history = new OracleHistory(scenario.twins);
  for (const { logTimeUs, record } of scenario.records.slice(0, records)) history.append(logTimeUs, record);
  return history;
}

/** A reader that is the oracle itself. */
function readerOf(history: OracleHistory): Read {
  return ({ service, key, tUs }) => history.serviceValues(service, key.bytes, BigInt(tUs));
}

describe('generated histories', () => {
  it('are logs: decodable, log times never decreasing, changes after their route began', () => {
    fc.assert(
      fc.property(recipes({ maxRecords: 30 }), (recipe) => {
        const scenario = buildScenario(recipe);
        const begun = new Set<number>();
        let last = scenario.baseUs;
        for (const { logTimeUs, record } of scenario.records) {
          expect(logTimeUs).toBeGreaterThanOrEqual(last);
          last = logTimeUs;
          const { kind } = fromBinary(LogRecordSchema, record);
          if (kind.case === 'routeBegin') begun.add(kind.value.route);
          if (kind.case === 'change' && kind.value.route !== 99) expect(begun).toContain(kind.value.route);
        }
      }),
    );
  });

  it('are the same for the same recipe', () => {
    fc.assert(
      fc.property(recipes({ maxRecords: 10 }), (recipe) => {
        expect(buildScenario(recipe).records).toEqual(buildScenario(recipe).records);
      }),
      { numRuns: 20 },
    );
  });

  it('reach every status, aggregate, window, and kind of delivery', async () => {
    const seen = new Map<string, number>();
    const count = (name: string): void => void seen.set(name, (seen.get(name) ?? 0) + 1);
    for (const recipe of fc.sample(recipes({ maxRecords: 40 }), { numRuns: 150, seed: SEED })) {
      const scenario = buildScenario(recipe);
      const history = historyOf(scenario);
      if (scenario.records.length === 1) count('empty');
      for (const { kind } of recipe.records) count(kind);
      for (const view of history.definitions?.views ?? []) {
        if (history.expired(view) > 0) count('expired');
        if (view.where !== '') count('where');
        if (view.derived.length > 0) count('derived');
      }
      const read: Read = (request) => {
        const answers = readerOf(history)(request) as ReturnType<OracleHistory['serviceValues']>;
        const view = viewsOf(history, request.service)[0];
        answers.forEach(({ status }, i) => {
          const feature = view?.features[i];
          count(`status ${status}`);
          if (status === ValueStatus.PRESENT) count(`${feature?.aggregate} ${feature?.window?.kind.case}`);
        });
        return answers;
      };
      await compareWithOracle({
        scenario,
        history,
        read,
        maxTimes: 6,
        services: ({ name }) => name.startsWith('only_'),
      });
    }
    const windows = ['rolling', 'tumbling', 'lifetime'];
    const aggregates = [...AGGREGATES];
    const cases = aggregates.flatMap((aggregate) => windows.map((window) => `${aggregate} ${window}`));
    for (const status of [1, 2, 3, 4]) cases.push(`status ${status}`);
    cases.push('empty', 'change', 'tick', 'redeliver', 'stray', 'restart', 'expired', 'where', 'derived');
    expect(cases.filter((name) => !seen.has(name))).toEqual([]);
  });
});

describe('the comparison', () => {
  it('notices a wrong value and a wrong status', async () => {
    const scenario = fc
      .sample(recipes({ maxRecords: 40 }), { numRuns: 50, seed: SEED })
      .map(buildScenario)
      .find(({ records }) => records.length > 20);
    if (scenario === undefined) throw new Error('no sample is long enough');
    const history = historyOf(scenario);
    const read = readerOf(history);
    await compareWithOracle({ scenario, history, read });
    const wrongStatus: Read = async (request) =>
      (await read(request)).map((answer) => ({ ...answer, status: ValueStatus.OUT_OF_RANGE }));
    await expect(compareWithOracle({ scenario, history, read: wrongStatus })).rejects.toThrow(/expected/);
    const wrongValue: Read = async (request) => (await read(request)).map((answer) => ({ ...answer, value: 'not it' }));
    await expect(compareWithOracle({ scenario, history, read: wrongValue })).rejects.toThrow(/actual .* "not it"/);
  });
});
