/** SQL text as tokens and statements. Owns quoting and comments; knows no statement. Bounded by the text's length. */
import { FreshetError } from '@freshet/kit/errors.ts';

/** The longest DDL that is looked at, in characters. */
export const DDL_CHARS_MAX = 65_536;

/** A word or sign; `quoted` for what stood in quotes, whose text is without them. */
export interface Token {
  readonly kind: 'word' | 'quoted' | 'string' | 'sign';
  /** Words in small letters, as SQL folds them. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface Statement {
  /** As it was written, without the semicolon. */
  readonly text: string;
  readonly tokens: readonly Token[];
}

const TOKEN =
  /(?<skip>\s+|--[^\r\n]*|\/\*[\s\S]*?\*\/)|"(?<quoted>(?:[^"]|"")+)"|'(?<string>(?:[^']|'')*)'|(?<word>[\p{L}_][\p{L}\p{N}_$]*|\d+(?:\.\d+)?)|(?<sign>::|(?!\/\*)[^\s"'])/uy;

/** The statements of a text. Throws INVALID_REQUEST when it is too long or a quote or comment does not end. */
export function statementsOf(ddl: string): Statement[] {
  if (ddl.length > DDL_CHARS_MAX)
    throw new FreshetError('INVALID_REQUEST', `the DDL is longer than ${DDL_CHARS_MAX} characters`, {
      remedy: 'check it in parts',
    });
  const statements: Statement[] = [];
  let tokens: Token[] = [];
  const finish = (): void => {
    const [first, last] = [tokens[0], tokens.at(-1)];
    if (first !== undefined && last !== undefined) statements.push({ text: ddl.slice(first.start, last.end), tokens });
    tokens = [];
  };
  let at = 0;
  while (at < ddl.length) {
    TOKEN.lastIndex = at;
    const groups = TOKEN.exec(ddl)?.groups;
    const end = TOKEN.lastIndex;
    if (groups === undefined)
      throw new FreshetError(
        'INVALID_REQUEST',
        `a quote or comment that begins at character ${at + 1} of the DDL does not end`,
        {
          remedy: 'close it',
        },
      );
    const push = (kind: Token['kind'], text: string): void => void tokens.push({ kind, text, start: at, end });
    const { quoted, string, word, sign } = groups;
    if (quoted !== undefined) push('quoted', quoted.replaceAll('""', '"'));
    else if (string !== undefined) push('string', string.replaceAll("''", "'"));
    else if (word !== undefined) push('word', word.toLowerCase());
    else if (sign === ';') finish();
    else if (sign !== undefined) push('sign', sign);
    at = end;
  }
  finish();
  return statements;
}

/** Reads tokens from the left. */
export class TokenReader {
  readonly #tokens: readonly Token[];
  readonly #text: string;
  #next = 0;

  constructor(tokens: readonly Token[], text: string) {
    this.#tokens = tokens;
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.#next >= this.#tokens.length;
  }

  /** Takes the words if they come next, all or none. */
  take(...words: readonly string[]): boolean {
    const isNext = words.every((word, i) => {
      const token = this.#tokens[this.#next + i];
      return token !== undefined && token.kind !== 'quoted' && token.kind !== 'string' && token.text === word;
    });
    if (isNext) this.#next += words.length;
    return isNext;
  }

  /** A name, with or without quotes; undefined when none comes. */
  name(): string | undefined {
    const token = this.#tokens[this.#next];
    if (token?.kind !== 'word' && token?.kind !== 'quoted') return undefined;
    this.#next++;
    return token.text;
  }

  /** A text in single quotes. */
  string(): string | undefined {
    const token = this.#tokens[this.#next];
    if (token?.kind !== 'string') return undefined;
    this.#next++;
    return token.text;
  }

  /** "schema.name" or "name", in parts. */
  qualified(): { readonly schema: string | undefined; readonly name: string } | undefined {
    const first = this.name();
    if (first === undefined) return undefined;
    if (!this.take('.')) return { schema: undefined, name: first };
    const name = this.name();
    return name === undefined ? undefined : { schema: first, name };
  }

  /** The tokens up to one of the words outside of brackets, or the end; the text of them as it was written. */
  until(...words: readonly string[]): string {
    let depth = 0;
    const from = this.#next;
    for (; this.#next < this.#tokens.length; this.#next++) {
      const token = this.#tokens[this.#next];
      const text = token?.kind === 'word' || token?.kind === 'sign' ? token.text : '';
      if (depth === 0 && words.includes(text)) break;
      if (text === '(' || text === '[') depth++;
      if (text === ')' || text === ']') depth--;
    }
    const [first, last] = [this.#tokens[from], this.#tokens[this.#next - 1]];
    return first === undefined || last === undefined || this.#next === from
      ? ''
      : this.#text.slice(first.start, last.end);
  }

  /** Passes over what stands in brackets, when that comes next. */
  brackets(): void {
    let depth = 0;
    do {
      if (this.take('(')) depth++;
      else if (this.take(')')) depth--;
      else if (depth > 0) this.#next++;
    } while (depth > 0 && !this.atEnd);
  }

  /** Names in brackets, parted by commas. */
  names(): string[] | undefined {
    return this.#list(() => this.name());
  }

  /** Texts in single quotes, in brackets, parted by commas; there may be none. */
  strings(): string[] | undefined {
    return this.take('(', ')') ? [] : this.#list(() => this.string());
  }

  #list(one: () => string | undefined): string[] | undefined {
    if (!this.take('(')) return undefined;
    const list: string[] = [];
    do {
      const item = one();
      if (item === undefined) return undefined;
      list.push(item);
    } while (this.take(','));
    return this.take(')') ? list : undefined;
  }
}
