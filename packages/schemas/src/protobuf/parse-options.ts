/**
 * Reads options, and the values of options, into one spelling.
 *
 * Owns names like (a.b).c, values and their nesting, which is bounded. Does not own what an option means, nor whether
 * it exists: that takes the definition of descriptors. Pure.
 */
import { InvalidSchema } from '../schema.ts';
import type { ProtoOption } from './proto-file.ts';
import type { ProtoLexer } from './proto-lexer.ts';

/** "a.b" or ".a.b". */
export function parseTypeName(lexer: ProtoLexer): string {
  let name = lexer.takeIf('.') ? '.' : '';
  name += lexer.takeWord('a name');
  while (lexer.takeIf('.')) name += `.${lexer.takeWord('a name')}`;
  return name;
}

/** After the word "option": to its semicolon. */
export function parseOptionStatement(lexer: ProtoLexer, depthMax: number): ProtoOption {
  const option = parseOption(lexer, depthMax);
  lexer.take(';');
  return option;
}

/** "[a = 1, b = 2]", if there is one. */
export function parseOptionList(lexer: ProtoLexer, depthMax: number): readonly ProtoOption[] {
  const options: ProtoOption[] = [];
  if (!lexer.takeIf('[')) return options;
  do options.push(parseOption(lexer, depthMax));
  while (lexer.takeIf(','));
  lexer.take(']');
  return options;
}

function parseOption(lexer: ProtoLexer, depthMax: number): ProtoOption {
  let name = parseOptionPart(lexer);
  while (lexer.takeIf('.')) name += `.${parseOptionPart(lexer)}`;
  lexer.take('=');
  return { name, value: parseValue(lexer, depthMax) };
}

function parseOptionPart(lexer: ProtoLexer): string {
  if (!lexer.takeIf('(')) return lexer.takeWord('the name of an option');
  const name = parseTypeName(lexer);
  lexer.take(')');
  return `(${name})`;
}

function parseValue(lexer: ProtoLexer, depthLeft: number): string {
  if (depthLeft <= 0) throw new InvalidSchema('The value of an option nests too deep.', { tooLarge: true });
  const token = lexer.peek();
  if (token.kind === 'string') return parseString(lexer);
  if (lexer.takeIf('{')) return parseAggregate(lexer, depthLeft - 1, '}');
  const sign = lexer.takeIf('-') ? '-' : lexer.takeIf('+') ? '' : undefined;
  const value = lexer.next();
  if (
    value.kind === 'number' ||
    (value.kind === 'word' && (sign === undefined || /^(?:inf|infinity|nan)$/i.test(value.text)))
  )
    return (sign ?? '') + value.text;
  throw lexer.wrong(value, 'expected the value of an option');
}

/** Strings side by side are one. */
function parseString(lexer: ProtoLexer): string {
  const parts: string[] = [];
  while (lexer.peek().kind === 'string') parts.push(lexer.next().text);
  return `"${parts.join('')}"`;
}

/** Text format: { a: 1, [b.c]: "x" d { } e: [1, 2] }. */
function parseAggregate(lexer: ProtoLexer, depthLeft: number, end: '}' | '>'): string {
  const parts: string[] = [];
  while (!lexer.takeIf(end)) {
    const name = lexer.takeIf('[') ? parseExtensionName(lexer) : lexer.takeWord('a field of a value');
    const colon = lexer.takeIf(':');
    const next = lexer.peek();
    if (!colon && next.text !== '{' && next.text !== '<' && next.text !== '[') throw lexer.wrong(next, 'expected ":"');
    parts.push(`${name}: ${parseAggregateValue(lexer, depthLeft)}`);
    if (!lexer.takeIf(',')) lexer.takeIf(';');
  }
  return parts.length === 0 ? '{}' : `{ ${parts.join(', ')} }`;
}

function parseAggregateValue(lexer: ProtoLexer, depthLeft: number): string {
  if (depthLeft <= 0) throw new InvalidSchema('The value of an option nests too deep.', { tooLarge: true });
  if (lexer.peek().kind === 'string') return parseString(lexer);
  if (lexer.takeIf('<')) return parseAggregate(lexer, depthLeft - 1, '>');
  if (!lexer.takeIf('[')) return parseValue(lexer, depthLeft);
  const parts: string[] = [];
  if (lexer.takeIf(']')) return '[]';
  do parts.push(parseAggregateValue(lexer, depthLeft - 1));
  while (lexer.takeIf(','));
  lexer.take(']');
  return `[${parts.join(', ')}]`;
}

function parseExtensionName(lexer: ProtoLexer): string {
  let name = parseTypeName(lexer);
  if (lexer.takeIf('/')) name += `/${parseTypeName(lexer)}`;
  lexer.take(']');
  return `[${name}]`;
}
