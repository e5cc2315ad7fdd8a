/** Builders for tests: views, definitions, records, and a cold store in memory. Not used outside tests. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSetSchema,
  type FeaturePlan,
  FeaturePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
  type WindowSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { aggregateByName } from '../aggregates/table.ts';
import type { ColdState, FoldCommit, FoldEntry } from '../shard-fold.ts';

export const SECOND_US = 1_000_000;
/** 2023-11-14T22:13:20Z: a multiple of ten seconds. */
export const START_US = 1_700_000_000_000_000;

export function type(kind: Kind, element: Kind = Kind.UNSPECIFIED): ValueType {
  return create(ValueTypeSchema, { kind, element });
}

type Window = MessageInitShape<typeof WindowSchema>;

export function rolling(lengthS: number, paneS: number): Window {
  const value = { lengthUs: BigInt(lengthS * SECOND_US), paneUs: BigInt(paneS * SECOND_US) };
  return { kind: { case: 'rolling', value } };
}

export function tumbling(lengthS: number, closed: boolean): Window {
  return { kind: { case: 'tumbling', value: { lengthUs: BigInt(lengthS * SECOND_US), closed } } };
}

export const LIFETIME: Window = { kind: { case: 'lifetime', value: {} } };

/** The columns of all test sources, in contract order. */
export const COLUMNS = [
  { name: 'n', kind: Kind.INT64 },
  { name: 'x', kind: Kind.DOUBLE },
  { name: 'd', kind: Kind.DECIMAL },
  { name: 's', kind: Kind.STRING },
  { name: 'at', kind: Kind.TIMESTAMP },
] as const;

export type TestRow = { readonly [column in (typeof COLUMNS)[number]['name']]?: Scalar };

export function feature(
  name: string,
  aggregate: string,
  input: string,
  window: Window,
  options: { ttlS?: number; inputType?: ValueType } = {},
): FeaturePlan {
  const column = COLUMNS.find((one) => one.name === input);
  const inputType = options.inputType ?? (column === undefined ? undefined : type(column.kind));
  const resultType = must(aggregateByName(aggregate)).resultType(inputType);
  if (typeof resultType === 'string') throw new Error(resultType);
  return create(FeaturePlanSchema, {
    name,
    aggregate,
    input,
    window,
    resultType,
    ...(inputType === undefined ? {} : { inputType }),
    ttlUs: BigInt((options.ttlS ?? 0) * SECOND_US),
  });
}

export interface ViewOptions {
  readonly id?: number;
  readonly route?: number;
  readonly where?: string;
  readonly derived?: readonly { readonly name: string; readonly expression: string; readonly type: ValueType }[];
  readonly mode?: SourceMode;
}

export function view(features: readonly FeaturePlan[], options: ViewOptions = {}): ViewPlan {
  return create(ViewPlanSchema, {
    viewId: new Uint8Array(16).fill(options.id ?? 1),
    name: `view_${options.id ?? 1}`,
    route: options.route ?? 1,
    mode: options.mode ?? SourceMode.APPEND,
    columns: COLUMNS.map(({ name, kind }) => ({ name, type: type(kind), nullable: true })),
    derived: [...(options.derived ?? [])],
    where: options.where ?? '',
    features: [...features],
    engineVersion: 1,
  });
}

export function viewHex(id: number): string {
  return id.toString(16).padStart(2, '0').repeat(16);
}

/** A definition set over the views, with the contract of COLUMNS for each of their routes. */
export function definitions(
  generation: number,
  views: readonly ViewPlan[],
  primaryKey: readonly string[] = [],
): MessageInitShape<typeof DefinitionSetSchema> {
  const routes = [...new Set(views.map(({ route }) => route))].sort((a, b) => a - b);
  return {
    generation: BigInt(generation),
    routes: routes.map((route) => ({
      route,
      source: {
        name: `source_${route}`,
        mode: SourceMode.APPEND,
        contract: {
          version: 1,
          columns: COLUMNS.map(({ name, kind }) => ({ name, type: type(kind), nullable: true })),
          primaryKey: [...primaryKey],
        },
      },
    })),
    views: [...views],
  };
}

export function encodeRecord(kind: NonNullable<MessageInitShape<typeof LogRecordSchema>['kind']>): Uint8Array {
  return toBinary(LogRecordSchema, create(LogRecordSchema, { kind }));
}

export interface ChangeOptions {
  readonly user: number;
  readonly eventTimeUs?: number | undefined;
  readonly row?: TestRow;
  readonly sequence: number;
  readonly route?: number;
  readonly generation?: number;
  readonly lane?: number;
  readonly operation?: Operation;
  readonly contractVersion?: number;
  /** Mutable sources: which row it is, and was. */
  readonly rowKey?: string;
  readonly oldRowKey?: string;
}

export function change(options: ChangeOptions): Uint8Array {
  return encodeRecord({
    case: 'change',
    value: {
      route: options.route ?? 1,
      generation: options.generation ?? 1,
      lane: options.lane ?? 2,
      sequence: { major: BigInt(options.sequence) },
      operation: options.operation ?? Operation.INSERT,
      entityKey: encodeKey([Kind.INT64], [BigInt(options.user)]),
      contractVersion: options.contractVersion ?? 1,
      row: COLUMNS.map(({ name, kind }) => valueToProto(type(kind), options.row?.[name] ?? null)),
      ...(options.eventTimeUs === undefined ? {} : { eventTimeUs: BigInt(options.eventTimeUs) }),
      rowKey: new TextEncoder().encode(options.rowKey ?? ''),
      oldRowKey: new TextEncoder().encode(options.oldRowKey ?? ''),
    },
  });
}

/** The map key of a user's entity. */
export function userKey(user: number): string {
  return keyString(encodeKey([Kind.INT64], [BigInt(user)]));
}

/** Gives records offsets and log times. */
export class TestLog {
  readonly entries: FoldEntry[] = [];

  append(logTimeUs: number, record: Uint8Array): FoldEntry {
    const entry = { offset: this.entries.length, logTimeUs, record, crc: this.entries.length * 7 };
    this.entries.push(entry);
    return entry;
  }
}

/** A cold store in memory, that can be scanned. */
export class MemoryCold implements ColdState {
  readonly states = new Map<string, Map<string, Uint8Array>>();
  loads = 0;

  put(puts: FoldCommit['puts']): void {
    for (const [instance, key, state] of puts) {
      const states = this.states.get(instance) ?? new Map<string, Uint8Array>();
      this.states.set(instance, states);
      if (state === undefined) states.delete(key);
      else states.set(key, state);
    }
  }

  load(instance: string, key: string): Uint8Array | undefined {
    this.loads++;
    return this.states.get(instance)?.get(key);
  }

  *scan(instance: string, afterKey: string | undefined): Iterable<[string, Uint8Array]> {
    const states = [...(this.states.get(instance) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [key, state] of states) if (afterKey === undefined || key > afterKey) yield [key, state];
  }

  copy(): MemoryCold {
    const copy = new MemoryCold();
    for (const [instance, states] of this.states) copy.states.set(instance, new Map(states));
    return copy;
  }
}
