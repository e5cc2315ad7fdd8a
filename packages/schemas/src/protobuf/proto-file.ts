/**
 * The tree that a .proto text becomes.
 *
 * Owns the shapes. Values of options, ranges and default values are kept as text in one spelling: nothing here needs to
 * know what they mean. Built by parse-proto.ts or read-descriptor.ts, not changed after. Pure.
 */
import type { ParsedSchema } from '../schema.ts';

export interface ProtoOption {
  /** As it is written: "deprecated", "(my.option).part". */
  readonly name: string;
  /** As it is written, in one spelling: '"text"', "true", "{ a: 1 }". */
  readonly value: string;
}

export interface ProtoField {
  readonly name: string;
  readonly number: number;
  readonly label: '' | 'optional' | 'required' | 'repeated';
  /** As written: "int32", "Order", ".shop.Order"; of a map, its value's. */
  readonly type: string;
  /** The type of a map's key; undefined when it is no map. */
  readonly mapKey: string | undefined;
  /** The type is a message declared with the field, and encoded as a group. */
  readonly isGroup: boolean;
  /** The oneof that it is in. */
  readonly oneof: string | undefined;
  readonly options: readonly ProtoOption[];
}

export interface ProtoOneof {
  readonly name: string;
  readonly options: readonly ProtoOption[];
}

export interface ProtoRange {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

export interface ProtoExtensions {
  readonly ranges: readonly ProtoRange[];
  readonly options: readonly ProtoOption[];
}

export interface ProtoExtend {
  /** As written. */
  readonly extendee: string;
  readonly fields: readonly ProtoField[];
}

export interface ProtoReserved {
  readonly ranges: readonly ProtoRange[];
  readonly names: readonly string[];
}

export interface ProtoEnum {
  readonly kind: 'enum';
  readonly name: string;
  readonly values: readonly {
    readonly name: string;
    readonly number: number;
    readonly options: readonly ProtoOption[];
  }[];
  readonly reserved: ProtoReserved;
  readonly options: readonly ProtoOption[];
}

export interface ProtoMessage {
  readonly kind: 'message';
  readonly name: string;
  /** In the order of their text, those of oneofs among them. */
  readonly fields: readonly ProtoField[];
  readonly oneofs: readonly ProtoOneof[];
  /** In the order of their text, which message indexes count; those that groups declare among them. */
  readonly messages: readonly ProtoMessage[];
  readonly enums: readonly ProtoEnum[];
  readonly extends: readonly ProtoExtend[];
  readonly extensions: readonly ProtoExtensions[];
  readonly reserved: ProtoReserved;
  readonly options: readonly ProtoOption[];
}

export interface ProtoMethod {
  readonly name: string;
  readonly input: string;
  readonly inputStreams: boolean;
  readonly output: string;
  readonly outputStreams: boolean;
  readonly options: readonly ProtoOption[];
}

export interface ProtoService {
  readonly name: string;
  readonly methods: readonly ProtoMethod[];
  readonly options: readonly ProtoOption[];
}

export interface ProtoImport {
  readonly path: string;
  readonly kind: '' | 'public' | 'weak' | 'option';
}

export interface ProtoFile {
  /** "proto2", "proto3", or an edition's name: "2023". */
  readonly syntax: string;
  /** "" for none. */
  readonly package: string;
  readonly imports: readonly ProtoImport[];
  readonly options: readonly ProtoOption[];
  readonly messages: readonly ProtoMessage[];
  readonly enums: readonly ProtoEnum[];
  readonly extends: readonly ProtoExtend[];
  readonly services: readonly ProtoService[];
}

/** What a full name means. */
export interface ProtoSymbol {
  readonly fullName: string;
  readonly kind: 'message' | 'enum';
  /** Undefined for a well-known type, of which only the name matters. */
  readonly message: ProtoMessage | undefined;
}

export interface ProtoSchema extends ParsedSchema {
  readonly type: 'PROTOBUF';
  readonly file: ProtoFile;
  /** Base64 of the FileDescriptorProto (to-descriptor.ts), which clients read instead of the text. Throws InvalidSchema when too long. */
  readonly serialized: string;
  /** Every type that the file or what it imports defines, by full name. */
  readonly symbols: ReadonlyMap<string, ProtoSymbol>;
  /** The full name of what a type's text means where it stands: "Order" in "shop.Cart" is "shop.Order". */
  readonly resolve: (type: string, scope: string) => ProtoSymbol | undefined;
  /** The scope in which a message of a referenced file resolves its fields' types. */
  readonly resolverOf: (fullName: string) => ((type: string, scope: string) => ProtoSymbol | undefined) | undefined;
}

export const SCALARS: ReadonlySet<string> = new Set(
  'double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string bytes'.split(' '),
);
export const FIELD_NUMBER_MAX = 2 ** 29 - 1;
