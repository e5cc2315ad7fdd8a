/**
 * Compares what a reader answers with the oracle, at every time that matters.
 *
 * Owns which times are read and what counts as equal (the same status, and the same value of the same type to the last
 * bit). Knows nothing of the reader: it is a function of service, key and time, so that the same comparison runs on the
 * bare fold, on a replica and through the serve handler.
 */
import type { ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { Scenario, ScenarioKey } from '../generate/scenario.ts';
import { hex, type OracleHistory } from '../oracle/history.ts';
import type { OracleAnswer } from '../oracle/oracle.ts';
import { sameValue } from '../oracle/order.ts';
import { changeTimes } from './probes.ts';

export interface ReadRequest {
  readonly service: ServicePlan;
  readonly key: ScenarioKey;
  /** The time of the read, microseconds: what the reader's clock says. */
  readonly tUs: number;
}

/** One answer per output of the service, in its order. A reader that leaves the default status unsaid means PRESENT. */
export type Read = (request: ReadRequest) => readonly OracleAnswer[] | Promise<readonly OracleAnswer[]>;

export interface CompareOptions {
  readonly scenario: Scenario;
  /** All records that the reader reflects, and no others. */
  readonly history: OracleHistory;
  readonly read: Read;
  /** Further times to read at, besides those at which something may change by the definition. */
  readonly moreTimes?: ((service: ServicePlan, key: ScenarioKey) => readonly number[]) | undefined;
  /** At most that many times per service and key; more are thinned out evenly. */
  readonly maxTimes?: number | undefined;
  /** Which services are read; default: all in force. */
  readonly services?: ((service: ServicePlan) => boolean) | undefined;
}

/** Reads all keys of all services in force whose views are whole, at all times that matter. Throws on the first difference. */
export async function compareWithOracle(options: CompareOptions): Promise<{ reads: number }> {
  const { scenario, history } = options;
  let reads = 0;
  for (const service of history.definitions?.services ?? []) {
    if (options.services !== undefined && !options.services(service)) continue;
    if (!viewsOf(history, service).every((view) => history.isWhole(view))) continue;
    for (const key of keysOf(scenario, history, service)) {
      for (const tUs of timesToRead(options, service, key)) {
        await compareRead(options, { service, key, tUs });
        reads += 1;
      }
    }
  }
  return { reads };
}

/** The views that a service reads. */
export function viewsOf(history: OracleHistory, service: ServicePlan): ViewPlan[] {
  const ids = new Set(service.features.map(({ viewId }) => hex(viewId)));
  return (history.definitions?.views ?? []).filter(({ viewId }) => ids.has(hex(viewId)));
}

/** Reads once and compares. Throws, naming everything needed to understand the difference. */
export async function compareRead({ history, read }: CompareOptions, request: ReadRequest): Promise<void> {
  const { service, key, tUs } = request;
  const expected = history.serviceValues(service, key.bytes, BigInt(tUs));
  const actual = await read(request);
  if (actual.length !== expected.length) {
    throw new Error(`${service.name}: ${actual.length} values instead of ${expected.length}`);
  }
  expected.forEach((answer, index) => {
    if (!sameAnswer(history, service, index, answer, must(actual[index]))) {
      throw new Error(describeDifference(history, request, index, answer, must(actual[index])));
    }
  });
}

function keysOf(scenario: Scenario, history: OracleHistory, service: ServicePlan): readonly ScenarioKey[] {
  const view = viewsOf(history, service)[0];
  return view === undefined ? [] : must(scenario.keys.get(must(view.entity).name));
}

/** Before, at and after everything that may change, long before and long after; thinned to the limit. */
function timesToRead(
  { scenario, history, moreTimes, maxTimes = 60 }: CompareOptions,
  service: ServicePlan,
  key: ScenarioKey,
): number[] {
  const times = new Set<number>();
  const limit = Number.MAX_SAFE_INTEGER;
  const add = (tUs: number): void => {
    if (Math.abs(tUs) <= limit) times.add(tUs);
  };
  const addAround = (time: bigint): void => {
    for (const shift of [-1, 0, 1]) add(Number(time) + shift);
  };
  for (const view of viewsOf(history, service)) {
    const events = history.events(view, key.bytes);
    const logTimeUs = history.lastChange(view, key.bytes)?.logTimeUs;
    if (logTimeUs !== undefined) addAround(logTimeUs);
    for (const time of changeTimes(view, events)) {
      // Times before the row are raised to its log time; one of them (above) is enough.
      if (logTimeUs !== undefined && time > logTimeUs) addAround(time);
    }
  }
  moreTimes?.(service, key).forEach(add);
  const thinned = thin(
    [...times].sort((a, b) => a - b),
    maxTimes,
  );
  return [scenario.baseUs, ...thinned, scenario.baseUs + 100_000 * scenario.unitUs];
}

function thin(sorted: readonly number[], most: number): number[] {
  if (sorted.length <= most) return [...sorted];
  return Array.from({ length: most }, (_, i) => must(sorted[Math.floor((i * sorted.length) / most)]));
}

function sameAnswer(
  history: OracleHistory,
  service: ServicePlan,
  index: number,
  expected: OracleAnswer,
  actual: OracleAnswer,
): boolean {
  const { viewId, feature } = must(service.features[index]);
  const view = must(viewsOf(history, service).find((candidate) => hex(candidate.viewId) === hex(viewId)));
  const type = must(view.features[feature]?.resultType);
  return statusOf(actual) === expected.status && sameValue(type, expected.value, actual.value);
}

function statusOf({ status }: OracleAnswer): ValueStatus {
  return status === ValueStatus.UNSPECIFIED ? ValueStatus.PRESENT : status;
}

function statusName(answer: OracleAnswer): string {
  return (
    Object.entries(ValueStatus).find(([, status]) => status === statusOf(answer))?.[0] ?? `status ${answer.status}`
  );
}

function describeDifference(
  history: OracleHistory,
  { service, key, tUs }: ReadRequest,
  index: number,
  expected: OracleAnswer,
  actual: OracleAnswer,
): string {
  const output = must(service.features[index]);
  const view = must(viewsOf(history, service).find(({ viewId }) => hex(viewId) === hex(output.viewId)));
  const feature = must(view.features[output.feature]);
  const events = history.events(view, key.bytes).map(({ offset, logTimeUs, eventTimeUs, values }) => ({
    offset,
    logTimeUs,
    eventTimeUs,
    input: feature.input === '' ? undefined : values.get(feature.input),
  }));
  return [
    `${output.output} of key ${show(key.values)} at T=${tUs} after ${history.position} records`,
    `  expected ${statusName(expected)} ${show(expected.value)}`,
    `  actual   ${statusName(actual)} ${show(actual.value)}`,
    `  feature  ${show({ aggregate: feature.aggregate, input: feature.input, window: feature.window?.kind, ttlUs: feature.ttlUs })}`,
    `  where    ${view.where}`,
    ...view.derived.map(({ name, expression }) => `  derived  ${name} = ${expression}`),
    ...events.map((event) => `  event    ${show(event)}`),
  ].join('\n');
}

/** Values as text that loses nothing: bigints with n, -0, NaN, bytes in hex. */
export function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (value instanceof Uint8Array) return `0x${hex(value)}`;
  if (Array.isArray(value) || value instanceof Float32Array) return `[${[...value].map(show).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value as Scalar | undefined) ?? 'undefined';
  const members = Object.entries(value as Record<string, unknown>).filter(([name]) => name !== '$typeName');
  return `{${members.map(([name, member]) => `${name}: ${show(member)}`).join(', ')}}`;
}
