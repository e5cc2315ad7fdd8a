/**
 * Rows as they lie in a frame, so that a row is encoded once for all its followers.
 *
 * Owns the wire format of ViewRows (proto/freshet/compute/v1/compute.proto), written by hand. Does not own which rows a
 * frame has. With protobuf-es' own encoding of each row for each follower, a hundred followers cost twice as much.
 */
import { ByteSink, WIRE_BYTES, WIRE_VARINT } from '@freshet/log/byte-sink.ts';
import { keyBytes } from '@freshet/values/key.ts';
import type { EncodedRow } from './fold-port.ts';

/** Field numbers of compute.proto. */
const RESPONSE_ROWS = 7;
const VIEW_ID = 1;
const VIEW_ROWS = 2;
const CHANGE_KEY = 1;
const CHANGE_VERSION = 2;
const CHANGE_ROW = 3;

/** One `rows` field of a ViewRows, tag and length included. */
export type RowField = Uint8Array;

/** A field of a SubscribeChangesResponse that is encoded already, as protobuf-es keeps fields that it does not know. */
export interface EncodedField {
  readonly no: number;
  readonly wireType: typeof WIRE_BYTES;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Only used within a call. */
const sink = new ByteSink(4096);

/** The field of a row; one without bytes says that the key has no row any more. */
export function rowField(key: string, { version, bytes }: EncodedRow): RowField {
  sink.clear();
  sink.tag(VIEW_ROWS, WIRE_BYTES);
  const mark = sink.begin();
  sink.tag(CHANGE_KEY, WIRE_BYTES);
  sink.bytes(keyBytes(key));
  sink.tag(CHANGE_VERSION, WIRE_VARINT);
  sink.varint(version);
  if (bytes.length > 0) {
    sink.tag(CHANGE_ROW, WIRE_BYTES);
    sink.bytes(bytes);
  }
  sink.end(mark);
  return sink.take();
}

/** The rows of one view, as a field of the frame. `bytes` is their length. */
export function viewRowsField(viewId: Uint8Array, rows: readonly RowField[], bytes: number): EncodedField {
  sink.clear();
  sink.varint(2 + viewId.length + bytes);
  sink.tag(VIEW_ID, WIRE_BYTES);
  sink.bytes(viewId);
  const head = sink.take();
  const data = new Uint8Array(head.length + bytes);
  data.set(head);
  let at = head.length;
  for (const row of rows) {
    data.set(row, at);
    at += row.length;
  }
  return { no: RESPONSE_ROWS, wireType: WIRE_BYTES, data };
}
