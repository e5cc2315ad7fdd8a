/**
 * The bytes of an exact sum of doubles, always of its canonical form.
 *
 *     0 <double>                                       a plain finite sum
 *     n <double>*n                                     an expansion, n >= 2
 *     1 <n> <double>*n <flag [zigzag bigint]> <counts>  anything else
 */
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { type DoubleSum, normaliseDoubleSum } from './exact-double.ts';

const PLAIN = 0;
const WIDE = 1;

export function writeDoubleSum(writer: ByteWriter, sum: DoubleSum): void {
  const canonical = normaliseDoubleSum(sum);
  if (typeof canonical === 'number') {
    writer.byte(PLAIN);
    writer.double(canonical);
    return;
  }
  if (Array.isArray(canonical)) {
    writer.varint(canonical.length);
    for (const partial of canonical) writer.double(partial);
    return;
  }
  writer.byte(WIDE);
  writer.varint(canonical.partials.length);
  for (const partial of canonical.partials) writer.double(partial);
  writer.bool(canonical.fixed !== undefined);
  if (canonical.fixed !== undefined) writer.bigZigzag(canonical.fixed);
  writer.nonFinite(canonical.nonFinite);
}

/** The sum of two doubles of which the high one is the sum rounded once: the same bytes that writeDoubleSum makes of it. */
export function writeDoublePair(writer: ByteWriter, high: number, low: number): void {
  writer.byte(low === 0 ? PLAIN : 2);
  if (low !== 0) writer.double(low);
  writer.double(high);
}

export function readDoubleSum(reader: ByteReader): DoubleSum {
  const form = reader.varint();
  if (form === PLAIN) return reader.double();
  if (form !== WIDE) return readDoubles(reader, form);
  const partials = readDoubles(reader, reader.varint());
  const fixed = reader.bool() ? BigInt(reader.bigZigzag()) : undefined;
  return { partials, fixed, nonFinite: reader.nonFinite() };
}

function readDoubles(reader: ByteReader, count: number): number[] {
  const doubles: number[] = [];
  for (let left = count; left > 0; left--) doubles.push(reader.double());
  return doubles;
}
