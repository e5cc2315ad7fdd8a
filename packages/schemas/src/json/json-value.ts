/**
 * JSON as it was written: exact numbers, objects as maps in the order of their keys.
 *
 * Owns the form and exact comparison of numbers. A map is used instead of an object so that no key ("__proto__",
 * "constructor") means anything. Pure.
 */

export type JsonObject = ReadonlyMap<string, JsonValue>;
export type JsonArray = readonly JsonValue[];
export type JsonValue = null | boolean | string | JsonNumber | JsonArray | JsonObject;

/** A number: its text, and its exact value digits * 10^exponent, with no zero at the end of the digits. */
export class JsonNumber {
  readonly text: string;
  readonly digits: bigint;
  readonly exponent: number;

  /** `text` must be a number as JSON writes it, with an exponent that the reader has bounded. */
  constructor(text: string) {
    this.text = text;
    const [mantissa = '', power = '0'] = text.toLowerCase().split('e');
    const [whole = '', fraction = ''] = mantissa.split('.');
    const all = `${whole}${fraction}`;
    const trimmed = all.replace(/0+$/, '');
    const digits = BigInt(trimmed === '' || trimmed === '-' ? '0' : trimmed);
    this.digits = digits;
    this.exponent = digits === 0n ? 0 : Number(power) - fraction.length + (all.length - trimmed.length);
  }

  get isInteger(): boolean {
    return this.exponent >= 0;
  }

  /** The same text for equal numbers: 1, 1.0 and 10e-1 are one. */
  get key(): string {
    return `${this.digits}e${this.exponent}`;
  }
}

/** Below zero when a is the smaller one, exactly. */
export function compareNumbers(a: JsonNumber, b: JsonNumber): number {
  const [left, right] = align(a, b);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Whether a is a whole multiple of b; b is not zero. */
export function isMultiple(a: JsonNumber, b: JsonNumber): boolean {
  const [left, right] = align(a, b);
  return right !== 0n && left % right === 0n;
}

function align(a: JsonNumber, b: JsonNumber): [bigint, bigint] {
  const exponent = Math.min(a.exponent, b.exponent);
  return [a.digits * 10n ** BigInt(a.exponent - exponent), b.digits * 10n ** BigInt(b.exponent - exponent)];
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map;
}

export function isArray(value: JsonValue | undefined): value is JsonArray {
  return Array.isArray(value);
}

/** A text that two values share exactly when JSON Schema takes them for equal: keys sorted, numbers by value. */
export function equalityKey(value: JsonValue): string {
  return printJson(value, { sorted: true, number: (number) => number.key });
}

/** Compact JSON text; with `sorted`, keys in the order of their UTF-16 units. Depth is bounded by the reader. */
export function printJson(
  value: JsonValue,
  options: { readonly sorted?: boolean; readonly number?: (number: JsonNumber) => string } = {},
): string {
  if (value instanceof JsonNumber) return options.number?.(value) ?? value.text;
  if (isArray(value)) return `[${value.map((item) => printJson(item, options)).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = [...value.keys()];
  if (options.sorted) keys.sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${printJson(value.get(key) ?? null, options)}`).join(',')}}`;
}
