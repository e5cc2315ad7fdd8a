/**
 * Reads a FileDescriptorProto in base64, which is what several clients register, into the tree of proto-file.ts.
 *
 * Owns turning a descriptor back into text. The text is parsed again, so whatever a descriptor holds, what is kept is a
 * .proto text that was read. Options that are extensions are left out: their names are not in the descriptor. Pure.
 */
import { type DescField, type DescMessage, fromBinary, isFieldSet, type Message } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  Edition,
  type EnumDescriptorProto,
  EnumOptionsSchema,
  EnumValueOptionsSchema,
  ExtensionRangeOptionsSchema,
  type FieldDescriptorProto,
  FieldOptionsSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileOptionsSchema,
  FieldDescriptorProto_Label as Label,
  MessageOptionsSchema,
  MethodOptionsSchema,
  OneofOptionsSchema,
  type ServiceDescriptorProto,
  ServiceOptionsSchema,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import { InvalidSchema, type SchemaLimits } from '../schema.ts';
import { parseProto } from './parse-proto.ts';
import { printProto } from './print-proto.ts';
import type {
  ProtoEnum,
  ProtoExtend,
  ProtoField,
  ProtoFile,
  ProtoImport,
  ProtoMessage,
  ProtoOption,
  ProtoService,
} from './proto-file.ts';

const MESSAGES_DEEP_MAX = 31;

/** Whether a text is base64 and so no .proto text, of which every statement ends in a sign that base64 has not. */
export function isDescriptor(text: string): boolean {
  return /^[A-Za-z0-9+/\r\n]+={0,2}\s*$/.test(text);
}

/** Throws InvalidSchema. */
export function readDescriptor(text: string, limits: SchemaLimits): ProtoFile {
  let descriptor: FileDescriptorProto;
  try {
    const binary = atob(text);
    descriptor = fromBinary(
      FileDescriptorProtoSchema,
      Uint8Array.from(binary, (character) => character.charCodeAt(0)),
    );
  } catch (cause) {
    // Whatever goes wrong there, the text is the reason: it nests too deep, ends early, is no UTF-8.
    throw new InvalidSchema('The schema is neither .proto text nor a FileDescriptorProto in base64.', { cause });
  }
  return parseProto(printProto(fileOf(descriptor), { sorted: false }), limits);
}

function fileOf(file: FileDescriptorProto): ProtoFile {
  const syntax = syntaxOf(file);
  const reader = new DescriptorReader(syntax);
  const kindOf = (index: number): ProtoImport['kind'] => {
    if (file.publicDependency.includes(index)) return 'public';
    return file.weakDependency.includes(index) ? 'weak' : '';
  };
  const extended = reader.extendsOf(file.extension);
  return {
    syntax,
    package: file.package === '' ? '' : file.package.split('.').map(nameOf).join('.'),
    imports: file.dependency
      .map((path, index) => ({ path: escaped(path), kind: kindOf(index) }))
      .concat(file.optionDependency.map((path) => ({ path: escaped(path), kind: 'option' as const }))),
    options: optionsOf(FileOptionsSchema, file.options),
    messages: file.messageType.map((message) => reader.messageOf(message, `.${file.package}`.replace(/\.$/, ''), 0)),
    enums: file.enumType.map(enumOf),
    extends: extended,
    services: file.service.map(serviceOf),
  };
}

function syntaxOf(file: FileDescriptorProto): string {
  if (file.syntax === '' || file.syntax === 'proto2') return 'proto2';
  if (file.syntax === 'proto3') return 'proto3';
  if (file.syntax === 'editions' && file.edition === Edition.EDITION_2023) return '2023';
  if (file.syntax === 'editions' && file.edition === Edition.EDITION_2024) return '2024';
  throw new InvalidSchema('The descriptor has a syntax that is none of proto2, proto3, edition 2023 and 2024.');
}

class DescriptorReader {
  readonly #syntax: string;

  constructor(syntax: string) {
    this.#syntax = syntax;
  }

  messageOf(message: DescriptorProto, outer: string, depth: number): ProtoMessage {
    if (depth >= MESSAGES_DEEP_MAX)
      throw new InvalidSchema(`Messages nest deeper than ${MESSAGES_DEEP_MAX}.`, { tooLarge: true });
    const fullName = `${outer}.${message.name}`;
    const entries = new Map(
      message.nestedType
        .filter((inner) => inner.options?.mapEntry === true)
        .map((inner) => [`${fullName}.${inner.name}`, inner]),
    );
    // What proto3 makes of "optional" is no oneof of anybody's.
    const synthetic = new Set(message.field.filter((field) => field.proto3Optional).map(oneofIndexOf));
    const oneofs = message.oneofDecl.map((oneof) => nameOf(oneof.name));
    return {
      kind: 'message',
      name: nameOf(message.name),
      fields: message.field.map((field) => this.#fieldOf(field, entries, oneofs)),
      oneofs: message.oneofDecl
        .filter((_, index) => !synthetic.has(index))
        .map((oneof) => ({ name: nameOf(oneof.name), options: optionsOf(OneofOptionsSchema, oneof.options) })),
      messages: message.nestedType
        .filter((inner) => inner.options?.mapEntry !== true)
        .map((inner) => this.messageOf(inner, fullName, depth + 1)),
      enums: message.enumType.map(enumOf),
      extends: this.extendsOf(message.extension),
      extensions: message.extensionRange.map((range) => ({
        ranges: [{ from: range.start, to: range.end - 1 }],
        options: optionsOf(ExtensionRangeOptionsSchema, range.options),
      })),
      reserved: {
        ranges: message.reservedRange.map(({ start, end }) => ({ from: start, to: end - 1 })),
        names: message.reservedName.map(nameOf),
      },
      options: optionsOf(MessageOptionsSchema, message.options),
    };
  }

  extendsOf(fields: readonly FieldDescriptorProto[]): readonly ProtoExtend[] {
    return fields.map((field) => ({
      extendee: typeNameOf(field.extendee),
      fields: [this.#fieldOf(field, new Map(), [])],
    }));
  }

  #fieldOf(
    field: FieldDescriptorProto,
    entries: ReadonlyMap<string, DescriptorProto>,
    oneofs: readonly string[],
  ): ProtoField {
    const entry = entries.get(field.typeName);
    const isGroup = field.type === Type.GROUP && this.#syntax === 'proto2';
    const oneof = field.proto3Optional ? undefined : oneofs[oneofIndexOf(field)];
    const value = entry?.field.find(({ number }) => number === 2);
    const key = entry?.field.find(({ number }) => number === 1);
    const type = value === undefined ? typeOf(field) : typeOf(value);
    return {
      name: nameOf(field.name),
      number: field.number,
      label: entry === undefined && oneof === undefined ? this.#labelOf(field) : '',
      type: isGroup ? type.slice(type.lastIndexOf('.') + 1) : type,
      mapKey: key === undefined ? undefined : typeOf(key),
      isGroup,
      oneof,
      options: fieldOptionsOf(field),
    };
  }

  #labelOf(field: FieldDescriptorProto): ProtoField['label'] {
    if (field.label === Label.REPEATED) return 'repeated';
    if (field.label === Label.REQUIRED) return 'required';
    return field.proto3Optional || this.#syntax === 'proto2' ? 'optional' : '';
  }
}

/** -1: in none. */
function oneofIndexOf(field: FieldDescriptorProto): number {
  return isFieldSet(field, fieldNamed('oneof_index')) ? field.oneofIndex : -1;
}

function typeOf(field: FieldDescriptorProto): string {
  if (field.type === Type.MESSAGE || field.type === Type.ENUM || field.type === Type.GROUP || field.typeName !== '')
    return typeNameOf(field.typeName);
  const name = Type[field.type] as string | undefined;
  if (name === undefined) throw new InvalidSchema(`The field "${field.name.slice(0, 100)}" has no type.`);
  return name.toLowerCase();
}

function fieldOptionsOf(field: FieldDescriptorProto): readonly ProtoOption[] {
  const options: ProtoOption[] = [];
  if (isFieldSet(field, fieldNamed('default_value'))) {
    const given = field.defaultValue;
    const quoted =
      field.type === Type.STRING ? `"${escaped(given)}"` : field.type === Type.BYTES ? `"${given}"` : given;
    options.push({ name: 'default', value: quoted });
  }
  const camel = field.name.replace(/_+([a-zA-Z0-9])?/g, (_, letter: string | undefined) => letter?.toUpperCase() ?? '');
  if (field.jsonName !== '' && field.jsonName !== camel && field.extendee === '')
    options.push({ name: 'json_name', value: `"${escaped(field.jsonName)}"` });
  return [...options, ...optionsOf(FieldOptionsSchema, field.options)];
}

const FIELD_DESCRIPTOR = FileDescriptorProtoSchema.file.messages.find(({ name }) => name === 'FieldDescriptorProto');

function fieldNamed(name: string): DescField {
  const field = FIELD_DESCRIPTOR?.fields.find((each) => each.name === name);
  if (field === undefined) throw new Error(`descriptors have no field ${name}`);
  return field;
}

function enumOf(each: EnumDescriptorProto): ProtoEnum {
  return {
    kind: 'enum',
    name: nameOf(each.name),
    values: each.value.map(({ name, number, options }) => ({
      name: nameOf(name),
      number,
      options: optionsOf(EnumValueOptionsSchema, options),
    })),
    reserved: {
      // Unlike those of messages, these ranges hold their end.
      ranges: each.reservedRange.map(({ start, end }) => ({ from: start, to: end })),
      names: each.reservedName.map(nameOf),
    },
    options: optionsOf(EnumOptionsSchema, each.options),
  };
}

function serviceOf(service: ServiceDescriptorProto): ProtoService {
  return {
    name: nameOf(service.name),
    options: optionsOf(ServiceOptionsSchema, service.options),
    methods: service.method.map((method) => ({
      name: nameOf(method.name),
      input: typeNameOf(method.inputType),
      inputStreams: method.clientStreaming,
      output: typeNameOf(method.outputType),
      outputStreams: method.serverStreaming,
      options: optionsOf(MethodOptionsSchema, method.options),
    })),
  };
}

/** The options that Protobuf defines itself, and that are set. */
function optionsOf(schema: DescMessage, options: Message | undefined): readonly ProtoOption[] {
  if (options === undefined) return [];
  const skipped = ['uninterpreted_option', 'map_entry', 'declaration'];
  return schema.fields.flatMap((field) => {
    if (skipped.includes(field.name) || !isFieldSet(options, field)) return [];
    const value = (options as unknown as Readonly<Record<string, unknown>>)[field.localName];
    // What comes several times is written several times.
    const values = field.fieldKind === 'list' ? (value as readonly unknown[]) : [value];
    return values.map((each) => ({ name: field.name, value: optionValueOf(field, each) }));
  });
}

function optionValueOf(field: DescField, value: unknown): string {
  const enumeration = field.enum;
  if (enumeration !== undefined) {
    const known = enumeration.values.find(({ number }) => number === value)?.name;
    if (known === undefined) throw new InvalidSchema(`The option ${field.name} has a value that does not exist.`);
    return known;
  }
  if (field.message !== undefined) {
    const inner = optionsOf(field.message, value as Message);
    return inner.length === 0 ? '{}' : `{ ${inner.map((each) => `${each.name}: ${each.value}`).join(', ')} }`;
  }
  return typeof value === 'string' ? `"${escaped(value)}"` : String(value);
}

function nameOf(name: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    throw new InvalidSchema(`The descriptor has ${JSON.stringify(name.slice(0, 100))} where a name must be.`);
  return name;
}

function typeNameOf(name: string): string {
  if (!/^\.?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/.test(name))
    throw new InvalidSchema(`The descriptor has ${JSON.stringify(name.slice(0, 100))} where a type's name must be.`);
  return name;
}

/** Text as it stands between double quotes. */
function escaped(text: string): string {
  const parts: string[] = [];
  for (const character of text) {
    const code = character.charCodeAt(0);
    if (character === '"' || character === '\\') parts.push(`\\${character}`);
    else if (code < 0x20 || code === 0x7f) parts.push(`\\${code.toString(8).padStart(3, '0')}`);
    else parts.push(character);
  }
  return parts.join('');
}
