/**
 * Reads messages, enums, extends and fields.
 *
 * Owns their grammar, and how deep messages nest: 31, which is where protoc and buf stop. Does not own whether names and
 * numbers fit together (check-proto.ts). Pure.
 */
import { InvalidSchema } from '../schema.ts';
import { parseOptionList, parseOptionStatement, parseTypeName } from './parse-options.ts';
import {
  FIELD_NUMBER_MAX,
  type ProtoEnum,
  type ProtoExtend,
  type ProtoExtensions,
  type ProtoField,
  type ProtoMessage,
  type ProtoOneof,
  type ProtoOption,
  type ProtoRange,
} from './proto-file.ts';
import type { ProtoLexer } from './proto-lexer.ts';

const MESSAGES_DEEP_MAX = 31;
const ENUM_NUMBER_MAX = 2 ** 31 - 1;

interface OpenReserved {
  readonly ranges: ProtoRange[];
  readonly names: string[];
}

interface OpenMessage {
  readonly kind: 'message';
  readonly name: string;
  readonly fields: ProtoField[];
  readonly oneofs: ProtoOneof[];
  readonly messages: ProtoMessage[];
  readonly enums: ProtoEnum[];
  readonly extends: ProtoExtend[];
  readonly extensions: ProtoExtensions[];
  readonly reserved: OpenReserved;
  readonly options: ProtoOption[];
}

/** Where a field stands: which oneof, and where a message goes that a group declares. */
interface FieldPlace {
  readonly oneof: string | undefined;
  readonly messages: ProtoMessage[];
  readonly depth: number;
}

export class MessageParser {
  readonly #lexer: ProtoLexer;
  readonly #depthMax: number;
  readonly #syntax: string;

  constructor(lexer: ProtoLexer, depthMax: number, syntax: string) {
    this.#lexer = lexer;
    this.#depthMax = depthMax;
    this.#syntax = syntax;
  }

  /** After the word "message". */
  parseMessage(depth: number): ProtoMessage {
    return this.#parseBody(this.#lexer.takeWord('the name of a message'), depth);
  }

  #parseBody(name: string, depth: number): ProtoMessage {
    if (depth >= Math.min(MESSAGES_DEEP_MAX, this.#depthMax))
      throw new InvalidSchema(`Messages nest deeper than ${MESSAGES_DEEP_MAX}.`, { tooLarge: true });
    const message: OpenMessage = {
      kind: 'message',
      name,
      fields: [],
      oneofs: [],
      messages: [],
      enums: [],
      extends: [],
      extensions: [],
      reserved: { ranges: [], names: [] },
      options: [],
    };
    this.#lexer.take('{');
    while (!this.#lexer.takeIf('}')) this.#parseMember(message, depth);
    return message;
  }

  #parseMember(message: OpenMessage, depth: number): void {
    const lexer = this.#lexer;
    const place: FieldPlace = { oneof: undefined, messages: message.messages, depth };
    const word = lexer.next();
    if (word.text === ';' && word.kind === 'sign') return;
    if (word.text === '.' && word.kind === 'sign') {
      message.fields.push(this.#parseField(`.${parseTypeName(lexer)}`, '', place));
      return;
    }
    if (word.kind !== 'word') throw lexer.wrong(word, 'expected a field');
    const next = lexer.peek();
    // As protoc has it: a word that starts a statement is no type's name.
    if (word.text === 'message') message.messages.push(this.parseMessage(depth + 1));
    else if (word.text === 'enum') message.enums.push(this.parseEnum());
    else if (word.text === 'extend') message.extends.push(this.parseExtend(message.messages, depth));
    else if (word.text === 'oneof') this.#parseOneof(message, depth);
    else if (word.text === 'option') message.options.push(parseOptionStatement(lexer, this.#depthMax));
    else if (word.text === 'reserved') this.#parseReserved(message.reserved, FIELD_NUMBER_MAX);
    else if (word.text === 'extensions') message.extensions.push(this.#parseExtensions());
    else if (word.text === 'map' && next.text === '<') message.fields.push(this.#parseMap());
    else message.fields.push(this.#parseFieldFrom(word.text, place));
  }

  /** A field whose first word was taken. */
  #parseFieldFrom(word: string, place: FieldPlace): ProtoField {
    const label = word === 'optional' || word === 'required' || word === 'repeated' ? word : '';
    if (label === '') return this.#parseField(this.#restOfName(word), '', place);
    return this.#parseField(parseTypeName(this.#lexer), label, place);
  }

  #restOfName(first: string): string {
    let name = first;
    while (this.#lexer.takeIf('.')) name += `.${this.#lexer.takeWord('a name')}`;
    return name;
  }

  #parseField(type: string, label: ProtoField['label'], place: FieldPlace): ProtoField {
    const lexer = this.#lexer;
    const start = lexer.peek();
    const name = lexer.takeWord('the name of a field');
    lexer.take('=');
    const number = this.#parseNumber(FIELD_NUMBER_MAX);
    const options = parseOptionList(lexer, this.#depthMax);
    const isGroup = type === 'group';
    if (!isGroup) {
      lexer.take(';');
      return { name, number, label, type, mapKey: undefined, isGroup, oneof: place.oneof, options };
    }
    if (this.#syntax !== 'proto2') throw lexer.wrong(start, 'groups are for proto2');
    if (!/^[A-Z]/.test(name)) throw lexer.wrong(start, "a group's name starts with a capital letter");
    place.messages.push(this.#parseBody(name, place.depth + 1));
    return {
      name: name.toLowerCase(),
      number,
      label,
      type: name,
      mapKey: undefined,
      isGroup,
      oneof: place.oneof,
      options,
    };
  }

  #parseMap(): ProtoField {
    const lexer = this.#lexer;
    lexer.take('<');
    const mapKey = lexer.takeWord("the type of a map's key");
    lexer.take(',');
    const type = parseTypeName(lexer);
    lexer.take('>');
    const name = lexer.takeWord('the name of a field');
    lexer.take('=');
    const number = this.#parseNumber(FIELD_NUMBER_MAX);
    const options = parseOptionList(lexer, this.#depthMax);
    lexer.take(';');
    return { name, number, label: '', type, mapKey, isGroup: false, oneof: undefined, options };
  }

  #parseOneof(message: OpenMessage, depth: number): void {
    const lexer = this.#lexer;
    const start = lexer.peek();
    const oneof = lexer.takeWord('the name of a oneof');
    const options: ProtoOption[] = [];
    const before = message.fields.length;
    lexer.take('{');
    while (!lexer.takeIf('}')) {
      if (lexer.takeIf(';')) continue;
      if (lexer.takeIf('option')) options.push(parseOptionStatement(lexer, this.#depthMax));
      else
        message.fields.push(this.#parseField(parseTypeName(lexer), '', { oneof, messages: message.messages, depth }));
    }
    if (message.fields.length === before) throw lexer.wrong(start, 'a oneof has a field');
    message.oneofs.push({ name: oneof, options });
  }

  /** After the word "extend"; `messages` takes what groups declare. */
  parseExtend(messages: ProtoMessage[], depth: number): ProtoExtend {
    const extendee = parseTypeName(this.#lexer);
    const fields: ProtoField[] = [];
    this.#lexer.take('{');
    while (!this.#lexer.takeIf('}')) {
      if (this.#lexer.takeIf(';')) continue;
      const word = this.#lexer.peek().text === '.' ? '' : this.#lexer.takeWord('a field');
      const place = { oneof: undefined, messages, depth };
      fields.push(
        word === '' ? this.#parseField(parseTypeName(this.#lexer), '', place) : this.#parseFieldFrom(word, place),
      );
    }
    return { extendee, fields };
  }

  /** After the word "enum". */
  parseEnum(): ProtoEnum {
    const lexer = this.#lexer;
    const name = lexer.takeWord('the name of an enum');
    const values: { name: string; number: number; options: readonly ProtoOption[] }[] = [];
    const options: ProtoOption[] = [];
    const reserved: OpenReserved = { ranges: [], names: [] };
    lexer.take('{');
    while (!lexer.takeIf('}')) {
      if (lexer.takeIf(';')) continue;
      const word = lexer.takeWord('a value of an enum');
      if (lexer.takeIf('=')) {
        const number = this.#parseNumber(ENUM_NUMBER_MAX);
        values.push({ name: word, number, options: parseOptionList(lexer, this.#depthMax) });
        lexer.take(';');
      } else if (word === 'option') options.push(parseOptionStatement(lexer, this.#depthMax));
      else if (word === 'reserved') this.#parseReserved(reserved, ENUM_NUMBER_MAX);
      else throw lexer.wrong(lexer.peek(), 'expected "="');
    }
    return { kind: 'enum', name, values, reserved, options };
  }

  #parseExtensions(): ProtoExtensions {
    const ranges: ProtoRange[] = [];
    do ranges.push(this.#parseRange(FIELD_NUMBER_MAX));
    while (this.#lexer.takeIf(','));
    const options = parseOptionList(this.#lexer, this.#depthMax);
    this.#lexer.take(';');
    return { ranges, options };
  }

  #parseReserved(reserved: OpenReserved, max: number): void {
    const lexer = this.#lexer;
    do {
      const token = lexer.peek();
      // Editions write names bare, the others in quotes.
      const byName = this.#syntax.startsWith('proto') ? 'string' : 'word';
      if (token.kind === byName) reserved.names.push(lexer.next().text);
      else reserved.ranges.push(this.#parseRange(max));
    } while (lexer.takeIf(','));
    lexer.take(';');
  }

  #parseRange(max: number): ProtoRange {
    const start = this.#lexer.peek();
    const from = this.#parseNumber(max);
    if (!this.#lexer.takeIf('to')) return { from, to: from };
    const to = this.#lexer.takeIf('max') ? max : this.#parseNumber(max);
    if (to < from) throw this.#lexer.wrong(start, 'a range ends after it starts');
    return { from, to };
  }

  /** A field's number (from 1), or an enum's (from -2^31). */
  #parseNumber(max: number): number {
    const negative = max === ENUM_NUMBER_MAX && this.#lexer.takeIf('-');
    const token = this.#lexer.next();
    const octal = /^0[0-7]+$/.test(token.text);
    const number = /^(?:0[xX][0-9a-fA-F]+|[0-9]+)$/.test(token.text)
      ? Number(octal ? `0o${token.text}` : token.text)
      : Number.NaN;
    const least = max === FIELD_NUMBER_MAX ? 1 : 0;
    if (token.kind !== 'number' || !(number >= least && number <= max + (negative ? 1 : 0)))
      throw this.#lexer.wrong(token, `expected a whole number from ${least} to ${max}`);
    return negative && number > 0 ? -number : number;
  }
}
