/**
 * Cuts a .proto text into words, numbers, strings and signs, one at a time; comments and blanks go.
 *
 * Owns what a token is. Strings keep their escapes and come in double quotes, so that bytes that are no text survive.
 * Linear in the text, without recursion. Pure.
 */
import { InvalidSchema } from '../schema.ts';

export interface ProtoToken {
  readonly kind: 'word' | 'number' | 'string' | 'sign' | 'end';
  /** Of a string: what stands between the quotes, with a bare double quote escaped. */
  readonly text: string;
  /** In characters from the start. */
  readonly at: number;
}

const BLANK = /[ \t\r\n\f\v\ufeff]+/y;
const WORD = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?/y;
const ESCAPE =
  /\\(?:[abfnrtv\\'"?]|[0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})/y;
const WORD_CHARACTER = /[A-Za-z0-9_]/;

export class ProtoLexer {
  readonly #text: string;
  #at = 0;
  #ahead: ProtoToken | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** The token that comes next, which stays. */
  peek(): ProtoToken {
    this.#ahead ??= this.#read();
    return this.#ahead;
  }

  next(): ProtoToken {
    const token = this.peek();
    this.#ahead = undefined;
    return token;
  }

  /** Whether that sign or word comes next; if so it is taken. */
  takeIf(text: string): boolean {
    const token = this.peek();
    if (token.text !== text || token.kind === 'string' || token.kind === 'end') return false;
    this.next();
    return true;
  }

  take(text: string): void {
    const token = this.peek();
    if (!this.takeIf(text)) throw this.wrong(token, `expected "${text}"`);
  }

  takeWord(what: string): string {
    const token = this.next();
    if (token.kind !== 'word') throw this.wrong(token, `expected ${what}`);
    return token.text;
  }

  wrong(token: ProtoToken, what: string): InvalidSchema {
    const line = this.#text.slice(0, token.at).split('\n').length;
    const found = token.kind === 'end' ? 'the end of the text' : JSON.stringify(token.text.slice(0, 60));
    return new InvalidSchema(`The schema is no .proto text: ${what}, found ${found} (line ${line}).`);
  }

  #read(): ProtoToken {
    this.#skipBlank();
    const at = this.#at;
    const first = this.#text[at];
    if (first === undefined) return { kind: 'end', text: '', at };
    if (first === '"' || first === "'") return { kind: 'string', text: this.#readString(first), at };
    const word = this.#match(WORD);
    if (word !== '') return { kind: 'word', text: word, at };
    const number = this.#match(NUMBER);
    if (number !== '') {
      const token = { kind: 'number' as const, text: number, at };
      const after = this.#text[this.#at];
      if (after !== undefined && WORD_CHARACTER.test(after))
        throw this.wrong(token, 'a number must end before a letter');
      return token;
    }
    this.#at++;
    return { kind: 'sign', text: first, at };
  }

  #readString(quote: string): string {
    const start = { kind: 'sign' as const, text: quote, at: this.#at };
    const parts: string[] = [];
    let from = ++this.#at;
    for (;;) {
      const next = this.#text[this.#at];
      if (next === undefined || next === '\n' || next === '\0')
        throw this.wrong(start, 'a string must end on its line');
      if (next === quote) break;
      if (next === '\\') {
        if (this.#match(ESCAPE) === '') throw this.wrong({ ...start, at: this.#at }, 'an escape that does not exist');
      } else {
        if (next === '"') {
          parts.push(this.#text.slice(from, this.#at), '\\');
          from = this.#at;
        }
        this.#at++;
      }
    }
    parts.push(this.#text.slice(from, this.#at));
    this.#at++;
    return parts.join('');
  }

  #skipBlank(): void {
    for (;;) {
      this.#match(BLANK);
      if (this.#text.startsWith('//', this.#at)) {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end < 0 ? this.#text.length : end;
      } else if (this.#text.startsWith('/*', this.#at)) {
        const end = this.#text.indexOf('*/', this.#at + 2);
        if (end < 0) throw this.wrong({ kind: 'sign', text: '/*', at: this.#at }, 'a comment must end');
        this.#at = end + 2;
      } else return;
    }
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }
}
