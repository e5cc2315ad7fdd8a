/**
 * Goal: what a serve node answers for an on-demand feature is what its expression says of the oracle's values, of the
 * request data and of T, to the last bit, with the right status; and what fails is counted, no more and no less. Method:
 * random histories folded by the engine; random CEL expressions with a JavaScript twin each, whose names are bound to
 * whatever stored features of that type the service has, to request fields, to the time, and to each other; NaN, nulls
 * and defaults among all of them; two entities a call. How to run more, or one failure again:
 * packages/testkit/src/differential/fuzz-options.ts.
 */
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
  type RequestColumn,
  RequestColumnSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type OnDemandInput,
  OnDemandInputSchema,
  OnDemandPlanSchema,
  RequestFieldPlanSchema,
  type ServicePlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueColumnSchema, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { viewsOf } from '@freshet/testkit/differential/compare.ts';
import { EngineUnderTest } from '@freshet/testkit/differential/engine-under-test.ts';
import { assertFuzz, FUZZ_MS_MAX } from '@freshet/testkit/differential/fuzz-options.ts';
import { columnValue } from '@freshet/testkit/differential/row-view.ts';
import { entityOf, requestKeys } from '@freshet/testkit/differential/serve-messages.ts';
import type { TwinExpression } from '@freshet/testkit/generate/cel-semantics.ts';
import { type ExpressionArbitraries, expressionsOver } from '@freshet/testkit/generate/expressions.ts';
import { typeOf } from '@freshet/testkit/generate/plan-builder.ts';
import { type Recipe, recipes } from '@freshet/testkit/generate/recipe.ts';
import { buildScenario, type ScenarioKey } from '@freshet/testkit/generate/scenario.ts';
import { decimals, doubles, int64s, protoValue, strings, timestamps } from '@freshet/testkit/generate/values.ts';
import { hex, OracleHistory } from '@freshet/testkit/oracle/history.ts';
import { sameValue } from '@freshet/testkit/oracle/order.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFeatureHandler } from '../../services/serve/src/core/get-features.ts';
import { OnDemandErrorCounts } from '../../services/serve/src/core/on-demand-errors.ts';
import { replicaOf } from '../support/replica-of.ts';

const RUNS = 200;

// "1" and "2" are stored features where there are such, "r" is request data, "o" the newest on-demand feature before.
const KINDS = { int: Kind.INT64, double: Kind.DOUBLE, string: Kind.STRING, bool: Kind.BOOL } as const;
const FIELDS = [
  { name: 'ir', kind: Kind.INT64, values: int64s },
  { name: 'dr', kind: Kind.DOUBLE, values: doubles },
  { name: 'mr', kind: Kind.DECIMAL, values: decimals },
  { name: 'sr', kind: Kind.STRING, values: strings },
  { name: 'br', kind: Kind.BOOL, values: fc.boolean() },
  { name: 'tr', kind: Kind.TIMESTAMP, values: timestamps },
] as const;
const KIND_OF_LETTER: ReadonlyMap<string, Kind> = new Map(FIELDS.map(({ name, kind }) => [name.slice(0, 1), kind]));

const expressions = expressionsOver({
  int: ['i1', 'i2', 'ir', 'io'],
  double: ['d1', 'd2', 'dr', 'do_'],
  decimal: ['m1', 'mr'],
  string: ['s1', 's2', 'sr', 'so'],
  bool: ['b1', 'br', 'bo'],
  timestamp: ['t1', 'tr', 'now'],
});

interface Drawn {
  readonly kind: Kind;
  readonly twin: TwinExpression;
  readonly default: Scalar;
}

interface Run {
  readonly recipe: Recipe;
  readonly onDemand: readonly Drawn[];
  /** By field: one value, for all, or one for each of two entities. */
  readonly data: readonly (readonly Scalar[])[];
}

const drawn = fc.oneof(
  ...(Object.keys(KINDS) as (keyof ExpressionArbitraries)[]).map((name) =>
    fc.record({
      kind: fc.constant(KINDS[name]),
      twin: expressions[name],
      default: fc.option<Scalar>(must(FIELDS.find(({ kind }) => kind === KINDS[name])).values as fc.Arbitrary<Scalar>, {
        freq: 2,
        nil: null,
      }),
    }),
  ),
);

const runs: fc.Arbitrary<Run> = fc.record({
  recipe: recipes({ maxRecords: 25 }),
  onDemand: fc.array(drawn, { minLength: 1, maxLength: 5 }),
  data: fc.tuple(
    ...FIELDS.map(({ values }) => {
      const value = fc.option<Scalar>(values as fc.Arbitrary<Scalar>, { freq: 5, nil: null });
      return fc.oneof(fc.tuple(value), fc.tuple(value, value));
    }),
  ),
});

/** Where a name of an expression comes from in a service. */
function bind(name: string, service: ServicePlan, types: readonly Kind[], before: readonly Drawn[]): OnDemandInput {
  const kind = name === 'now' ? Kind.TIMESTAMP : must(KIND_OF_LETTER.get(name.slice(0, 1)));
  const type = typeOf(kind);
  const of = (source: OnDemandInput['source']): OnDemandInput => create(OnDemandInputSchema, { name, type, source });
  if (name === 'now') return of({ case: 'now', value: true });
  const role = name.slice(1, 2);
  const stored = service.features.flatMap((_, index) => (types[index] === kind ? [index] : []));
  const feature = stored[role === '2' ? 1 : 0] ?? stored[0];
  if ((role === '1' || role === '2') && feature !== undefined) return of({ case: 'feature', value: feature });
  const earlier = before.findLastIndex((one) => one.kind === kind);
  if (role === 'o' && earlier >= 0) return of({ case: 'onDemand', value: earlier });
  return of({ case: 'request', value: FIELDS.findIndex((field) => field.kind === kind) });
}

/** The definitions with the on-demand features in every service. */
function withOnDemand(definitions: DefinitionSet, history: OracleHistory, { onDemand }: Run): DefinitionSet {
  const set = clone(DefinitionSetSchema, definitions);
  for (const service of set.services) {
    const types = kindsOf(service, history);
    service.request = FIELDS.map(({ name, kind }) => create(RequestFieldPlanSchema, { name, type: typeOf(kind) }));
    service.onDemand = onDemand.map(({ kind, twin, default: fallback }, at) => {
      const names = [...new Set(twin.columns)].sort();
      const type = typeOf(kind);
      return create(OnDemandPlanSchema, {
        name: `od${at}`,
        expression: twin.cel,
        type,
        inputs: names.map((name) => bind(name, service, types, onDemand.slice(0, at))),
        ...(fallback === null ? {} : { defaultValue: protoValue(type, fallback) }),
      });
    });
  }
  return set;
}

function kindsOf(service: ServicePlan, history: OracleHistory): Kind[] {
  const views = viewsOf(history, service);
  return service.features.map(({ viewId, feature }) => {
    const view = views.find((candidate) => hex(candidate.viewId) === hex(viewId));
    return view?.features[feature]?.resultType?.kind ?? Kind.UNSPECIFIED;
  });
}

function column(kind: Kind, name: string, values: readonly Scalar[]): RequestColumn {
  const list = values.map((value) => value ?? ZEROS.get(kind));
  const statuses = values.map((value) => (value === null ? ValueStatus.ABSENT : ValueStatus.PRESENT));
  const member = must(MEMBERS.get(kind));
  return create(RequestColumnSchema, { name, values: create(ValueColumnSchema, { [member]: list, statuses }) });
}

const MEMBERS: ReadonlyMap<Kind, string> = new Map([
  [Kind.INT64, 'int64s'],
  [Kind.DOUBLE, 'doubles'],
  [Kind.DECIMAL, 'decimals'],
  [Kind.STRING, 'strings'],
  [Kind.BOOL, 'bools'],
  [Kind.TIMESTAMP, 'timestamps'],
]);
const ZEROS: ReadonlyMap<Kind, Scalar> = new Map<Kind, Scalar>([
  [Kind.INT64, 0n],
  [Kind.DOUBLE, 0],
  [Kind.DECIMAL, '0'],
  [Kind.STRING, ''],
  [Kind.BOOL, false],
  [Kind.TIMESTAMP, 0n],
]);

interface Answer {
  readonly status: ValueStatus;
  readonly value: Scalar;
}

/** What the twins make of the oracle's values; counts those that fail. */
function expected(
  service: ServicePlan,
  { onDemand, data }: Run,
  stored: readonly Scalar[],
  entity: number,
  tUs: number,
): { answers: Answer[]; errors: number } {
  const answers: Answer[] = [];
  let errors = 0;
  onDemand.forEach(({ twin, default: fallback }, at) => {
    const row = new Map<string, Scalar>();
    for (const { name, source } of must(service.onDemand[at]).inputs) {
      if (source.case === 'now') row.set(name, BigInt(tUs));
      else if (source.case === 'feature') row.set(name, stored[source.value] ?? null);
      else if (source.case === 'onDemand') row.set(name, must(answers[source.value]).value);
      else {
        const values = must(data[source.value as number]);
        row.set(name, (values.length === 1 ? values[0] : values[entity]) ?? null);
      }
    }
    let value: Scalar = null;
    try {
      value = twin.evaluate(row);
    } catch {
      errors += 1;
    }
    if (value !== null) answers.push({ status: ValueStatus.PRESENT, value });
    else answers.push({ status: fallback === null ? ValueStatus.ABSENT : ValueStatus.DEFAULTED, value: fallback });
  });
  return { answers, errors };
}

let compared = 0;
let failed = 0;

async function check(run: Run): Promise<void> {
  const scenario = buildScenario(run.recipe);
  const engine = new EngineUnderTest(scenario, { cacheBytes: 1_000_000 });
  const history = new OracleHistory(scenario.twins);
  engine.foldNext(scenario.records.length);
  engine.feedBuilds();
  for (const { logTimeUs, record } of scenario.records) history.append(logTimeUs, record);
  if (history.definitions === undefined) return;
  const definitions = withOnDemand(history.definitions, history, run);
  const clock = { us: 0, nowUs: () => clock.us, monotonicUs: () => clock.us, sleep: async () => {} };
  const counts = new OnDemandErrorCounts();
  const yieldNow = (): Promise<void> => Promise.resolve();
  const handler = createFeatureHandler(replicaOf(engine, scenario, definitions), { clock, yieldNow, errors: counts });
  for (const service of definitions.services) {
    if (!viewsOf(history, service).every((view) => history.isWhole(view))) continue;
    const keys = must(scenario.keys.get(entityOf(history, service).name)).slice(0, 2) as ScenarioKey[];
    const last = Number(must(scenario.records.at(-1)).logTimeUs);
    for (const tUs of [scenario.baseUs, last, last + 7 * scenario.unitUs, last + 100_000 * scenario.unitUs]) {
      clock.us = tUs;
      const errorsBefore = total(counts);
      const request = create(GetFeaturesRequestSchema, {
        service: service.name,
        keys: requestKeys(entityOf(history, service), keys),
        request: FIELDS.map(({ name, kind }, at) => column(kind, name, must(run.data[at]).slice(0, keys.length))),
      });
      const bytes = await handler(Buffer.from(toBinary(GetFeaturesRequestSchema, request)));
      const { columns } = fromBinary(GetFeaturesResponseSchema, bytes);
      expect(columns.slice(service.features.length).map(({ name }) => name)).toEqual(
        service.onDemand.map(({ name }) => name),
      );
      let errors = 0;
      keys.forEach((key, entity) => {
        const stored = history
          .serviceValues(service, key.bytes, BigInt(tUs))
          .map(({ status, value }) =>
            status === ValueStatus.PRESENT || status === ValueStatus.DEFAULTED ? value : null,
          );
        const twin = expected(service, run, stored, entity, tUs);
        errors += twin.errors;
        twin.answers.forEach(({ status, value }, at) => {
          const { values } = must(columns[service.features.length + at]);
          const given = must(values).statuses[entity] ?? ValueStatus.PRESENT;
          const type = must(must(service.onDemand[at]).type);
          const actual = given === ValueStatus.ABSENT ? null : columnValue(type, must(values), entity);
          compared += 1;
          if (given === status && sameValue(type, value, actual)) return;
          const what = `${must(run.onDemand[at]).twin.cel} of entity ${entity} at ${tUs}`;
          throw new Error(`${what}: ${given} ${String(actual)} instead of ${status} ${String(value)}`);
        });
      });
      failed += errors;
      expect(total(counts) - errorsBefore).toBe(errors);
    }
  }
}

function total(counts: OnDemandErrorCounts): number {
  return counts.list().reduce((sum, { errors }) => sum + errors, 0);
}

describe('on-demand features and their twins', () => {
  it(
    'F1: agree on every value and status, and on what fails',
    async () => {
      await assertFuzz(RUNS, runs, check);
      expect(compared).toBeGreaterThan(10 * RUNS);
      expect(failed).toBeGreaterThan(RUNS);
      expect(failed).toBeLessThan(compared);
    },
    FUZZ_MS_MAX,
  );
});
