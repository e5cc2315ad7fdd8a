/**
 * Turns the tree of a .proto text into a FileDescriptorProto, as protoc and buf give it: names in full, labels, entries
 * of maps, oneofs that proto3's "optional" makes.
 *
 * Owns the shape. Options' values are descriptor-options.ts. Two departures from protoc, both on purpose: what a map
 * becomes stands after the messages that the text declares, so that message indexes count those only (as Confluent's
 * own registry has it); and options that are extensions are left out, as their definitions need not be there, but for
 * Confluent's tags: rules of clients that read descriptors act on them. No source positions. Pure; linear in the tree.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  DescriptorProto_ExtensionRangeSchema,
  DescriptorProto_ReservedRangeSchema,
  DescriptorProtoSchema,
  Edition,
  type EnumDescriptorProto,
  EnumDescriptorProto_EnumReservedRangeSchema,
  EnumDescriptorProtoSchema,
  EnumOptionsSchema,
  EnumValueDescriptorProtoSchema,
  EnumValueOptionsSchema,
  ExtensionRangeOptionsSchema,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileOptionsSchema,
  FieldDescriptorProto_Label as Label,
  MessageOptionsSchema,
  MethodDescriptorProtoSchema,
  MethodOptionsSchema,
  OneofDescriptorProtoSchema,
  OneofOptionsSchema,
  type ServiceDescriptorProto,
  ServiceDescriptorProtoSchema,
  ServiceOptionsSchema,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import { entryName } from './check-proto.ts';
import { defaultText, optionsMessage, textOf } from './descriptor-options.ts';
import type {
  ProtoEnum,
  ProtoExtend,
  ProtoField,
  ProtoFile,
  ProtoMessage,
  ProtoService,
  ProtoSymbol,
} from './proto-file.ts';
import { join, type NameBudget } from './proto-names.ts';
import { FIELD_META, MESSAGE_META, tagsField } from './proto-tags.ts';

export interface DescriptorContext {
  /** The path of the file, as an import names it. */
  readonly name: string;
  /** The type that a name means in a scope. The tree was checked, so there is one. */
  readonly resolve: (type: string, scope: string) => ProtoSymbol | undefined;
  readonly budget: NameBudget;
}

const SCALAR_TYPES: ReadonlyMap<string, Type> = new Map(
  Object.entries(Type)
    .filter((entry): entry is [string, Type] => typeof entry[1] === 'number')
    .map(([name, type]) => [name.toLowerCase(), type])
    .filter((entry): entry is [string, Type] => !['message', 'enum', 'group'].includes(String(entry[0]))),
);

/** Base64 of the descriptor. Throws InvalidSchema when its names, in full, go over the budget. */
export function serializedDescriptor(file: ProtoFile, context: DescriptorContext): string {
  const bytes = toBinary(FileDescriptorProtoSchema, toDescriptor(file, context));
  const parts: string[] = [];
  for (const byte of bytes) parts.push(String.fromCharCode(byte));
  return btoa(parts.join(''));
}

/** The descriptor of a file that was checked (check-proto.ts). Throws as serializedDescriptor does. */
export function toDescriptor(file: ProtoFile, context: DescriptorContext): FileDescriptorProto {
  return new DescriptorBuilder(file, context).build();
}

class DescriptorBuilder {
  readonly #file: ProtoFile;
  readonly #context: DescriptorContext;

  constructor(file: ProtoFile, context: DescriptorContext) {
    this.#file = file;
    this.#context = context;
  }

  build(): FileDescriptorProto {
    const file = this.#file;
    const scope = file.package;
    const imports = file.imports.filter(({ kind }) => kind !== 'option');
    const indexesOf = (kind: string) => imports.flatMap((each, index) => (each.kind === kind ? [index] : []));
    const descriptor = create(FileDescriptorProtoSchema, {
      name: this.#context.name,
      dependency: imports.map(({ path }) => textOf(path)),
      publicDependency: indexesOf('public'),
      weakDependency: indexesOf('weak'),
      optionDependency: file.imports.filter(({ kind }) => kind === 'option').map(({ path }) => textOf(path)),
      messageType: file.messages.map((message) => this.#message(message, scope)),
      enumType: file.enums.map((each) => this.#enum(each)),
      extension: this.#extensions(file.extends, scope),
      service: file.services.map((service) => this.#service(service)),
    });
    if (scope !== '') descriptor.package = scope;
    const options = optionsMessage(FileOptionsSchema, file.options);
    if (options !== undefined) descriptor.options = options;
    if (file.syntax === 'proto3') descriptor.syntax = 'proto3';
    else if (file.syntax !== 'proto2') {
      descriptor.syntax = 'editions';
      descriptor.edition = file.syntax === '2023' ? Edition.EDITION_2023 : Edition.EDITION_2024;
    }
    return descriptor;
  }

  #message(message: ProtoMessage, outer: string): DescriptorProto {
    const scope = join(outer, message.name);
    const oneofs = new Map(message.oneofs.map(({ name }, index) => [name, index]));
    const synthetic = this.#file.syntax === 'proto3' ? syntheticOneofs(message) : new Map<ProtoField, string>();
    const declared = [...synthetic.keys()];
    const indexBySynthetic = new Map(declared.map((field, index) => [field, message.oneofs.length + index]));
    const descriptor = create(DescriptorProtoSchema, {
      name: message.name,
      field: message.fields.map((field) => {
        const built = this.#field(field, scope);
        const index = indexBySynthetic.get(field) ?? oneofs.get(field.oneof ?? '');
        if (index !== undefined) built.oneofIndex = index;
        return built;
      }),
      oneofDecl: [
        ...message.oneofs.map(({ name, options }) => {
          const read = optionsMessage(OneofOptionsSchema, options);
          return create(OneofDescriptorProtoSchema, { name, ...(read === undefined ? {} : { options: read }) });
        }),
        ...[...synthetic.values()].map((name) => create(OneofDescriptorProtoSchema, { name })),
      ],
      nestedType: [
        ...message.messages.map((inner) => this.#message(inner, scope)),
        ...message.fields.filter(({ mapKey }) => mapKey !== undefined).map((field) => this.#entry(field, scope)),
      ],
      enumType: message.enums.map((each) => this.#enum(each)),
      extension: this.#extensions(message.extends, scope),
      extensionRange: message.extensions.flatMap(({ ranges, options }) =>
        ranges.map(({ from, to }) => {
          const read = optionsMessage(ExtensionRangeOptionsSchema, options);
          const range = create(DescriptorProto_ExtensionRangeSchema, { start: from, end: to + 1 });
          if (read !== undefined) range.options = read;
          return range;
        }),
      ),
      reservedRange: message.reserved.ranges.map(({ from, to }) =>
        create(DescriptorProto_ReservedRangeSchema, { start: from, end: to + 1 }),
      ),
      reservedName: message.reserved.names.map(textOf),
    });
    const tags = tagsField(message.options, MESSAGE_META);
    const options = optionsMessage(MessageOptionsSchema, message.options) ?? (tags && create(MessageOptionsSchema));
    if (options !== undefined) descriptor.options = options;
    if (options !== undefined && tags !== undefined) options.$unknown = [tags];
    return descriptor;
  }

  #field(field: ProtoField, scope: string): FieldDescriptorProto {
    const isMap = field.mapKey !== undefined;
    const descriptor = create(FieldDescriptorProtoSchema, {
      name: field.name,
      number: field.number,
      label:
        isMap || field.label === 'repeated'
          ? Label.REPEATED
          : field.label === 'required'
            ? Label.REQUIRED
            : Label.OPTIONAL,
      jsonName: jsonName(field.name),
    });
    if (isMap) {
      descriptor.type = Type.MESSAGE;
      descriptor.typeName = `.${this.#context.budget.spend(join(scope, entryName(field.name)))}`;
    } else this.#setType(descriptor, field, scope);
    if (this.#file.syntax === 'proto3' && field.label === 'optional') descriptor.proto3Optional = true;
    for (const { name, value } of field.options) {
      if (name === 'json_name' && value.startsWith('"')) descriptor.jsonName = textOf(value.slice(1, -1));
      const given = name === 'default' ? defaultText(value, descriptor.type) : undefined;
      if (given !== undefined) descriptor.defaultValue = given;
    }
    const tags = tagsField(field.options, FIELD_META);
    const options =
      optionsMessage(
        FieldOptionsSchema,
        field.options.filter(({ name }) => name !== 'json_name' && name !== 'default'),
      ) ??
      (tags && create(FieldOptionsSchema));
    if (options !== undefined) descriptor.options = options;
    if (options !== undefined && tags !== undefined) options.$unknown = [tags];
    return descriptor;
  }

  #setType(descriptor: FieldDescriptorProto, field: ProtoField, scope: string): void {
    const scalar = SCALAR_TYPES.get(field.type);
    if (scalar !== undefined) {
      descriptor.type = scalar;
      return;
    }
    const symbol = this.#context.resolve(field.type, scope);
    descriptor.typeName = symbol === undefined ? field.type : `.${this.#context.budget.spend(symbol.fullName)}`;
    descriptor.type = field.isGroup ? Type.GROUP : symbol?.kind === 'enum' ? Type.ENUM : Type.MESSAGE;
  }

  /** The message that a map becomes. */
  #entry(field: ProtoField, scope: string): DescriptorProto {
    const part = (name: string, number: number, type: string) =>
      this.#field({ ...field, name, number, type, label: '', mapKey: undefined, options: [] }, scope);
    const key = part('key', 1, field.mapKey ?? 'string');
    // protoc hands an edition's features on to what the map is made of.
    const features = field.options.filter(({ name }) => name === 'features' || name.startsWith('features.'));
    const value = part('value', 2, field.type);
    for (const each of [key, value]) {
      each.label = Label.OPTIONAL;
      const options = optionsMessage(FieldOptionsSchema, features);
      if (options !== undefined) each.options = options;
    }
    return create(DescriptorProtoSchema, {
      name: entryName(field.name),
      field: [key, value],
      options: create(MessageOptionsSchema, { mapEntry: true }),
    });
  }

  #extensions(extended: readonly ProtoExtend[], scope: string): FieldDescriptorProto[] {
    return extended.flatMap(({ extendee, fields }) =>
      fields.map((field) => {
        const descriptor = this.#field(field, scope);
        descriptor.extendee = this.#nameOf(extendee, scope);
        return descriptor;
      }),
    );
  }

  #enum(each: ProtoEnum): EnumDescriptorProto {
    const descriptor = create(EnumDescriptorProtoSchema, {
      name: each.name,
      value: each.values.map(({ name, number, options }) => {
        const read = optionsMessage(EnumValueOptionsSchema, options);
        return create(EnumValueDescriptorProtoSchema, {
          name,
          number,
          ...(read === undefined ? {} : { options: read }),
        });
      }),
      // Unlike those of messages, these ranges hold their end.
      reservedRange: each.reserved.ranges.map(({ from, to }) =>
        create(EnumDescriptorProto_EnumReservedRangeSchema, { start: from, end: to }),
      ),
      reservedName: each.reserved.names.map(textOf),
    });
    const options = optionsMessage(EnumOptionsSchema, each.options);
    if (options !== undefined) descriptor.options = options;
    return descriptor;
  }

  #service(service: ProtoService): ServiceDescriptorProto {
    const scope = join(this.#file.package, service.name);
    const descriptor = create(ServiceDescriptorProtoSchema, {
      name: service.name,
      method: service.methods.map((method) => {
        const built = create(MethodDescriptorProtoSchema, {
          name: method.name,
          inputType: this.#nameOf(method.input, scope),
          outputType: this.#nameOf(method.output, scope),
        });
        if (method.inputStreams) built.clientStreaming = true;
        if (method.outputStreams) built.serverStreaming = true;
        const read = optionsMessage(MethodOptionsSchema, method.options);
        if (read !== undefined) built.options = read;
        return built;
      }),
    });
    const options = optionsMessage(ServiceOptionsSchema, service.options);
    if (options !== undefined) descriptor.options = options;
    return descriptor;
  }

  #nameOf(type: string, scope: string): string {
    const symbol = this.#context.resolve(type, scope);
    return symbol === undefined ? type : `.${this.#context.budget.spend(symbol.fullName)}`;
  }
}

/** By field, the oneof that protoc makes for a proto3 "optional": "_name", with as many X before it as it takes. */
function syntheticOneofs(message: ProtoMessage): ReadonlyMap<ProtoField, string> {
  const taken = new Set([...message.fields, ...message.oneofs].map(({ name }) => name));
  const made = new Map<ProtoField, string>();
  for (const field of message.fields) {
    if (field.label !== 'optional') continue;
    let name = field.name.startsWith('_') ? field.name : `_${field.name}`;
    while (taken.has(name)) name = `X${name}`;
    taken.add(name);
    made.set(field, name);
  }
  return made;
}

/** As protoc has it: an underscore goes, and what follows it is a capital. */
function jsonName(name: string): string {
  return name.replace(/_+([a-zA-Z0-9])?/g, (_, letter: string | undefined) => letter?.toUpperCase() ?? '');
}
