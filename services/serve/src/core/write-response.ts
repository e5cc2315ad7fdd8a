/**
 * Writes a GetFeaturesResponse from the steps of the rows, column by column. By hand: see read-request.ts; held
 * together with protobuf-es by write-response.test.ts.
 *
 * Owns the wire format of the answer. Statuses are written only for a column in which some value is not PRESENT.
 */
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { RowBatch } from '@freshet/replica/row-batch.ts';
import { FIRST_NUMBER, type Step } from '@freshet/replica/row-step.ts';
import type { Integer } from '@freshet/replica/wire-reader.ts';
import { type BackwardWriter, putSint64 } from './backward-writer.ts';
import type { SelectedOutput, Selection } from './selection.ts';

const STATUSES_FIELD = 15;
const LENGTH_DELIMITED = 2;

/** What an answer is written from. */
export interface Answer {
  readonly selection: Selection;
  /** Entities asked for. */
  readonly count: number;
  /** By the selection's views; there may be more. */
  readonly batches: readonly RowBatch[];
  /** Whether rows' versions and event times are asked for. */
  readonly rowInfo: boolean;
}

/** The encoded response. Times in microseconds. Throws REQUEST_TOO_LARGE. */
export function writeResponse(
  writer: BackwardWriter,
  { selection: { outputs, views }, count, batches, rowInfo }: Answer,
  asOfUs: number,
  completeThroughUs: number,
): Buffer {
  // What an answer that could not be finished left behind must not be the end of this one.
  writer.reset();
  for (let i = rowInfo ? views.length - 1 : -1; i >= 0; i--) {
    writeRowInfo(writer, must(views[i]).view.name, must(batches[i]).steps);
  }
  if (completeThroughUs !== 0) {
    writer.sint64(completeThroughUs);
    writer.varint(0x18);
  }
  if (asOfUs !== 0) {
    writer.sint64(asOfUs);
    writer.varint(0x10);
  }
  for (let i = outputs.length - 1; i >= 0; i--) {
    const output = outputs[i] as SelectedOutput;
    const batch = batches[output.view] as RowBatch;
    const mark = writer.length;
    if (!batch.allPresent) writeStatuses(writer, batch.steps, output.feature);
    if (count > 0) writeValues(writer, batch, output);
    writer.delimit(0x12, mark);
    writer.bytes(output.encodedName);
    writer.delimit(0x0a, mark);
  }
  return writer.finish();
}

function writeStatuses(writer: BackwardWriter, steps: readonly Step[], feature: number): void {
  if (steps.every(({ statuses }) => statuses[feature] === ValueStatus.PRESENT)) return;
  const mark = writer.length;
  // Every status is one byte as a varint.
  writer.ensure(steps.length);
  for (let i = steps.length - 1; i >= 0; i--) {
    writer.position -= 1;
    writer.buffer[writer.position] = (steps[i] as Step).statuses[feature] as ValueStatus;
  }
  writer.delimit((STATUSES_FIELD << 3) | LENGTH_DELIMITED, mark);
}

function writeValues(writer: BackwardWriter, batch: RowBatch, { kind, feature }: SelectedOutput): void {
  // The list's field number is the kind's number.
  const tag = (kind << 3) | LENGTH_DELIMITED;
  const mark = writer.length;
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      if (batch.allNumbers || areNumbers(batch.steps, feature))
        writeIntegers(writer, batch.numbers, FIRST_NUMBER + feature);
      else writeMixedIntegers(writer, batch.steps, feature);
      break;
    case Kind.DOUBLE:
      writeDoubles(writer, batch.numbers, FIRST_NUMBER + feature);
      break;
    case Kind.BOOL:
      writeBools(writer, batch.numbers, FIRST_NUMBER + feature);
      break;
    default:
      writeTexts(writer, batch.steps, feature, tag);
      return;
  }
  writer.delimit(tag, mark);
}

function writeIntegers(writer: BackwardWriter, rows: readonly (readonly number[])[], index: number): void {
  writer.ensure(rows.length * 10);
  const { buffer } = writer;
  let at = writer.position;
  for (let i = rows.length - 1; i >= 0; i--) {
    const value = (rows[i] as readonly number[])[index] as number;
    // Most values are small: their zigzag form has one or two bytes.
    if (value < 0x2000 && value >= -0x2000) {
      const zigzag = (value << 1) ^ (value >> 31);
      if (zigzag < 0x80) buffer[--at] = zigzag;
      else {
        buffer[--at] = zigzag >>> 7;
        buffer[--at] = (zigzag & 0x7f) | 0x80;
      }
    } else at = putSint64(buffer, at, value);
  }
  writer.position = at;
}

/** Whether every value of the feature is a number, whatever the row's other features are. */
function areNumbers(steps: readonly Step[], feature: number): boolean {
  for (let i = 0; i < steps.length; i++) if ((steps[i] as Step).others?.[feature] !== undefined) return false;
  return true;
}

function writeMixedIntegers(writer: BackwardWriter, steps: readonly Step[], feature: number): void {
  for (let i = steps.length - 1; i >= 0; i--) writer.sint64((steps[i] as Step).value(feature) as Integer);
}

function writeDoubles(writer: BackwardWriter, rows: readonly (readonly number[])[], index: number): void {
  writer.ensure(rows.length * 8);
  const { view } = writer;
  let at = writer.position;
  for (let i = rows.length - 1; i >= 0; i--) {
    at -= 8;
    view.setFloat64(at, (rows[i] as readonly number[])[index] as number, true);
  }
  writer.position = at;
}

function writeBools(writer: BackwardWriter, rows: readonly (readonly number[])[], index: number): void {
  writer.ensure(rows.length);
  const { buffer } = writer;
  let at = writer.position;
  for (let i = rows.length - 1; i >= 0; i--) buffer[--at] = (rows[i] as readonly number[])[index] as number;
  writer.position = at;
}

function writeTexts(writer: BackwardWriter, steps: readonly Step[], feature: number, tag: number): void {
  for (let i = steps.length - 1; i >= 0; i--) {
    const bytes = (steps[i] as Step).value(feature) as Uint8Array;
    writer.bytes(bytes);
    writer.varint(bytes.length);
    writer.varint(tag);
  }
}

function writeRowInfo(writer: BackwardWriter, view: string, rows: readonly Step[]): void {
  const mark = writer.length;
  for (let i = rows.length - 1; i >= 0; i--) writer.sint64((rows[i] as Step).eventTimeUs);
  if (rows.length > 0) writer.delimit(0x1a, mark);
  const versions = writer.length;
  for (let i = rows.length - 1; i >= 0; i--) writer.varint((rows[i] as Step).version + 1);
  if (rows.length > 0) writer.delimit(0x12, versions);
  const name = Buffer.from(view, 'utf8');
  writer.bytes(name);
  writer.varint(name.length);
  writer.varint(0x0a);
  writer.delimit(0x22, mark);
}
