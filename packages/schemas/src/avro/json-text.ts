/**
 * JSON as Avro needs it: numbers stay the text they were written as (a default over 2^53 must come out as it went in),
 * objects are Maps in the order they were written, so that a key like __proto__ is a key. Comments are passed over, as
 * Avro's own parser does. Depth is bounded; a key that comes twice in one object is refused.
 *
 * Owns reading and printing JSON. Does not own what it means. Pure.
 */
import { InvalidSchema } from '../schema.ts';

/** A number as it was written: "9007199254740993", "1e3". */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type JsonObject = ReadonlyMap<string, JsonValue>;
export type JsonValue = null | boolean | string | JsonNumber | readonly JsonValue[] | JsonObject;

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map;
}

export function isJsonArray(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Space, tab and the ends of lines. */
const BLANKS: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** Reads one value that is the whole text. Throws InvalidSchema with the place; `tooLarge` when it nests too deep. */
export function parseJsonText(text: string, depthMax: number): JsonValue {
  const reader = new JsonReader(text, depthMax);
  return reader.readAll();
}

/** The value on one line, numbers as they were read. The value came from parseJsonText, so its depth is bounded. */
export function printJson(value: JsonValue): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (value instanceof JsonNumber) return value.text;
  if (isJsonArray(value)) return `[${value.map(printJson).join(',')}]`;
  return `{${[...(value as JsonObject)].map(([key, each]) => `${JSON.stringify(key)}:${printJson(each)}`).join(',')}}`;
}

/** As printJson, with the keys of every object in one order. */
export function printSortedJson(value: JsonValue): string {
  if (isJsonArray(value)) return `[${value.map(printSortedJson).join(',')}]`;
  if (!isJsonObject(value)) return printJson(value);
  const entries = [...value].sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, each]) => `${JSON.stringify(key)}:${printSortedJson(each)}`).join(',')}}`;
}

class JsonReader {
  readonly #text: string;
  readonly #depthMax: number;
  #at = 0;

  constructor(text: string, depthMax: number) {
    this.#text = text;
    this.#depthMax = depthMax;
  }

  readAll(): JsonValue {
    const value = this.#readValue(0);
    this.#skipBlank();
    if (this.#at < this.#text.length) throw this.#wrong('expected the end of the text');
    return value;
  }

  #readValue(depth: number): JsonValue {
    if (depth > this.#depthMax)
      throw new InvalidSchema(`The schema nests deeper than ${this.#depthMax} levels.`, { tooLarge: true });
    this.#skipBlank();
    const first = this.#text[this.#at];
    if (first === '{') return this.#readObject(depth);
    if (first === '[') return this.#readArray(depth);
    if (first === '"') return this.#readString();
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const)
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    const number = this.#match(NUMBER);
    if (number === '') throw this.#wrong('expected a JSON value');
    return new JsonNumber(number);
  }

  #readObject(depth: number): JsonObject {
    const object = new Map<string, JsonValue>();
    this.#at++;
    if (this.#skipIf('}')) return object;
    do {
      this.#skipBlank();
      if (this.#text[this.#at] !== '"') throw this.#wrong('expected a key in quotes');
      const key = this.#readString();
      if (object.has(key)) throw this.#wrong(`the key ${JSON.stringify(key)} comes twice; keep one`);
      if (!this.#skipIf(':')) throw this.#wrong('expected ":"');
      object.set(key, this.#readValue(depth + 1));
    } while (this.#skipIf(','));
    if (!this.#skipIf('}')) throw this.#wrong('expected "," or "}"');
    return object;
  }

  #readArray(depth: number): readonly JsonValue[] {
    const array: JsonValue[] = [];
    this.#at++;
    if (this.#skipIf(']')) return array;
    do array.push(this.#readValue(depth + 1));
    while (this.#skipIf(','));
    if (!this.#skipIf(']')) throw this.#wrong('expected "," or "]"');
    return array;
  }

  #readString(): string {
    const parts: string[] = [];
    this.#at++;
    for (;;) {
      parts.push(this.#readPlain());
      const next = this.#text[this.#at];
      if (next === '"') break;
      if (next !== '\\') throw this.#wrong('a string that does not end, or with a control character');
      const escaped = this.#text[this.#at + 1] ?? '';
      const hex = this.#text.slice(this.#at + 2, this.#at + 6);
      if (escaped === 'u' && /^[0-9a-fA-F]{4}$/.test(hex)) {
        parts.push(String.fromCharCode(Number.parseInt(hex, 16)));
        this.#at += 6;
        continue;
      }
      const plain = ESCAPES.get(escaped);
      if (plain === undefined) throw this.#wrong('an escape that JSON does not know');
      parts.push(plain);
      this.#at += 2;
    }
    this.#at++;
    return parts.join('');
  }

  #skipIf(character: string): boolean {
    this.#skipBlank();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** What of a string needs no decoding: up to what ends or escapes it, or must not be there. */
  #readPlain(): string {
    const from = this.#at;
    for (; this.#at < this.#text.length; this.#at++) {
      const code = this.#text.charCodeAt(this.#at);
      if (code < 0x20 || code === QUOTE || code === BACKSLASH) break;
    }
    return this.#text.slice(from, this.#at);
  }

  #skipBlank(): void {
    for (;;) {
      while (BLANKS.has(this.#text.charCodeAt(this.#at))) this.#at++;
      let end: number;
      if (this.#text.startsWith('//', this.#at)) end = this.#text.indexOf('\n', this.#at);
      else if (this.#text.startsWith('/*', this.#at)) end = this.#text.indexOf('*/', this.#at + 2) + 1;
      else return;
      // A comment that never ends hides the rest.
      this.#at = end <= 0 ? this.#text.length : end + 1;
    }
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #wrong(what: string): InvalidSchema {
    const line = this.#text.slice(0, this.#at).split('\n').length;
    return new InvalidSchema(`The schema is no JSON: ${what}, at character ${this.#at} (line ${line}).`);
  }
}
