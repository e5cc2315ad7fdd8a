/**
 * Goal: the descriptor of a text is the one that buf builds of it. Method: a table of files that has nearly all of the
 * grammar, and random schemas, both through one `buf build` each and compared whole. Left out of the comparison: source
 * positions, options that are extensions, the order of nested types (see to-descriptor.ts), and how a default that is a
 * float is written: protoc writes the fewest digits, buf those of a double, so the numbers are compared. And whatever an option's
 * value is, there is a descriptor.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createFileRegistry, fromBinary, isFieldSet, isMessage, type Message, toJson } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReferencedSchema } from '../schema.ts';
import { protobufEngine } from './protobuf-engine.ts';

const BUF = join(import.meta.dirname, '../../../../node_modules/.bin/buf');
const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? 20261129);

function build(files: Readonly<Record<string, string>>): readonly FileDescriptorProto[] {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-buf-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    const image = execFileSync(BUF, ['build', directory, '--as-file-descriptor-set', '-o', '-#format=binpb'], {
      maxBuffer: 100_000_000,
    });
    return fromBinary(FileDescriptorSetSchema, image).file;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function ours(text: string, references: readonly ReferencedSchema[] = []): FileDescriptorProto {
  return fromBinary(
    FileDescriptorProtoSchema,
    Buffer.from(protobufEngine.parse(text, references).serialized, 'base64'),
  );
}

/** What both must agree on. */
function normal(file: FileDescriptorProto): unknown {
  file.name = '';
  file.sourceCodeInfo = undefined as never;
  for (const message of file.messageType) sortNested(message);
  dropExtensions(file);
  return toJson(FileDescriptorProtoSchema, file);
}

function sortNested(message: DescriptorProto): void {
  for (const field of message.field) {
    const isFloat = field.type === FieldDescriptorProto_Type.FLOAT;
    if ((!isFloat && field.type !== FieldDescriptorProto_Type.DOUBLE) || !Number.isFinite(Number(field.defaultValue)))
      continue;
    if (isFieldSet(field, FieldDescriptorProtoSchema.field.defaultValue))
      field.defaultValue = String(isFloat ? Math.fround(Number(field.defaultValue)) : Number(field.defaultValue));
  }
  message.nestedType.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const inner of message.nestedType) sortNested(inner);
}

/** Takes options that are extensions away, and options that then are empty. */
function dropExtensions(message: Message): void {
  delete message.$unknown;
  for (const [key, value] of Object.entries(message)) {
    for (const each of Array.isArray(value) ? (value as unknown[]) : [value]) if (isMessage(each)) dropExtensions(each);
    if (key === 'options' && isMessage(value) && Object.entries(value).every(([name, each]) => isUnset(name, each)))
      (message as unknown as Record<string, unknown>)[key] = undefined;
  }
}

function isUnset(name: string, value: unknown): boolean {
  return name.startsWith('$') || value === undefined || (Array.isArray(value) && value.length === 0);
}

const FILES: Readonly<Record<string, string>> = {
  'names.proto': `syntax = "proto3"; package a.b;
    message Outer { Inner x = 1; .a.b.Other y = 2; b.Other z = 3; Kind k = 4; Inner.Deep d = 5;
      message Inner { Outer up = 1; Other o = 2; message Deep { Inner i = 1; Kind k = 2; } }
      enum Kind { NONE = 0; SOME = -1; reserved 5 to 7, 9, 100 to max; reserved "OLD"; } }
    message Other { a.b.Outer.Kind k = 1; }
    service S { option deprecated = true; rpc Get(Outer) returns (stream Outer.Inner);
      rpc Put(stream .a.b.Outer) returns (Other) { option idempotency_level = NO_SIDE_EFFECTS; } }`,
  'fields.proto': `syntax = "proto3"; package fields;
    option java_package = "com" ".x"; option java_multiple_files = true; option optimize_for = CODE_SIZE;
    option objc_class_prefix = "\\101\\x42\\u00e9"; option cc_enable_arenas = false;
    message M { optional int32 one = 1; oneof choice { string a = 2; M b = 3; } optional M two_words = 4;
      repeated int32 many = 5 [packed = false]; string re__named_ = 6 [json_name = "other"]; optional string _under = 7;
      map<string, M> by_name = 8; map<int32, E> kinds2 = 9 [deprecated = true]; optional bool x = 10;
      int64 big = 11 [jstype = JS_STRING]; bytes raw = 12 [ctype = CORD, debug_redact = true]; string UPPER_Case1 = 13;
      oneof _x { int32 in = 14; } reserved 100, 200 to 210, 500 to max; reserved "gone", 'lost'; option deprecated = false; }
    enum E { option allow_alias = true; E0 = 0; E1 = 0 [deprecated = true]; E2 = 0x10; }`,
  'two.proto': `syntax = "proto2"; package two;
    import "fields.proto"; import public "names.proto"; import "google/protobuf/descriptor.proto";
    import "google/protobuf/timestamp.proto";
    message Mark { optional string name = 1; repeated Mark inner = 2; extensions 10 to max; }
    extend google.protobuf.FieldOptions { optional Mark mark = 50001; repeated int32 marks = 50002; }
    extend google.protobuf.MessageOptions { optional string only = 50003; }
    message Only { option (only) = "x"; optional int32 a = 1 [(mark) = { name: "x" inner { name: "}" } }, (marks) = 1]; }
    message D { required int64 id = 1 [default = -0x10]; optional string s = 2 [default = "a\\"b\\n\\303\\251"];
      optional double d1 = 3 [default = -inf]; optional double d2 = 4 [default = nan]; optional double d3 = 5 [default = 1.5e30];
      optional float f = 6 [default = 0.1]; optional bytes raw = 7 [default = '\\x00"\\377a\\'\\\\']; optional bool b = 8 [default = true];
      optional K k = 9 [default = ZWEI]; optional uint64 u = 10 [default = 18446744073709551615]; optional int32 o = 11 [default = 017];
      optional double d4 = 12 [default = 1e10]; optional double d5 = 13 [default = 0.00001]; optional double d6 = 14 [default = 12];
      repeated int32 p = 15 [packed = true, (mark).name = "n", deprecated = true]; optional double d7 = 16 [default = 0.1];
      optional fields.M m = 17; optional a.b.Other other = 18; optional google.protobuf.Timestamp at = 19;
      optional float f2 = 20 [default = 16777217]; optional float f3 = 21 [default = 3.4028235e38]; optional sint64 z = 22 [default = -0]; }
    enum K { EINS = 1; ZWEI = 2; }
    message G { optional group Extra = 1 { optional K k = 1; repeated group Inner = 2 { optional Extra up = 3; } }
      oneof pay { Mark card = 2; group Voucher = 3 { optional string code = 1; } }
      map<sint32, Extra> extras = 4; extensions 100 to 199, 300 [verification = UNVERIFIED];
      extensions 1000 [declaration = { number: 1000, full_name: ".two.G.more", type: "int32", reserved: false }];
      extend Mark { optional int32 more = 10; repeated group Grouped = 11 { optional int32 z = 1; } } }
    extend Mark { optional G g_mark = 12; optional string named = 13; }`,
  'edition.proto': `edition = "2023"; package ed; import "names.proto";
    option features = { field_presence: IMPLICIT, enum_type: CLOSED };
    message M { int32 a = 1 [features.field_presence = EXPLICIT, deprecated = true];
      string s = 2 [features.field_presence = LEGACY_REQUIRED]; M child = 3 [features.message_encoding = DELIMITED];
      repeated E e = 4 [features.repeated_field_encoding = PACKED]; map<string, string> m = 5 [features.utf8_validation = NONE];
      string d = 6 [default = "x", features.field_presence = EXPLICIT, targets = TARGET_TYPE_FIELD, targets = TARGET_TYPE_FILE, retention = RETENTION_SOURCE];
      reserved gone, lost; oneof o { int32 q = 7; } a.b.Other other = 8; }
    enum E { option features.enum_type = CLOSED; ONE = 1; TWO = 2; reserved THREE; }`,
  'extend3.proto': `syntax = "proto3"; import "google/protobuf/descriptor.proto";
    extend google.protobuf.FieldOptions { optional string my_note = 50100; repeated string more = 50101; string bare = 50102; }
    message NoPackage { string a = 1 [(my_note) = "x"]; NoPackage self = 2; }`,
};

describe('the descriptor of a text', () => {
  it('is what buf builds of it', () => {
    const built = build(FILES);
    const names = Object.keys(FILES);
    const references = names.map((name) => ({ name, text: FILES[name] ?? '', references: [] as ReferencedSchema[] }));
    // Only two.proto and edition.proto name others.
    const referenced = references.filter(({ name }) => name === 'fields.proto' || name === 'names.proto');
    for (const name of names) {
      const theirs = built.find((file) => file.name === name);
      if (theirs === undefined) throw new Error(`buf built no ${name}`);
      const text = FILES[name] ?? '';
      const needed = referenced.filter((each) => each.name !== name);
      expect(normal(ours(text, needed)), name).toEqual(normal(theirs));
      // What is stored is the text as the engine prints it.
      const stored = protobufEngine.parse(text, needed).canonical;
      expect(ours(stored, needed).messageType.length, name).toBe(theirs.messageType.length);
    }
  });

  it('counts declared messages as message indexes do, whatever maps stand between', () => {
    const [message] = ours(
      'syntax = "proto3"; message A { map<string, C> b = 1; message C {} map<int32, C> d = 2; message E {} }',
    ).messageType;
    expect(message?.nestedType.map(({ name }) => name)).toEqual(['C', 'E', 'BEntry', 'DEntry']);
  });

  it('leaves out what no option of Protobuf is', () => {
    const text = `syntax = "proto3"; message A { option nonsense = 1; option deprecated = 7; option map_entry.x = true;
      int32 b = 1 [packed = { a: [1, -2, { b: "x" }] }, deprecated = true, features = 3, edition_defaults = { edition: NO, value: -1, [x.y]: { z: 1 }, value: "v" }]; }`;
    const [message] = ours(text).messageType;
    expect(message?.options).toBeUndefined();
    expect(message?.field[0]?.options).toMatchObject({ deprecated: true, editionDefaults: [{ value: 'v' }] });
  });
});

describe('names that are far longer in full than in the text', () => {
  const deep = (inside: string): string => {
    const name = 'N'.repeat(500);
    const opened = Array.from({ length: 29 }, (_, index) => `message ${name}${index} { `).join('');
    return `syntax = "proto3"; ${opened} message A {} message B { ${inside} }${' }'.repeat(29)}`;
  };
  const fields = (write: (number: number) => string): string =>
    Array.from({ length: 2_000 }, (_, at) => write(at + 1)).join(' ');

  it('are refused, in the text and in the descriptor', () => {
    const tooLarge = expect.objectContaining({ name: 'InvalidSchema', tooLarge: true }) as unknown;
    expect(() => protobufEngine.parse(deep(fields((at) => `A a${at} = ${at};`)), [])).toThrow(tooLarge as Error);
    const maps = protobufEngine.parse(deep(fields((at) => `map<string, string> a${at} = ${at};`)), []);
    expect(() => maps.serialized).toThrow(tooLarge as Error);
    expect(ours(deep('A a = 1; map<string, string> b = 2;')).messageType).toHaveLength(1);
  });
});

describe('descriptors of random schemas', () => {
  const SCALARS = 'int32 int64 uint32 bool string bytes fixed64 double'.split(' ');
  const type = fc.constantFrom(...SCALARS, 'E', 'M0', 'M1.N', 'M2', '.r.M1', 'M0.K');
  const field = fc.record({
    type,
    shape: fc.constantFrom('', '', 'repeated', 'optional', 'map', 'x', 'y'),
    name: fc.constantFrom('a', 'some_name', '_lead', 'Cap', 'x1_y2', 'trail_', 'two__under'),
    options: fc.constantFrom('', '', '[deprecated = true]', '[json_name = "j"]'),
  });
  const messages = fc.array(fc.array(field, { maxLength: 8 }), { minLength: 3, maxLength: 3 });

  function print(bodies: readonly (readonly (typeof field extends fc.Arbitrary<infer T> ? T : never)[])[]): string {
    const parts = bodies.map((fields, index) => {
      const lines = fields.map(({ type: of, shape, name, options }, at) => {
        const named = `${name}${at}`;
        const tail = `${named} = ${at + 1} ${options.replace('"j"', `"j${at}"`)};`;
        if (shape === 'map') return { oneof: '', text: `map<string, ${of}> ${tail}` };
        if (shape === 'x' || shape === 'y') return { oneof: `o${shape}`, text: `${of} ${tail}` };
        return { oneof: '', text: `${shape} ${of} ${tail}` };
      });
      const oneofs = ['ox', 'oy'].map((oneof) => {
        const inside = lines.filter((line) => line.oneof === oneof).map(({ text }) => text);
        return inside.length === 0 ? '' : `oneof ${oneof} { ${inside.join(' ')} }`;
      });
      const outside = lines.filter(({ oneof }) => oneof === '').map(({ text }) => text);
      const inner = index === 0 ? 'enum K { K0 = 0; }' : index === 1 ? 'message N { M1 up = 1; N self = 2; }' : '';
      return `message M${index} { ${outside.join(' ')} ${inner} ${oneofs.join(' ')} }`;
    });
    return `syntax = "proto3"; package r; ${parts.join(' ')} enum E { E0 = 0; E1 = 1; }`;
  }

  it('have tags as buf builds them of the option that holds them', () => {
    const meta = `syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
      message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
      extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
      extend google.protobuf.FieldOptions { Meta field_meta = 1088; }`;
    const text = `syntax = "proto3"; package t; import "confluent/meta.proto";
      message A { option (confluent.message_meta) = { tags: ["ü\\"", "b"] }; int32 plain = 1;
        string a = 2 [(confluent.field_meta).tags = "PII", deprecated = true, (confluent.field_meta).tags = "X"];
        map<string, A> b = 3 [(.confluent.field_meta) = { tags: "M" }]; oneof o { int32 c = 4 [(confluent.field_meta) = { tags: ["O"] }]; } }`;
    const theirs = build({ 'confluent/meta.proto': meta, 't.proto': text }).find(({ name }) => name === 't.proto');
    const optionsOf = (file: FileDescriptorProto | undefined): unknown[] =>
      [file?.messageType[0], ...(file?.messageType[0]?.field ?? [])].map((each) => each?.options?.$unknown);
    expect(optionsOf(ours(text))).toEqual(optionsOf(theirs));
    expect(optionsOf(theirs).filter((each) => each !== undefined)).toHaveLength(4);
  });

  it('are what buf builds of them, text and stored text', () => {
    const texts = fc.sample(messages, { seed, numRuns: 300 }).map(print);
    const files: Record<string, string> = {};
    for (const [index, text] of texts.entries()) {
      const own = text.replace('package r;', `package r${index};`).replaceAll('.r.', `.r${index}.`);
      files[`text${index}.proto`] = own;
      const stored = protobufEngine.parse(own, []).canonical;
      files[`stored${index}.proto`] = stored
        .replace(`package r${index};`, `package s${index};`)
        .replaceAll(`.r${index}.`, `.s${index}.`);
    }
    const built = build(files);
    expect(built.length).toBe(600);
    for (const theirs of built) {
      const text = files[theirs.name] ?? '';
      expect(normal(ours(text)), text).toEqual(normal(theirs));
    }
    const own = Object.entries(files).map(([name, text]) => Object.assign(ours(text), { name }));
    // And a registry can be made of them, which checks that every name leads somewhere.
    for (const file of own) expect([...createFileRegistry(file, () => undefined).files]).toHaveLength(1);
  });
});
