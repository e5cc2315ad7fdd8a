/**
 * Goal: .proto texts are read in full and printed in one way, whatever is no schema is InvalidSchema and nothing else,
 * descriptors in base64 are the same as their text, and each rule of compatibility has its name and place. Method: tables
 * of texts; hostile texts.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { InvalidSchema, type ReferencedSchema, SCHEMA_LIMITS } from '../schema.ts';
import { findProtoIncompatibilities } from './compare-proto.ts';
import { messageIndexes, protobufEngine } from './protobuf-engine.ts';

const BUF = join(import.meta.dirname, '../../../../node_modules/.bin/buf');

const canonical = (text: string, references: readonly ReferencedSchema[] = []): string =>
  protobufEngine.parse(text, references).canonical;
const three = (body: string): string => `syntax = "proto3"; package p; ${body}`;
const two = (body: string): string => `syntax = "proto2"; package p; ${body}`;
const reference = (name: string, text: string, references: readonly ReferencedSchema[] = []): ReferencedSchema => ({
  name,
  text,
  references,
});

function judge(reader: string, writer: string, oneofRule: 'before' | 'latest' = 'latest'): readonly string[] {
  const now = protobufEngine.parse(reader, []);
  const old = protobufEngine.parse(writer, []);
  return findProtoIncompatibilities(now, old, { limits: SCHEMA_LIMITS, oneofRule }).map(
    ({ type, path }) => `${type} ${path}`,
  );
}

function refusal(text: string, references: readonly ReferencedSchema[] = []): InvalidSchema {
  try {
    protobufEngine.parse(text, references);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidSchema);
    return error as InvalidSchema;
  }
  throw new Error(`accepted: ${text.slice(0, 300)}`);
}

/** Builds files as buf does; what it gives back are their descriptors. */
function build(files: Readonly<Record<string, string>>) {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-buf-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const image = execFileSync(BUF, ['build', directory, '--as-file-descriptor-set', '-o', '-#format=binpb']);
    return fromBinary(FileDescriptorSetSchema, image).file;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Nearly all that the grammar has. */
const RICH = `// A comment.
syntax = 'proto2';
package shop.v1; /* another */
import "google/protobuf/timestamp.proto";
import public "google/protobuf/descriptor.proto";
option java_package = "com" ".shop";
option optimize_for = SPEED;
option (file_mark) = { name: "x" tags: ["a", 'b"c'] inner { n: -1 } inner < n: 2 > };
message Mark { optional string name = 1; repeated string tags = 2; repeated Mark inner = 3; optional int32 n = 4; }
extend google.protobuf.FileOptions { optional Mark file_mark = 50000; }
extend google.protobuf.FieldOptions { optional Mark mark = 50001; }
enum Kind { option allow_alias = true; NONE = 0; ZERO = 0; NEGATIVE = -0x10 [deprecated = true]; reserved 5 to 7, -3; reserved "OLD"; }
message Order {
  option deprecated = true;
  reserved 100, 200 to 210;
  reserved "gone", 'lost';
  extensions 1000 to 1999, 536870000 to max;
  required int64 id = 1;
  optional string note = 2 [default = "a\\"b\\n\\303\\251", (mark).name = "n", (mark).n = 3, deprecated = false];
  optional double ratio = 3 [default = -inf];
  optional bytes raw = 04 [default = '\\x00"'];
  repeated int32 counts = 5 [packed = true];
  map<string, .shop.v1.Order.Line> lines = 6;
  oneof pay { Card card = 7; string cash = 8; group Voucher = 9 { optional string code = 1; } }
  optional group Extra = 10 { optional Kind kind = 1 [default = ZERO]; }
  optional google.protobuf.Timestamp at = 11;
  optional Kind message = 12;
  message Line { optional Order.Card card = 1; }
  message Card { optional string number = 1; }
  extend Order { optional int32 more = 1000; }
}
service Orders {
  option deprecated = true;
  rpc Get(Order) returns (stream Order.Line);
  rpc Put(stream .shop.v1.Order) returns (Order) { option idempotency_level = IDEMPOTENT; };
}
`;

describe('the text', () => {
  it('is printed in one way, which is read as itself', () => {
    const text = canonical(RICH);
    expect(text).toMatchSnapshot();
    expect(canonical(text)).toBe(text);
    expect(canonical(text.replace('message Order', '// said\n message\n  Order'))).toBe(text);
  });

  it('means to buf what the original means', () => {
    const schema = protobufEngine.parse(RICH, []);
    const [original, printed, normalized] = [RICH, schema.canonical, schema.normalized].map((text) => {
      const file = build({ 'a.proto': text }).find(({ name }) => name === 'a.proto');
      if (file === undefined) throw new Error('buf built no such file');
      file.sourceCodeInfo = undefined as never;
      // Fields and nested types may change places with those of groups and oneofs; nothing else may change.
      for (const message of file.messageType) {
        message.field.sort((a, b) => a.number - b.number);
        message.nestedType.sort((a, b) => (a.name < b.name ? -1 : 1));
      }
      return Buffer.from(toBinary(FileDescriptorProtoSchema, file)).toString('hex');
    });
    expect(printed).toBe(original);
    expect(normalized?.length).toBe(original?.length);
  });

  it('normalized, has imports and options in order and full names', () => {
    const one = three(
      'import "google/protobuf/duration.proto"; import "google/protobuf/any.proto"; option b_x = 1; option a_x = 2; message A { B b = 1; google.protobuf.Any c = 2; message B {} }',
    );
    const other = three(
      'import "google/protobuf/any.proto"; import "google/protobuf/duration.proto"; option a_x = 2; option b_x = 1; message A { .p.A.B b = 1; .google.protobuf.Any c = 2; message B {} }',
    );
    expect(protobufEngine.parse(one, []).normalized).toBe(protobufEngine.parse(other, []).normalized);
    expect(protobufEngine.parse(one, []).canonical).not.toBe(protobufEngine.parse(other, []).canonical);
    expect(protobufEngine.parse(one, []).normalized).toContain('.p.A.B b = 1;');
  });

  it('of a descriptor in base64 is the text it was built from', () => {
    const texts = [
      three(
        'import "google/protobuf/any.proto"; enum E { Z = 0; } message A { optional int32 a = 1; map<string, B> m = 2; oneof o { string s = 3; B b = 4; } repeated E e = 5 [packed = false]; B c = 6 [json_name = "other", deprecated = true]; google.protobuf.Any any = 7; message B { reserved 1 to 3, 9; reserved "x"; } }',
      ),
      two(
        'message A { required int32 a = 1; optional string s = 2 [default = "\\"q\\\\"]; optional group G = 3 { repeated int32 i = 1; } extensions 10 to max; }',
      ),
      'edition = "2023"; package p; option features.field_presence = IMPLICIT; message A { string a = 1 [features.field_presence = EXPLICIT]; }',
    ];
    for (const text of texts) {
      const file = build({ 'a.proto': text }).find(({ name }) => name === 'a.proto');
      if (file === undefined) throw new Error('buf built no such file');
      const base64 = Buffer.from(toBinary(FileDescriptorProtoSchema, file)).toString('base64');
      const fromText = protobufEngine.parse(text, []);
      const fromDescriptor = protobufEngine.parse(base64, []);
      expect(
        fromDescriptor.normalized
          .replaceAll('features = { field_presence: IMPLICIT }', 'features.field_presence = IMPLICIT')
          .replaceAll('features = { field_presence: EXPLICIT }', 'features.field_presence = EXPLICIT'),
      ).toBe(fromText.normalized);
      expect(protobufEngine.findIncompatibilities(fromDescriptor, fromText)).toEqual([]);
      expect(canonical(fromDescriptor.canonical)).toBe(fromDescriptor.canonical);
    }
    expect(refusal('AAAA').message).toContain('base64');
    expect(refusal('abc').message).toContain('base64');
  });
});

describe('imports', () => {
  const common = reference('common.proto', 'syntax = "proto3"; package common; message C {}');

  it('are references, or files that everybody has', () => {
    expect(canonical(three('import "common.proto"; message A { common.C c = 1; }'), [common])).toContain(
      'common.C c = 1;',
    );
    for (const path of ['google/protobuf/timestamp.proto', 'confluent/meta.proto', 'confluent/type/decimal.proto'])
      expect(canonical(three(`import "${path}";`))).toContain(path);
    expect(refusal(three('import "common.proto";')).message).toContain('common.proto');
    expect(refusal(three('import "/etc/passwd";')).message).toContain('/etc/passwd');
    expect(refusal(three('import "common.proto"; import "common.proto";'), [common]).message).toContain('twice');
  });

  it('show what they define, and what they import publicly', () => {
    const through = (kind: string) =>
      reference('through.proto', `syntax = "proto3"; import ${kind} "common.proto";`, [common]);
    const text = three('import "through.proto"; message A { common.C c = 1; }');
    expect(canonical(text, [through('public')])).toContain('common.C');
    expect(refusal(text, [through('')]).message).toContain('common.C');
    expect(refusal(three('message A { common.C c = 1; }'), [common]).message).toContain('common.C');
  });

  it('that are compared, when a field leads to them', () => {
    const parse = (fields: string) =>
      protobufEngine.parse(three('import "common.proto"; message A { common.C c = 1; }'), [
        reference('common.proto', `syntax = "proto3"; package common; message C { ${fields} }`),
      ]);
    expect(
      protobufEngine
        .findIncompatibilities(parse('string a = 1;'), parse('int32 a = 1;'))
        .map(({ type, path }) => [type, path]),
    ).toEqual([['FIELD_SCALAR_KIND_CHANGED', '#/common/C/1']]);
  });
});

describe('no schema is', () => {
  it.each([
    '',
    '  ',
    '{}',
    'syntax = "proto4";',
    'edition = "1999";',
    'message A {',
    'message A { int32 a = 1; }',
    'message A { optional int32 a; }',
    'message __proto__ { optional __proto_ a = 1; }',
    three('message A {} message A {}'),
    three('message A { int32 a = 1; int32 b = 1; }'),
    three('message A { int32 a = 1; int32 a = 2; }'),
    three('message A { int32 a = 0; }'),
    three('message A { int32 a = 536870912; }'),
    three('message A { int32 a = 19500; }'),
    three('message A { reserved 1 to 5; int32 a = 3; }'),
    three('message A { reserved "a"; int32 a = 3; }'),
    three('message A { reserved 1 to 5, 5; }'),
    three('message A { required int32 a = 1; }'),
    three('message A { int32 a = 1 [default = 1]; }'),
    three('message A { group G = 1 {} }'),
    three('message A { Missing a = 1; }'),
    three('message A { map<float, int32> a = 1; }'),
    three('message A { map<string, int32> a = 1; message AEntry {} }'),
    three('message A { repeated map<string, int32> a = 1; }'),
    three('message A { oneof o { } }'),
    three('message A { oneof o { repeated int32 a = 1; } }'),
    three('enum E { A = 1; }'),
    three('enum E { }'),
    three('enum E { A = 0; B = 0; }'),
    three('enum E { A = 0; } enum F { A = 0; }'),
    three('service S { rpc A(int32) returns (int32); }'),
    three('option a = ;'),
    three('option a = "b'),
    three('option a = "\\q";'),
    three('/* never ends'),
    three('extend Missing { optional int32 a = 1; }'),
    three('import "a.proto"'),
    'package a; package b;',
    // The first part of a name decides, as it does for protoc: p.p is no message, so p.A is not looked for further out.
    'syntax = "proto3"; package p; message A {} message B { message p { } p.A a = 1; }',
  ])('%s', (text) => {
    expect(refusal(text).tooLarge).toBe(false);
  });

  it('what nests too deep or is too long, which says so, and soon', () => {
    const startedAt = performance.now();
    for (const bomb of [
      'message A {'.repeat(80_000),
      three(`option a = ${'{a:'.repeat(200_000)}`),
      three(`option a = { a: ${'['.repeat(200_000)}`),
      `syntax = "proto2"; message A {${'optional group A = 1 {'.repeat(40_000)}`,
      ' '.repeat(1_000_001),
    ])
      expect(refusal(bomb).tooLarge, bomb.slice(0, 60)).toBe(true);
    for (const long of [
      `message ${'a.'.repeat(400_000)}`,
      `//${'\n//'.repeat(300_000)}`,
      '"'.repeat(900_000),
      '\\'.repeat(900_000),
    ])
      expect(() => protobufEngine.parse(`${long}\n!`, [])).toThrow(InvalidSchema);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });
});

describe('a reader', () => {
  const a = (fields: string): string =>
    three(`enum E { Z = 0; } enum F { Y = 0; } message A { ${fields} } message B {} message C {}`);

  it.each([
    [three('message A {}'), three('message A {}').replace('package p', 'package q'), ['PACKAGE_CHANGED #/']],
    [three('message A {}'), three('message A {} message B {}'), ['MESSAGE_REMOVED #/B']],
    [three('message A {} message B {}'), three('message A {}'), []],
    [three('message A {}'), three('message A { message I {} }'), ['MESSAGE_REMOVED #/A/I']],
    [three('message A {}'), three('message A {} enum E { Z = 0; }'), []],
    [a('int64 a = 1;'), a('bool a = 1;'), []],
    [a('E a = 1;'), a('uint32 a = 1;'), []],
    [a('sint32 a = 1;'), a('int32 a = 1;'), ['FIELD_SCALAR_KIND_CHANGED #/A/1']],
    [a('fixed64 a = 1;'), a('fixed32 a = 1;'), ['FIELD_SCALAR_KIND_CHANGED #/A/1']],
    [a('double a = 1;'), a('fixed64 a = 1;'), ['FIELD_SCALAR_KIND_CHANGED #/A/1']],
    [a('bytes a = 1;'), a('string a = 1;'), []],
    [a('B a = 1;'), a('string a = 1;'), ['FIELD_KIND_CHANGED #/A/1']],
    [a('C a = 1;'), a('B a = 1;'), ['FIELD_NAMED_TYPE_CHANGED #/A/1']],
    [a('F a = 1;'), a('E a = 1;'), ['FIELD_NAMED_TYPE_CHANGED #/A/1']],
    [a('.p.B a = 1;'), a('B a = 1;'), []],
    [a('B b = 1;'), a('B a = 1;'), []],
    [a(''), a('int32 a = 1; map<string, int32> b = 2;'), []],
    [a('repeated int32 a = 1;'), a('int32 a = 1;'), ['FIELD_NUMERIC_LABEL_CHANGED #/A/1']],
    [a('repeated string a = 1;'), a('string a = 1;'), []],
    [a('optional int32 a = 1;'), a('int32 a = 1;'), []],
    [
      a('map<string, int32> a = 1;'),
      a('map<bytes, int32> a = 1;'.replace('bytes', 'int32')),
      ['FIELD_SCALAR_KIND_CHANGED #/A/1'],
    ],
    [a('map<string, string> a = 1;'), a('map<string, int32> a = 1;'), ['FIELD_SCALAR_KIND_CHANGED #/A/1']],
    [a('repeated B a = 1;'), a('map<string, int32> a = 1;'), ['FIELD_KIND_CHANGED #/A/1']],
    [two('message A { required int32 a = 1; }'), two('message A { }'), ['REQUIRED_FIELD_ADDED #/A/1']],
    [
      two('message A { required int32 a = 1; }'),
      two('message A { optional int32 a = 1; }'),
      ['REQUIRED_FIELD_ADDED #/A/1'],
    ],
    [two('message A { }'), two('message A { required int32 a = 1; }'), ['REQUIRED_FIELD_REMOVED #/A/1']],
    [
      two('message A { optional group G = 1 {} }'),
      two('message A { message G {} optional G g = 1; }'),
      ['FIELD_KIND_CHANGED #/A/1'],
    ],
    [a('oneof o { int32 a = 1; }'), a('oneof o { int32 a = 1; int32 b = 2; }'), ['ONEOF_FIELD_REMOVED #/A/o/2']],
    [a(''), a('oneof o { int32 a = 1; int32 b = 2; }'), []],
    [a('oneof o { int32 a = 1; int32 b = 2; }'), a('oneof o { int32 a = 1; }'), []],
    [a('oneof o { int32 a = 1; }'), a('int32 a = 1;'), []],
    [
      a('oneof o { int32 a = 1; int32 b = 2; }'),
      a('int32 a = 1; int32 b = 2;'),
      ['MULTIPLE_FIELDS_MOVED_TO_ONEOF #/A/o'],
    ],
    [
      a('oneof o { int32 a = 1; int32 b = 2; }'),
      a('oneof o { int32 a = 1; } int32 b = 2;'),
      ['FIELD_MOVED_TO_EXISTING_ONEOF #/A/o/2'],
    ],
  ])('%s of what was written with %s', (reader, writer, expected) => {
    expect(judge(reader, writer)).toEqual(expected);
  });

  it('takes oneofs by the older rule when asked', () => {
    const both = a('oneof o { int32 a = 1; int32 b = 2; }');
    const out = a('oneof o { int32 a = 1; } int32 b = 2;');
    expect(judge(out, both)).toEqual([]);
    expect(judge(out, both, 'before')).toEqual(['ONEOF_FIELD_REMOVED #/A/o/2']);
    const renamed = a('oneof q { int32 a = 1; }');
    expect(judge(renamed, both)).toEqual(['ONEOF_FIELD_REMOVED #/A/o/2']);
    expect(judge(renamed, both, 'before')).toEqual([]);
  });

  it('that is recursive ends, and steps are bounded', () => {
    const text = three('message A { B b = 1; } message B { A a = 1; repeated B b = 2; }');
    expect(judge(text, text)).toEqual([]);
    const schema = protobufEngine.parse(text, []);
    expect(() =>
      protobufEngine.findIncompatibilities(schema, schema, { limits: { ...SCHEMA_LIMITS, stepsMax: 2 } }),
    ).toThrow(InvalidSchema);
  });
});

describe('message indexes', () => {
  it('are the path to a message in the order of the text', () => {
    const schema = protobufEngine.parse(
      three('message A {} message B { message C {} message D { message E {} } }'),
      [],
    );
    expect(messageIndexes(schema, 'p.A')).toEqual([0]);
    expect(messageIndexes(schema, 'p.B.D.E')).toEqual([1, 1, 0]);
    expect(messageIndexes(schema, 'p.X')).toBeUndefined();
  });
});
