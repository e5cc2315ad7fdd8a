/**
 * Reads a .proto text (proto2, proto3, editions) into the tree of proto-file.ts.
 *
 * Owns the grammar of files, services and extends; messages and enums are parse-message.ts. Why not protobufjs: its tree
 * forgets which import was weak, whether a default was in quotes, how a custom option nested and in which order, and a
 * schema must be given back as it came. Nothing is generated, executed or loaded; nesting is bounded. Pure.
 */
import type { SchemaLimits } from '../schema.ts';
import { MessageParser } from './parse-message.ts';
import { parseOptionStatement, parseTypeName } from './parse-options.ts';
import type { ProtoFile, ProtoImport, ProtoMethod, ProtoOption, ProtoService } from './proto-file.ts';
import { ProtoLexer } from './proto-lexer.ts';

type Open<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? U[] : T[K] };

/** Throws InvalidSchema with the line. Names are not resolved yet. */
export function parseProto(text: string, limits: SchemaLimits): ProtoFile {
  const lexer = new ProtoLexer(text);
  const file: Open<ProtoFile> = {
    syntax: parseSyntax(lexer),
    package: '',
    imports: [],
    options: [],
    messages: [],
    enums: [],
    extends: [],
    services: [],
  };
  const parser = new MessageParser(lexer, limits.depthMax, file.syntax);
  let packages = 0;
  for (;;) {
    const token = lexer.next();
    if (token.kind === 'end') return file;
    switch (token.text) {
      case ';':
        break;
      case 'import':
        file.imports.push(parseImport(lexer));
        break;
      case 'package':
        if (packages++ > 0) throw lexer.wrong(token, 'a file has one package');
        file.package = parseTypeName(lexer);
        if (file.package.startsWith('.')) throw lexer.wrong(token, 'a package does not start with a dot');
        lexer.take(';');
        break;
      case 'option':
        file.options.push(parseOptionStatement(lexer, limits.depthMax));
        break;
      case 'message':
        file.messages.push(parser.parseMessage(0));
        break;
      case 'enum':
        file.enums.push(parser.parseEnum());
        break;
      case 'extend':
        file.extends.push(parser.parseExtend(file.messages, 0));
        break;
      case 'service':
        file.services.push(parseService(lexer, limits.depthMax));
        break;
      default:
        throw lexer.wrong(token, 'expected a message, an enum, a service, an import or an option');
    }
  }
}

function parseSyntax(lexer: ProtoLexer): string {
  const edition = lexer.takeIf('edition');
  if (!edition && !lexer.takeIf('syntax')) return 'proto2';
  lexer.take('=');
  const token = lexer.next();
  const known = edition ? /^20(?:23|24)$/.test(token.text) : token.text === 'proto2' || token.text === 'proto3';
  if (token.kind !== 'string' || !known)
    throw lexer.wrong(token, edition ? 'expected "2023" or "2024"' : 'expected "proto2" or "proto3"');
  lexer.take(';');
  return token.text;
}

function parseImport(lexer: ProtoLexer): ProtoImport {
  const kind = (['public', 'weak', 'option'] as const).find((each) => lexer.takeIf(each)) ?? '';
  const token = lexer.next();
  if (token.kind !== 'string' || token.text === '') throw lexer.wrong(token, 'expected the path of an import');
  lexer.take(';');
  return { path: token.text, kind };
}

function parseService(lexer: ProtoLexer, depthMax: number): ProtoService {
  const name = lexer.takeWord('the name of a service');
  const methods: ProtoMethod[] = [];
  const options: ProtoOption[] = [];
  lexer.take('{');
  while (!lexer.takeIf('}')) {
    if (lexer.takeIf(';')) continue;
    if (lexer.takeIf('option')) options.push(parseOptionStatement(lexer, depthMax));
    else methods.push(parseMethod(lexer, depthMax));
  }
  return { name, methods, options };
}

function parseMethod(lexer: ProtoLexer, depthMax: number): ProtoMethod {
  lexer.take('rpc');
  const name = lexer.takeWord('the name of a method');
  const input = parseMethodType(lexer);
  lexer.take('returns');
  const output = parseMethodType(lexer);
  const options: ProtoOption[] = [];
  if (lexer.takeIf('{')) {
    while (!lexer.takeIf('}')) {
      if (lexer.takeIf(';')) continue;
      lexer.take('option');
      options.push(parseOptionStatement(lexer, depthMax));
    }
  } else lexer.take(';');
  return {
    name,
    input: input.type,
    inputStreams: input.streams,
    output: output.type,
    outputStreams: output.streams,
    options,
  };
}

function parseMethodType(lexer: ProtoLexer): { readonly type: string; readonly streams: boolean } {
  lexer.take('(');
  // As protoc has it: the word "stream" is a type's name only when it stands alone.
  const streams = lexer.takeIf('stream');
  const type = streams && lexer.peek().text === ')' ? 'stream' : parseTypeName(lexer);
  lexer.take(')');
  return { type, streams: streams && type !== 'stream' };
}
