/** The events of the benchmarks: 100,000 keys or as many as asked for, uniform, Zipf or one after the other, one view of 6 features over 3 windows. */
import { create } from '@bufbuild/protobuf';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeChange, encodeRecord } from '@freshet/log/record-writer.ts';
import { encodeKey } from '@freshet/values/key.ts';

export const KEYS = 100_000;
/** Events a second of log time: how many panes a key's window has follows from it. */
const EVENTS_PER_LOG_SECOND = 10_000;
export const BENCH_START_US = 1_750_000_000_000_000;

/** One view of those features over a source of that mode. */
export function benchDefinitions(mode: 'append' | 'mutable', features: string): string {
  return `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: activity
mode: ${mode}
postgres: { table: public.activity }
event_time: at
---
kind: FeatureView
name: stats
entity: user
source: activity
where: kind == "click"
features:
  ${features}
`;
}

const DEFINITIONS = benchDefinitions(
  'append',
  `n_5m: { count: {}, rolling: 5m }
  spend_5m: { sum: amount, rolling: 5m }
  n_1h: { count: {}, rolling: 1h }
  spend_1h: { sum: amount, rolling: 1h }
  most_24h: { max: amount, rolling: 24h }
  n_24h: { count: {}, rolling: 24h }`,
);

export const BENCH_CONTRACT = create(ContractSchema, {
  source: 'activity',
  version: 1,
  columns: [
    { name: 'id', type: { kind: Kind.INT64 } },
    { name: 'user_id', type: { kind: Kind.INT64 } },
    { name: 'kind', type: { kind: Kind.STRING } },
    { name: 'amount', type: { kind: Kind.DOUBLE }, nullable: true },
    { name: 'at', type: { kind: Kind.TIMESTAMP } },
  ],
});

export type Distribution = 'uniform' | 'zipf' | 'each';

export interface WorkloadRecord {
  readonly record: Uint8Array;
  readonly logTimeUs: number;
}

/** A change, with the key that says its partition. */
export interface WorkloadChange extends WorkloadRecord {
  readonly entityKey: Uint8Array;
}

/** Definitions, the route's beginning, then `events` changes. */
export function foldWorkload(events: number, distribution: Distribution, keys = KEYS): WorkloadRecord[] {
  const records = openingRecords();
  for (const { record, logTimeUs } of changes(events, distribution, keys)) records.push({ record, logTimeUs });
  return records;
}

function resolved(text: string, previous: DefinitionSet | undefined): DefinitionSet {
  const definitions = parseDefinitions([{ path: 'bench.yaml', text }]);
  return resolveDefinitions({ definitions, contracts: new Map([['activity', BENCH_CONTRACT]]), previous }).resolved;
}

/** The definitions with one view more: the same features over half as long windows. */
export function widerDefinitions(): WorkloadRecord {
  const before = resolved(DEFINITIONS, undefined);
  const view = DEFINITIONS.slice(DEFINITIONS.lastIndexOf('---')).replace('name: stats', 'name: sooner');
  const more = view.replaceAll('5m }', '150s }').replaceAll('1h }', '30m }').replaceAll('24h }', '12h }');
  const value = resolved(`${DEFINITIONS}${more}`, before);
  return { record: encodeRecord({ case: 'definitions', value }), logTimeUs: BENCH_START_US };
}

/** Definitions and the route's beginning: what every partition begins with. */
export function openingRecords(): WorkloadRecord[] {
  const value = resolved(DEFINITIONS, undefined);
  return [
    { record: encodeRecord({ case: 'definitions', value }), logTimeUs: BENCH_START_US },
    { record: encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }), logTimeUs: BENCH_START_US },
    { record: encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }), logTimeUs: BENCH_START_US },
  ];
}

/** Changes one at a time, for more of them than memory should hold; `first` is how many came before these. */
export function* changes(
  events: number,
  distribution: Distribution,
  keys = KEYS,
  first = 0,
): Generator<WorkloadChange, void, void> {
  const types = BENCH_CONTRACT.columns.map((column) => must(column.type));
  const pick = PICKS[distribution](keys);
  for (let i = first; i < first + events; i++) {
    const user = BigInt(pick());
    const atUs = BENCH_START_US + Math.floor((i / EVENTS_PER_LOG_SECOND) * 1_000_000);
    const entityKey = encodeKey([Kind.INT64], [user]);
    const head = {
      route: 1,
      generation: 1,
      lane: 2,
      major: i + 1,
      minor: 0,
      operation: Operation.INSERT,
      entityKey,
      contractVersion: 1,
      eventTimeUs: atUs,
    };
    const record = encodeChange(head, [BigInt(i), user, 'click', ((i * 31) % 10_000) / 100, BigInt(atUs)], types);
    yield { record, logTimeUs: atUs, entityKey };
  }
}

const PICKS: Readonly<Record<Distribution, (keys: number) => () => number>> = { uniform, zipf, each };

/** One key after the other. */
function each(keys: number): () => number {
  let last = 0;
  return () => {
    last = (last % keys) + 1;
    return last;
  };
}

function uniform(keys: number): () => number {
  const random = generator(7);
  return () => 1 + Math.floor(random() * keys);
}

/** Zipf with exponent 1, by the inverse of its distribution. */
function zipf(keys: number): () => number {
  const random = generator(7);
  const cumulative = new Float64Array(keys);
  let total = 0;
  for (let i = 0; i < keys; i++) {
    total += 1 / (i + 1);
    cumulative[i] = total;
  }
  return () => {
    const wanted = random() * total;
    let low = 0;
    let high = keys - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((cumulative[middle] ?? 0) < wanted) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
}

function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
