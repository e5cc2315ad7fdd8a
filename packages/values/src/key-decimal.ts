/**
 * Decimals in keys: bytes that are the same for the same number, whatever its scale, and that sort by number.
 *
 * A number is sign, exponent and digits with 0.d1d2d3… × 10^exponent, d1 and the last digit not 0:
 *
 *     0x01                                  -Infinity
 *     0x02  exponent, digit pairs, all bits turned: more negative sorts first
 *     0x03                                  0
 *     0x04  exponent, digit pairs           positive numbers
 *     0x05                                  Infinity
 *     0x06                                  NaN
 *
 * The exponent is 4 bytes big-endian with the sign bit flipped; a digit pair is a byte, 1 to 100 for 00 to 99, an odd
 * last digit is followed by a 0 to fill the pair, and the byte 0 ends them.
 */
import type { Decimal } from './decimal.ts';
import { formatDecimal, powerOfTen } from './decimal.ts';
import type { KeyReader, KeyWriter } from './key-bytes.ts';

const NEGATIVE = 0x02;
const ZERO = 0x03;
const POSITIVE = 0x04;
const SPECIALS = { '-Infinity': 0x01, Infinity: 0x05, NaN: 0x06 } as const;

export function encodeDecimalKey(writer: KeyWriter, decimal: Decimal): void {
  if (typeof decimal === 'string' || decimal.unscaled === 0n) {
    writer.byte(typeof decimal === 'string' ? SPECIALS[decimal] : ZERO);
    return;
  }
  const negative = decimal.unscaled < 0n;
  const all = (negative ? -decimal.unscaled : decimal.unscaled).toString();
  const digits = withoutTrailingZeros(all);
  writer.byte(negative ? NEGATIVE : POSITIVE);
  writer.int32(all.length - decimal.scale, negative);
  for (let i = 0; i < digits.length; i += 2) {
    const pair = Number(digits.slice(i, i + 2).padEnd(2, '0')) + 1;
    writer.byte(negative ? ~pair & 0xff : pair);
  }
  writer.byte(negative ? 0xff : 0);
}

/** The canonical text of the number without trailing zeros, or undefined when the bytes are no encoding. */
export function decodeDecimalKey(reader: KeyReader): string | undefined {
  const tag = reader.byte();
  if (tag === ZERO) return '0';
  for (const [text, special] of Object.entries(SPECIALS)) if (tag === special) return text;
  if (tag !== NEGATIVE && tag !== POSITIVE) return undefined;
  const negative = tag === NEGATIVE;
  const exponent = reader.int32(negative);
  const digits = readDigits(reader, negative);
  if (exponent === undefined || digits === undefined || Math.abs(exponent) > 0x4_0000) return undefined;
  const unscaled = BigInt(digits) * (negative ? -1n : 1n);
  const scale = digits.length - exponent;
  if (scale >= 0) return formatDecimal({ unscaled, scale });
  return formatDecimal({ unscaled: unscaled * powerOfTen(-scale), scale: 0 });
}

function readDigits(reader: KeyReader, negative: boolean): string | undefined {
  let digits = '';
  for (;;) {
    const byte = reader.byte();
    if (byte === undefined) return undefined;
    const pair = negative ? ~byte & 0xff : byte;
    if (pair === 0) break;
    if (pair > 100) return undefined;
    digits += String(pair - 1).padStart(2, '0');
  }
  const trimmed = withoutTrailingZeros(digits);
  // The writer never starts with the digit 0 and never ends with the pair 00.
  if (trimmed === '' || trimmed.startsWith('0') || digits.length - trimmed.length > 1) return undefined;
  return trimmed;
}

/** Not by a regular expression: it would try at every zero of the text. */
function withoutTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits[end - 1] === '0') end--;
  return digits.slice(0, end);
}
