/**
 * For tests: plans, rows, and an upstream whose state is a list of records that anybody can check by eye.
 */

import { create, toBinary } from '@bufbuild/protobuf';
import {
  PassPageSchema,
  type ShardCursor,
  ShardCursorSchema,
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind, type Value, ValueColumnSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { fromHex, toHex } from '@freshet/kit/hex.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';

/** A view's id: 16 bytes that all are the number. */
export function viewId(number: number): string {
  return toHex(new Uint8Array(16).fill(number));
}

/** A view of an entity "user" with one int64 key and one lifetime feature "count". */
export function countView(number: number, name = `view${number}`): ViewPlan {
  return create(ViewPlanSchema, {
    viewId: fromHex(viewId(number)),
    name,
    entity: { name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] },
    features: [
      {
        name: 'count',
        aggregate: 'count',
        window: { kind: { case: 'lifetime', value: {} } },
        resultType: { kind: Kind.INT64 },
      },
    ],
  });
}

/** Definitions with the views, and a service "all" over the first feature of each. */
export function definitions(generation: number, views: readonly ViewPlan[]): DefinitionSet {
  return create(DefinitionSetSchema, {
    generation: BigInt(generation),
    views: [...views],
    services: [
      { name: 'all', features: views.map((v) => ({ output: `${v.name}:count`, viewId: v.viewId, feature: 0 })) },
    ],
  });
}

/**
 * An encoded Row of countView: the count is the version. That of version 0 steps up in the far future: a count that is 0 for
 * ever would say nothing, and the row would be dropped.
 */
export function countRow(version: number): Uint8Array {
  const columns = [create(ValueColumnSchema, { int64s: version > 0 ? [BigInt(version)] : [0n, 1n] })];
  const steps = version > 0 ? {} : { firstStep: 9_000_000_000_000_000n, hasSteps: true };
  return toBinary(
    RowSchema,
    create(RowSchema, { version: BigInt(version), timelines: [{ unitUs: 1n, ...steps, columns }] }),
  );
}

/** Key strings that belong to the shard. */
export function keysOf(shard: number, shards: number, count: number): string[] {
  const keys: string[] = [];
  for (let id = 0; keys.length < count; id++) {
    const key = int64KeyString(id);
    if (partitionOfKeyString(key, shards) === shard) keys.push(key);
  }
  return keys.sort();
}

export interface ModelRecord {
  readonly view: number;
  readonly key: string;
  /** Whether the record leaves the key without a row. */
  readonly drops: boolean;
}

/** A shard of an upstream: its state at a position is what the records before it say. */
export class ModelShard {
  readonly shard: number;
  readonly logId: string;
  readonly records: ModelRecord[] = [];
  views: number[];

  constructor(shard: number, log: number, views: readonly number[]) {
    this.shard = shard;
    this.logId = viewId(log);
    this.views = [...views];
  }

  get end(): number {
    return this.records.length;
  }

  /** Versions by key at a position; a negative one says that the row went at that version. */
  state(view: number, position: number): Map<string, number> {
    const rows = new Map<string, number>();
    this.records.slice(0, position).forEach(({ view: v, key, drops }, offset) => {
      if (v === view) rows.set(key, drops ? -offset - 1 : offset);
    });
    return rows;
  }

  cursor(position: number, views: readonly number[] = position === 0 ? [] : this.views): ShardCursor {
    return create(ShardCursorSchema, {
      shard: this.shard,
      logId: fromHex(this.logId),
      position: BigInt(position),
      recordCrc: position,
      views: views.map((v) => fromHex(viewId(v))),
    });
  }

  /** A frame with rows of keys at the state of a position. */
  frame(
    after: number,
    cursor: ShardCursor,
    rows: readonly { view: number; key: string; version: number }[],
  ): SubscribeChangesResponse {
    return create(SubscribeChangesResponseSchema, {
      logId: fromHex(this.logId),
      shard: this.shard,
      after: BigInt(after),
      cursor,
      completeThroughUs: cursor.position * 1000n,
      definitionsGeneration: 1n,
      rows: rows.map(({ view, key, version }) => ({
        viewId: fromHex(viewId(view)),
        rows: [
          version < 0
            ? { key: keyBytes(key), version: BigInt(-version - 1) }
            : { key: keyBytes(key), version: BigInt(version), row: countRow(version) },
        ],
      })),
    });
  }

  /** Live: the keys that the records in between changed, at their state then. */
  *live(from: number, to: number): Generator<SubscribeChangesResponse> {
    yield this.frame(from, this.cursor(to), this.changed(from, to, to));
  }

  /** The keys that records changed between two positions, at their state at a third. */
  changed(from: number, to: number, at: number): { view: number; key: string; version: number }[] {
    return this.views.flatMap((view) => {
      const state = this.state(view, at);
      const keys = new Set(
        this.records
          .slice(from, to)
          .filter((r) => r.view === view)
          .map((r) => r.key),
      );
      return [...keys].map((key) => ({ view, key, version: state.get(key) ?? 0 }));
    });
  }

  /** Catch-up by the journal: in pieces, the cursor moving with the last. */
  *journal(sent: ShardCursor, to: number, size: number): Generator<SubscribeChangesResponse> {
    const from = Number(sent.position);
    const rows = this.changed(from, to, to);
    for (let i = 0; i < rows.length; i += size) yield this.frame(from, sent, rows.slice(i, i + size));
    yield this.frame(from, this.cursor(to), []);
  }

  /** Catch-up by ordered passes as of a position; rows may be newer than that. */
  *pass(sent: ShardCursor, asOf: number, size: number): Generator<SubscribeChangesResponse> {
    const from = Number(sent.position);
    for (const view of this.views) yield* this.passOf(view, from, sent, asOf, size);
    yield this.frame(from, this.cursor(asOf), []);
  }

  /** The pages of one view. */
  *passOf(
    view: number,
    from: number,
    cursor: ShardCursor,
    asOf: number,
    size: number,
  ): Generator<SubscribeChangesResponse> {
    const state = [...this.state(view, asOf)]
      .filter(([, version]) => version >= 0)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    let afterKey = '';
    for (let i = 0; i === 0 || i < state.length; i += size) {
      const page = state.slice(i, i + size);
      const last = i + size >= state.length;
      const throughKey = page.at(-1)?.[0] ?? '';
      const frame = this.frame(
        from,
        cursor,
        page.map(([key, version]) => ({ view, key, version })),
      );
      frame.pass = create(PassPageSchema, {
        viewId: fromHex(viewId(view)),
        afterKey: keyBytes(afterKey),
        throughKey: keyBytes(throughKey),
        last,
        asOf: BigInt(asOf),
      });
      yield frame;
      afterKey = throughKey;
    }
  }
}

/** The value of a count row, or undefined. */
export function int64(value: number | bigint): Value['kind'] {
  return { case: 'int64', value: BigInt(value) };
}

/** The frames, numbered as a stream numbers them. */
export async function* numbered(
  frames: AsyncIterable<SubscribeChangesResponse>,
): AsyncGenerator<SubscribeChangesResponse> {
  let sequence = 0n;
  for await (const frame of frames) yield { ...frame, sequence: sequence++ };
}
