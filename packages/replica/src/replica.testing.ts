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

/** An encoded Row of countView: the count is the version. */
export function countRow(version: number): Uint8Array {
  const columns = [create(ValueColumnSchema, { int64s: [BigInt(version)] })];
  return toBinary(RowSchema, create(RowSchema, { version: BigInt(version), timelines: [{ unitUs: 1n, columns }] }));
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

/** A generation of a view's route: its rows are of the records from `begin` to the next one's, and show from `end` on. */
interface Generation {
  readonly view: number;
  readonly number: number;
  readonly begin: number;
  end: number;
}

/** What is shown of a view at a position. */
export interface Shown {
  readonly generation: number;
  /** The position since which it is shown. */
  readonly completeAt: number;
  /** Where the next generation began, if it has: from there on the rows stand still. */
  readonly standsFrom: number | undefined;
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

  readonly #generations: Generation[] = [];

  /** The newest generation that has begun. */
  newest(view: number): Generation {
    return this.#generations.findLast((g) => g.view === view) ?? { view, number: 1, begin: -1, end: -1 };
  }

  /** Appends the record that begins the view's next generation, or the one that ends the snapshot of that which began. */
  turn(view: number, what: 'begin' | 'end'): void {
    const newest = this.newest(view);
    if (what === 'end' && newest.end < Number.POSITIVE_INFINITY) return;
    if (what === 'end') newest.end = this.end;
    else this.#generations.push({ view, number: newest.number + 1, begin: this.end, end: Number.POSITIVE_INFINITY });
    this.records.push({ view: 0, key: '', drops: false });
  }

  shown(view: number, position: number): Shown {
    const all = this.#generations.filter((g) => g.view === view && g.begin < position);
    const at = all.findLastIndex(({ end }) => end < position);
    const { number, end } = all[at] ?? { number: 1, end: -1 };
    return { generation: number, completeAt: end + 1, standsFrom: all[at + 1]?.begin };
  }

  /**
   * Versions by key at a position; a negative one says that the row went at that version. Of the generation that is shown
   * there, or of another one.
   */
  state(
    view: number,
    position: number,
    generation: number = this.shown(view, position).generation,
  ): Map<string, number> {
    const rows = new Map<string, number>();
    const [from, to] = this.#stretch(view, generation);
    this.records.slice(0, Math.min(position, to)).forEach(({ view: v, key, drops }, offset) => {
      if (v === view && offset > from) rows.set(key, drops ? -offset - 1 : offset);
    });
    return rows;
  }

  /** Through where a generation's rows can be complete: the next one begins there. */
  completeUntil(view: number, generation: number): number {
    return this.#stretch(view, generation)[1];
  }

  /** The records that make a generation's rows lie between the two. */
  #stretch(view: number, generation: number): readonly [number, number] {
    const all = this.#generations.filter((g) => g.view === view);
    const from = all.find(({ number }) => number === generation)?.begin ?? -1;
    return [from, all.find(({ number }) => number > generation)?.begin ?? Number.POSITIVE_INFINITY];
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
    at: number = Number(cursor.position),
  ): SubscribeChangesResponse {
    const shown = cursor.views.map((id) => ({ viewId: id, ...this.shown(id[0] ?? 0, at) }));
    return create(SubscribeChangesResponseSchema, {
      logId: fromHex(this.logId),
      shard: this.shard,
      after: BigInt(after),
      cursor,
      completeThroughUs: cursor.position * 1000n,
      definitionsGeneration: 1n,
      generations: shown.map(({ generation }) => generation),
      standing: shown.flatMap(({ viewId, standsFrom }) =>
        standsFrom === undefined ? [] : [{ viewId, completeThroughUs: BigInt(standsFrom) * 1000n }],
      ),
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
      return [...keys].flatMap((key) => {
        const version = state.get(key);
        return version === undefined ? [] : [{ view, key, version }];
      });
    });
  }

  /** Catch-up by the journal: in pieces, the cursor moving with the last. */
  *journal(sent: ShardCursor, to: number, size: number): Generator<SubscribeChangesResponse> {
    const from = Number(sent.position);
    const rows = this.changed(from, to, to);
    for (let i = 0; i < rows.length; i += size) yield this.frame(from, sent, rows.slice(i, i + size), to);
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
    at: number = asOf,
  ): Generator<SubscribeChangesResponse> {
    const { generation } = this.shown(view, at);
    const state = [...this.state(view, asOf, generation)]
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
        at,
      );
      frame.pass = create(PassPageSchema, {
        viewId: fromHex(viewId(view)),
        afterKey: keyBytes(afterKey),
        throughKey: keyBytes(throughKey),
        last,
        asOf: BigInt(asOf),
        generation,
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
