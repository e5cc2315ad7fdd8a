/**
 * Frames of SubscribeChanges, built row by row.
 *
 * Owns the message's making. Does not own what goes into it (shard-follower.ts).
 */
import { create } from '@bufbuild/protobuf';
import {
  type PassPage,
  PassPageSchema,
  ShardCursorSchema,
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import { keyBytes } from '@freshet/values/key.ts';
import { type RowField, rowField, viewRowsField } from './row-field.ts';

/** A frame to be sent. Its rows are encoded already (`$unknown`): whoever wants to read them decodes its bytes. */
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
  /** Where the rows end that the subscriber has beyond the position; undefined: it has none. */
  readonly ahead?: Place | undefined;
}

/** A position, and the record before it, by which the history is known. */
export interface Place {
  readonly position: number;
  readonly recordCrc: number;
}

export interface FrameHead {
  readonly cursor: Cursor;
  readonly after: number;
  readonly completeThroughUs: number;
  readonly building: readonly string[];
  readonly standing: readonly StandingRows[];
  /** Of the cursor's views, in their order. */
  readonly generations: readonly number[];
  readonly generation: number;
}

/** A view whose rows stand still while its route begins anew. */
export interface StandingRows {
  readonly viewId: string;
  readonly completeThroughUs: number;
}

/** What a page covers. */
export interface PageHead {
  readonly viewId: string;
  readonly afterKey: string;
  readonly throughKey: string;
  readonly last: boolean;
  readonly asOf: number;
  /** Of the view's route. */
  readonly generation: number;
}

interface Rows {
  readonly fields: RowField[];
  bytes: number;
}

const NO_BYTES = new Uint8Array(0);

export class FrameBuilder {
  readonly #views = new Map<string, Rows>();
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

  add(viewId: string, row: RowField): void {
    let rows = this.#views.get(viewId);
    if (rows === undefined) {
      rows = { fields: [], bytes: 0 };
      this.#views.set(viewId, rows);
    }
    rows.fields.push(row);
    rows.bytes += row.length;
    this.#rows += 1;
    this.#bytes += row.length;
  }

  /** The key has no row any more. */
  addGone(viewId: string, key: string, version: number): void {
    this.add(viewId, rowField(key, { version, bytes: NO_BYTES }));
  }

  pass({ viewId, afterKey, throughKey, last, asOf, generation }: PageHead): void {
    this.#pass = create(PassPageSchema, {
      viewId: fromHex(viewId),
      generation,
      afterKey: keyBytes(afterKey),
      throughKey: keyBytes(throughKey),
      last,
      asOf: BigInt(asOf),
    });
  }

  finish(head: FrameHead): Frame {
    const frame = create(SubscribeChangesResponseSchema, {
      ...placeOf(head.cursor),
      after: BigInt(head.after),
      completeThroughUs: BigInt(head.completeThroughUs),
      building: head.building.map(fromHex),
      generations: [...head.generations],
      standing: head.standing.map(({ viewId, completeThroughUs }) => ({
        viewId: fromHex(viewId),
        completeThroughUs: BigInt(completeThroughUs),
      })),
      definitionsGeneration: BigInt(head.generation),
    });
    if (this.#rows > 0) {
      frame.$unknown = [...this.#views].map(([id, { fields, bytes }]) => viewRowsField(fromHex(id), fields, bytes));
    }
    if (this.#pass !== undefined) frame.pass = this.#pass;
    return frame;
  }
}

/** A frame that only says that the shard cannot be followed for now. */
export function unavailableFrame(cursor: Cursor, error: FreshetError): Frame {
  return create(SubscribeChangesResponseSchema, {
    ...placeOf(cursor),
    after: BigInt(cursor.position),
    unavailable: toErrorDetail(error),
  });
}

function placeOf(cursor: Cursor): Pick<Frame, 'logId' | 'shard' | 'cursor'> {
  const { shard, position, recordCrc, views, ahead } = cursor;
  const logId = fromHex(cursor.logId);
  return {
    logId,
    shard,
    cursor: create(ShardCursorSchema, {
      shard,
      logId,
      position: BigInt(position),
      recordCrc,
      views: views.map(fromHex),
      ...(ahead && { aheadPosition: BigInt(ahead.position), aheadCrc: ahead.recordCrc }),
    }),
  };
}
