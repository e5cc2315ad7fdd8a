/**
 * Frames of SubscribeChanges, built row by row.
 *
 * Owns the message's making. Does not own what goes into it (shard-follower.ts).
 */
import { create } from '@bufbuild/protobuf';
import {
  type PassPage,
  PassPageSchema,
  type RowChange,
  RowChangeSchema,
  ShardCursorSchema,
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
  ViewRowsSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import { keyBytes } from '@freshet/values/key.ts';
import type { EncodedRow } from './fold-port.ts';

export type Frame = SubscribeChangesResponse;

/** Where a subscriber is in a shard. */
export interface Cursor {
  readonly shard: number;
  /** In hex; empty with position 0. */
  readonly logId: string;
  readonly position: number;
  readonly recordCrc: number;
  /** Views that it has whole at the position, ascending. */
  readonly views: readonly string[];
}

export interface FrameHead {
  readonly cursor: Cursor;
  readonly after: number;
  readonly completeThroughUs: number;
  readonly building: readonly string[];
  readonly generation: number;
}

/** What a row costs in a frame beside its key and bytes, about. */
const ROW_BYTES = 12;
const NO_BYTES = new Uint8Array(0);

export class FrameBuilder {
  readonly #views = new Map<string, RowChange[]>();
  #pass: PassPage | undefined;
  #rows = 0;
  #bytes = 0;

  get rows(): number {
    return this.#rows;
  }

  get isPage(): boolean {
    return this.#pass !== undefined;
  }

  /** The size of the rows so far, about. */
  get bytes(): number {
    return this.#bytes;
  }

  add(viewId: string, key: string, row: EncodedRow): void {
    this.#push(viewId, key, row.version, row.bytes);
  }

  /** The key has no row any more. */
  addGone(viewId: string, key: string, version: number): void {
    this.#push(viewId, key, version, NO_BYTES);
  }

  pass(viewId: string, afterKey: string, throughKey: string, last: boolean, asOf: number): void {
    this.#pass = create(PassPageSchema, {
      viewId: fromHex(viewId),
      afterKey: keyBytes(afterKey),
      throughKey: keyBytes(throughKey),
      last,
      asOf: BigInt(asOf),
    });
  }

  finish(head: FrameHead): Frame {
    const { cursor } = head;
    const logId = fromHex(cursor.logId);
    const frame = create(SubscribeChangesResponseSchema, {
      logId,
      shard: cursor.shard,
      after: BigInt(head.after),
      cursor: create(ShardCursorSchema, {
        shard: cursor.shard,
        logId,
        position: BigInt(cursor.position),
        recordCrc: cursor.recordCrc,
        views: cursor.views.map(fromHex),
      }),
      completeThroughUs: BigInt(head.completeThroughUs),
      building: head.building.map(fromHex),
      definitionsGeneration: BigInt(head.generation),
    });
    for (const [viewId, rows] of this.#views) {
      const view = create(ViewRowsSchema);
      view.viewId = fromHex(viewId);
      view.rows = rows;
      frame.rows.push(view);
    }
    if (this.#pass !== undefined) frame.pass = this.#pass;
    return frame;
  }

  #push(viewId: string, key: string, version: number, bytes: Uint8Array): void {
    let rows = this.#views.get(viewId);
    if (rows === undefined) {
      rows = [];
      this.#views.set(viewId, rows);
    }
    // Assigned, not given to create(), which would look at every field of the initial value.
    const change = create(RowChangeSchema);
    change.key = keyBytes(key);
    change.version = BigInt(version);
    change.row = bytes as Uint8Array<ArrayBuffer>;
    rows.push(change);
    this.#rows += 1;
    this.#bytes += ROW_BYTES + key.length + bytes.length;
  }
}
