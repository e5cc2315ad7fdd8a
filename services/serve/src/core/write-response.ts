/**
 * Writes a GetFeaturesResponse from the steps of the rows, column by column. By hand: see read-request.ts; held
 * together with protobuf-es by write-response.test.ts.
 *
 * Owns the wire format of the answer. Statuses are written only for a column in which some value is not PRESENT.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Held } from '@freshet/replica/held.ts';
import type { Step } from '@freshet/replica/row-step.ts';
import { type BackwardWriter, putSint64 } from './backward-writer.ts';
import type { Gather } from './gather.ts';

const STATUSES_FIELD = 15;
const LENGTH_DELIMITED = 2;

/** The encoded response. Times in microseconds. */
export function writeResponse(
  writer: BackwardWriter,
  answer: Gather,
  asOfUs: number,
  completeThroughUs: number,
): Buffer {
  for (let i = answer.rows.length - 1; i >= 0; i--) {
    writeRowInfo(writer, must(answer.selection.views[i]).view.name, must(answer.rows[i]));
  }
  if (completeThroughUs !== 0) {
    writer.sint64(completeThroughUs);
    writer.varint(0x18);
  }
  if (asOfUs !== 0) {
    writer.sint64(asOfUs);
    writer.varint(0x10);
  }
  const { outputs } = answer.selection;
  for (let i = outputs.length - 1; i >= 0; i--) {
    const { kind, encodedName } = must(outputs[i]);
    const mark = writer.length;
    if (answer.sparse[i] !== 0) writeStatuses(writer, answer, i);
    if (answer.count > 0) writeValues(writer, answer, i, kind);
    writer.delimit(0x12, mark);
    writer.bytes(encodedName);
    writer.delimit(0x0a, mark);
  }
  return writer.finish();
}

function writeStatuses(writer: BackwardWriter, { statuses, count }: Gather, output: number): void {
  const mark = writer.length;
  // Every status is one byte as a varint.
  writer.bytes(statuses.subarray(output * count, (output + 1) * count));
  writer.delimit((STATUSES_FIELD << 3) | LENGTH_DELIMITED, mark);
}

function writeValues(writer: BackwardWriter, answer: Gather, output: number, kind: Kind): void {
  // The list's field number is the kind's number.
  const tag = (kind << 3) | LENGTH_DELIMITED;
  const mark = writer.length;
  const base = output * answer.count;
  const others = answer.others[output];
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      if (others === undefined) writeIntegers(writer, answer, base);
      else writeMixedIntegers(writer, answer, base, others);
      break;
    case Kind.DOUBLE:
      writeDoubles(writer, answer, base);
      break;
    case Kind.BOOL:
      writeBools(writer, answer, base);
      break;
    default:
      writeTexts(writer, must(others), tag);
      return;
  }
  writer.delimit(tag, mark);
}

function writeIntegers(writer: BackwardWriter, { numbers, count }: Gather, base: number): void {
  writer.ensure(count * 10);
  const { buffer } = writer;
  let at = writer.position;
  for (let i = base + count - 1; i >= base; i--) {
    const value = numbers[i] as number;
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

function writeMixedIntegers(
  writer: BackwardWriter,
  { numbers, count }: Gather,
  base: number,
  others: readonly (Held | undefined)[],
): void {
  for (let i = count - 1; i >= 0; i--)
    writer.sint64((others[i] as bigint | undefined) ?? (numbers[base + i] as number));
}

// Protobuf's doubles are little-endian, as is memory on every platform that Node is released for but one.
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function writeDoubles(writer: BackwardWriter, { numbers, count }: Gather, base: number): void {
  if (LITTLE_ENDIAN) {
    writer.bytes(new Uint8Array(numbers.buffer, base * 8, count * 8));
    return;
  }
  writer.ensure(count * 8);
  for (let i = base + count - 1; i >= base; i--) {
    writer.position -= 8;
    writer.buffer.writeDoubleLE(numbers[i] as number, writer.position);
  }
}

function writeBools(writer: BackwardWriter, { numbers, count }: Gather, base: number): void {
  writer.ensure(count);
  const { buffer } = writer;
  let at = writer.position;
  for (let i = base + count - 1; i >= base; i--) buffer[--at] = numbers[i] as number;
  writer.position = at;
}

function writeTexts(writer: BackwardWriter, texts: readonly (Held | undefined)[], tag: number): void {
  for (let i = texts.length - 1; i >= 0; i--) {
    const bytes = texts[i] as Uint8Array;
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
