/**
 * Goal: what GetFeatures answers is what the definition says, at any time (F2), to the last bit and with the right status. Method: random
 * histories folded by the engine up to a random prefix; the rows are put into a replica's tables as they are; the serve
 * handler is asked, bytes to bytes, at every time at which something may change, before and after; the brute-force
 * oracle says what is right. How to run more, or one failure again: packages/testkit/src/differential/fuzz-options.ts.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { GetFeaturesRequestSchema, GetFeaturesResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { compareWithOracle, type Read } from '@freshet/testkit/differential/compare.ts';
import { EngineUnderTest } from '@freshet/testkit/differential/engine-under-test.ts';
import { assertFuzz } from '@freshet/testkit/differential/fuzz-options.ts';
import { entityOf, requestKeys, responseAnswers } from '@freshet/testkit/differential/serve-messages.ts';
import { type Recipe, recipes } from '@freshet/testkit/generate/recipe.ts';
import { buildScenario } from '@freshet/testkit/generate/scenario.ts';
import { OracleHistory } from '@freshet/testkit/oracle/history.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { handlerAtOnce } from '../../services/serve/src/core/source.testing.ts';
import { replicaOf } from '../support/replica-of.ts';

const RUNS = 200;

interface Run {
  readonly recipe: Recipe;
  /** How much of the history is folded, as a share. */
  readonly prefix: number;
}

const runs: fc.Arbitrary<Run> = fc.record({
  recipe: recipes({ maxRecords: 40 }),
  prefix: fc.oneof(fc.constant(1), fc.double({ min: 0.3, max: 1, noNaN: true })),
});

let reads = 0;

async function check({ recipe, prefix }: Run): Promise<void> {
  const scenario = buildScenario(recipe);
  const engine = new EngineUnderTest(scenario, { cacheBytes: 1_000_000 });
  const history = new OracleHistory(scenario.twins);
  const records = scenario.records.slice(0, Math.ceil(prefix * scenario.records.length));
  engine.foldNext(records.length);
  engine.feedBuilds();
  for (const { logTimeUs, record } of records) history.append(logTimeUs, record);
  if (history.definitions === undefined) return;
  const clock = { us: 0, nowUs: () => clock.us, monotonicUs: () => clock.us, sleep: async () => {} };
  const handler = handlerAtOnce(replicaOf(engine, scenario, history.definitions), clock);
  const read: Read = ({ service, key, tUs }) => {
    clock.us = tUs;
    const keys = requestKeys(entityOf(history, service), [key]);
    const request = toBinary(
      GetFeaturesRequestSchema,
      create(GetFeaturesRequestSchema, { service: service.name, keys }),
    );
    const response = fromBinary(GetFeaturesResponseSchema, handler(request));
    return responseAnswers(history, must(service), response, 0);
  };
  reads += (await compareWithOracle({ scenario, history, read, maxTimes: 60 })).reads;
}

describe('GetFeatures and the oracle', () => {
  it('F2 R2: agree on every value and status at every time', async () => {
    await assertFuzz(RUNS, runs, check);
    expect(reads).toBeGreaterThan(RUNS);
  }, 120_000);
});
