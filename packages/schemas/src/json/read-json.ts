/**
 * Reads JSON text that nobody vouches for, within bounds, and keeps numbers exactly.
 *
 * Owns syntax and bounds: depth, and how long a number is. Throws InvalidSchema and nothing else. The reader of the
 * language is not used, because it rounds numbers, takes the last of two equal keys without a word, and has no bound
 * of depth. Pure.
 */
import { InvalidSchema } from '../schema.ts';
import { JsonNumber, type JsonValue } from './json-value.ts';

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = /[ \t\n\r]*/y;
/** Longer numbers are an attack on whoever computes with them, and no schema needs one. */
const NUMBER_CHARACTERS_MAX = 400;
const EXPONENT_MAX = 400;

/** The value of a text. `charactersMax` is the caller's to check. */
export function readJson(text: string, depthMax: number): JsonValue {
  const reader = new Reader(text, depthMax);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  readonly #depthMax: number;
  #at = 0;

  constructor(text: string, depthMax: number) {
    this.#text = text;
    this.#depthMax = depthMax;
  }

  value(depth: number): JsonValue {
    this.#match(SPACE);
    const value = this.#bare(depth);
    this.#match(SPACE);
    return value;
  }

  end(): void {
    if (this.#at < this.#text.length) this.#fail('unexpected text after the end');
  }

  #bare(depth: number): JsonValue {
    const first = this.#text[this.#at];
    if (first === '{' || first === '[') {
      if (depth >= this.#depthMax)
        throw new InvalidSchema(`The schema nests deeper than ${this.#depthMax} levels.`, { tooLarge: true });
      this.#at++;
      return first === '{' ? this.#object(depth + 1) : this.#array(depth + 1);
    }
    if (first === '"') return this.#string();
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  #object(depth: number): JsonValue {
    const object = new Map<string, JsonValue>();
    this.#match(SPACE);
    if (this.#take('}')) return object;
    for (;;) {
      this.#match(SPACE);
      if (this.#text[this.#at] !== '"') this.#fail('expected a key in quotes');
      const key = this.#string();
      if (object.has(key)) this.#fail(`the key ${JSON.stringify(key.slice(0, 60))} is there twice`);
      this.#match(SPACE);
      if (!this.#take(':')) this.#fail('expected ":"');
      object.set(key, this.value(depth));
      if (this.#take('}')) return object;
      if (!this.#take(',')) this.#fail('expected "," or "}"');
    }
  }

  #array(depth: number): JsonValue {
    const array: JsonValue[] = [];
    this.#match(SPACE);
    if (this.#take(']')) return array;
    for (;;) {
      array.push(this.value(depth));
      if (this.#take(']')) return array;
      if (!this.#take(',')) this.#fail('expected "," or "]"');
    }
  }

  #string(): string {
    const start = this.#at++;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code === QUOTE) break;
      // Beyond the end the code is no number.
      if (!(code >= 0x20)) this.#fail(Number.isNaN(code) ? 'a string does not end' : 'a control character in a string');
      this.#at += code === BACKSLASH ? 2 : 1;
    }
    this.#at++;
    const quoted = this.#text.slice(start, this.#at);
    try {
      // Only the escapes are left to the language, within one string.
      return JSON.parse(quoted) as string;
    } catch {
      return this.#fail('a wrong escape in a string');
    }
  }

  #number(): JsonNumber {
    const start = this.#at;
    const text = this.#match(NUMBER);
    if (text === '') this.#fail(start >= this.#text.length ? 'the text ends too early' : 'expected a value');
    const exponent = Math.abs(Number(/[eE](.+)$/.exec(text)?.[1] ?? '0'));
    if (text.length > NUMBER_CHARACTERS_MAX || exponent > EXPONENT_MAX) {
      this.#at = start;
      throw new InvalidSchema(`The number at character ${start} is too long, or too large or small.`, {
        tooLarge: true,
      });
    }
    return new JsonNumber(text);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += text.length;
    return text;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #fail(what: string): never {
    throw new InvalidSchema(`The text is not JSON: ${what}, at character ${this.#at}.`);
  }
}
