/**
 * Options and default values of a .proto tree as descriptors hold them.
 *
 * Owns what the options mean that Protobuf defines itself. An option that is an extension, that does not exist or whose
 * value does not fit is left out: the text keeps it, and whoever builds the text is told (checking options is no part of
 * this registry's reading). Pure; nesting is bounded by what was parsed.
 */
import { create, type DescField, type DescMessage, type MessageShape, ScalarType } from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { FieldDescriptorProto_Type as Type } from '@bufbuild/protobuf/wkt';
import type { ProtoOption } from './proto-file.ts';
import { ProtoLexer } from './proto-lexer.ts';

/** The options that Protobuf defines; undefined when there are none of them. */
export function optionsMessage<Desc extends DescMessage>(
  schema: Desc,
  options: readonly ProtoOption[],
): MessageShape<Desc> | undefined {
  if (options.length === 0) return undefined;
  let isEmpty = true;
  const message = create(schema);
  for (const { name, value } of options) {
    // One with an extension anywhere in its name is an extension's.
    if (name.includes('(')) continue;
    if (setAt(reflect(schema, message), name.split('.'), new ProtoLexer(value))) isEmpty = false;
  }
  return isEmpty ? undefined : message;
}

function setAt(message: ReflectMessage, path: readonly string[], lexer: ProtoLexer): boolean {
  const [first = '', ...rest] = path;
  const field = message.desc.fields.find(({ name }) => name === first);
  if (field === undefined) return false;
  if (rest.length === 0) return setField(message, field, lexer);
  if (field.fieldKind !== 'message') return false;
  const inner = message.isSet(field) ? message.get(field) : reflect(field.message, create(field.message));
  if (!setAt(inner, rest, lexer)) return false;
  message.set(field, inner);
  return true;
}

function setField(message: ReflectMessage, field: DescField, lexer: ProtoLexer): boolean {
  if (field.fieldKind === 'list' && lexer.takeIf('[')) {
    let isSet = false;
    while (!lexer.takeIf(']')) {
      if (lexer.peek().kind === 'end') return isSet;
      isSet = setField(message, field, lexer) || isSet;
      lexer.takeIf(',');
    }
    return isSet;
  }
  const value = field.message === undefined ? scalarOf(field, lexer) : messageOf(field.message, lexer);
  if (value === undefined) return false;
  if (field.fieldKind === 'list') return message.get(field).add(value) === undefined;
  // None of Protobuf's own options is a map.
  if (field.fieldKind === 'map') return false;
  message.set(field, value);
  return true;
}

/** Text format, in the spelling of parse-options.ts: { a: 1, b: { c: "x" } }. */
function messageOf(schema: DescMessage, lexer: ProtoLexer): ReflectMessage | undefined {
  if (!lexer.takeIf('{')) {
    skipValue(lexer);
    return undefined;
  }
  const message = reflect(schema, create(schema));
  while (!lexer.takeIf('}')) {
    if (lexer.peek().kind === 'end') return undefined;
    const name = lexer.next().text;
    if (name === '[') while (lexer.peek().kind !== 'end' && !lexer.takeIf(']')) lexer.next();
    lexer.takeIf(':');
    const field = name === '[' ? undefined : schema.fields.find((each) => each.name === name);
    if (field === undefined) skipValue(lexer);
    else setField(message, field, lexer);
    lexer.takeIf(',');
  }
  return message;
}

/** One value of whatever form, with all that is in it. */
function skipValue(lexer: ProtoLexer): void {
  lexer.takeIf('-');
  let depth = 0;
  do {
    const { kind, text } = lexer.next();
    if (kind === 'end') return;
    if (kind !== 'sign') continue;
    if (text === '{' || text === '[') depth++;
    else if (text === '}' || text === ']') depth--;
  } while (depth > 0);
}

/** A value of a scalar or an enum; undefined when it does not fit. */
function scalarOf(field: DescField, lexer: ProtoLexer): string | number | bigint | boolean | Uint8Array | undefined {
  const isNegative = lexer.takeIf('-');
  const token = lexer.peek();
  if (token.text === '{' || token.text === '[') {
    skipValue(lexer);
    return undefined;
  }
  lexer.next();
  if (field.enum !== undefined) return field.enum.values.find(({ name }) => name === token.text)?.number;
  switch (field.scalar) {
    case ScalarType.STRING:
      return token.kind === 'string' ? textOf(token.text) : undefined;
    case ScalarType.BYTES:
      return token.kind === 'string' ? bytesOf(token.text) : undefined;
    case ScalarType.BOOL:
      return token.text === 'true' ? true : token.text === 'false' ? false : undefined;
    case ScalarType.INT32:
    case ScalarType.UINT32: {
      const value = Number(wholeOf(token.text)) * (isNegative ? -1 : 1);
      const [least, most] = field.scalar === ScalarType.INT32 ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
      return value >= least && value <= most ? value : undefined;
    }
    case ScalarType.UINT64:
    case ScalarType.INT64: {
      const value = wholeOf(token.text);
      return value === undefined || value >= 2n ** 63n ? undefined : isNegative ? -value : value;
    }
    case ScalarType.DOUBLE:
      return (isNegative ? -1 : 1) * numberOf(token.text);
    default:
      return undefined;
  }
}

/** The value of `default` as a descriptor writes it, by the field's type; undefined when it is not quoted as that takes. */
export function defaultText(value: string, type: Type): string | undefined {
  if (value.startsWith('"') !== (type === Type.STRING || type === Type.BYTES)) return undefined;
  switch (type) {
    case Type.STRING:
      return textOf(value.slice(1, -1));
    case Type.BYTES:
      return escapedBytes(bytesOf(value.slice(1, -1)));
    case Type.BOOL:
    case Type.ENUM:
      return value;
    case Type.FLOAT:
    case Type.DOUBLE:
      return floatText(value, type === Type.FLOAT);
    default: {
      const whole = wholeOf(value.replace('-', ''));
      return whole === undefined ? value : String(value.startsWith('-') ? -whole : whole);
    }
  }
}

function wholeOf(text: string): bigint | undefined {
  if (!/^(?:0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text)) return undefined;
  return BigInt(/^0[0-7]+$/.test(text) ? `0o${text.slice(1)}` : text);
}

function numberOf(text: string): number {
  if (/^inf(?:inity)?$/i.test(text)) return Number.POSITIVE_INFINITY;
  const whole = wholeOf(text);
  return whole === undefined ? Number(text) : Number(whole);
}

/** As C prints it with %g, in the fewest of 15 or 17 digits (6 or 9 of a float) that read back as the same. */
function floatText(value: string, isFloat: boolean): string {
  const magnitude = numberOf(value.replace('-', ''));
  const sign = value.startsWith('-') ? '-' : '';
  if (Number.isNaN(magnitude)) return 'nan';
  const number = isFloat ? Math.fround(magnitude) : magnitude;
  if (!Number.isFinite(number)) return `${sign}inf`;
  const [few, many] = isFloat ? [6, 9] : [15, 17];
  const back = (text: string) => (isFloat ? Math.fround(Number(text)) : Number(text));
  const digits = back(number.toPrecision(few)) === number ? few : many;
  return sign + general(number, digits);
}

function general(number: number, digits: number): string {
  if (number === 0) return '0';
  const [mantissa = '', power = '0'] = number.toExponential(digits - 1).split('e');
  const exponent = Number(power);
  const trimmed = (text: string) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (exponent >= -4 && exponent < digits) return trimmed(number.toFixed(Math.max(0, digits - 1 - exponent)));
  const tail = String(Math.abs(exponent)).padStart(2, '0');
  return `${trimmed(mantissa)}e${exponent < 0 ? '-' : '+'}${tail}`;
}

/** What stands between quotes, without its escapes, as text; what is no Unicode becomes U+FFFD. */
export function textOf(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.toWellFormed();
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytesOf(quoted));
}

const LETTERS: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 };
const PIECE = /\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|[^\\]+/gs;

/** What stands between quotes, without its escapes, as bytes. */
export function bytesOf(quoted: string): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  const encoder = new TextEncoder();
  const add = (text: string) => {
    for (const byte of encoder.encode(text)) bytes.push(byte);
  };
  for (const [whole, octal, hex, short, long, letter] of quoted.matchAll(PIECE)) {
    if (octal !== undefined) bytes.push(Number.parseInt(octal, 8) & 0xff);
    else if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (short !== undefined || long !== undefined)
      add(String.fromCodePoint(Number.parseInt(short ?? long ?? '', 16)));
    else if (letter === undefined) add(whole);
    else bytes.push(LETTERS[letter] ?? letter.charCodeAt(0));
  }
  return Uint8Array.from(bytes);
}

const ESCAPES: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r', 34: '\\"', 39: "\\'", 92: '\\\\' };

/** As C writes bytes between quotes. */
function escapedBytes(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (const byte of bytes)
    parts.push(
      ESCAPES[byte] ??
        (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`),
    );
  return parts.join('');
}
