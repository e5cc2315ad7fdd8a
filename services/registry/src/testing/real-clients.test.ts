/**
 * Goal: real clients for JavaScript run unchanged, their serialisers included. Method: @confluentinc/schemaregistry and
 * @kafkajs/confluent-schema-registry against the API over real HTTP; what is stored is read by avsc, ajv and buf.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, createFileRegistry, createMutableRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Ajv } from 'ajv';
import avsc from 'avsc';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { confluentClient, kafkajsClient } from './confluent-client.ts';
import { type SchemaApiHarness, startSchemaApi } from './schema-api-harness.ts';

let api: SchemaApiHarness;
beforeEach(async () => {
  api = await startSchemaApi();
});
afterEach(() => api.close());

const ORDER = {
  type: 'record',
  name: 'Order',
  namespace: 'shop',
  fields: [
    { name: 'id', type: 'long' },
    { name: 'note', type: ['null', 'string'], default: null },
  ],
};

it('@confluentinc/schemaregistry registers, serialises, reads back, evolves and deletes', async () => {
  const { SchemaRegistryClient, AvroSerializer, AvroDeserializer } = await confluentClient();
  const client = SchemaRegistryClient.newClient({ baseURLs: [api.url] });
  const info = { schema: JSON.stringify(ORDER), schemaType: 'AVRO' };
  const id = await client.register('orders-value', info);
  expect(await client.getId('orders-value', info)).toBe(id);
  expect(await client.getAllSubjects()).toEqual(['orders-value']);
  expect(await client.getAllVersions('orders-value')).toEqual([1]);
  expect((await client.getLatestSchemaMetadata('orders-value')).version).toBe(1);
  const full = await client.registerFullResponse('orders-value', info);
  expect((await client.getByGuid(full.guid!)).schema).toBe(JSON.stringify(ORDER));

  const serializer = new AvroSerializer(client, 'VALUE', { useLatestVersion: true });
  const bytes = await serializer.serialize('orders', { id: 7, note: 'x' });
  expect([bytes[0], bytes.readInt32BE(1)]).toEqual([0, id]);
  const stored = await client.getBySubjectAndId('orders-value', id);
  expect(avsc.Type.forSchema(JSON.parse(stored.schema)).fromBuffer(bytes.subarray(5))).toMatchObject({
    id: 7,
    note: 'x',
  });
  const deserializer = new AvroDeserializer(client, 'VALUE', {});
  expect(await deserializer.deserialize('orders', bytes)).toMatchObject({ id: 7, note: 'x' });

  const narrower = { schema: JSON.stringify({ ...ORDER, fields: [{ name: 'id', type: 'string' }] }) };
  expect(await client.testSubjectCompatibility('orders-value', narrower)).toBe(false);
  await expect(client.register('orders-value', narrower)).rejects.toMatchObject({ status: 409, errorCode: 40901 });
  expect(await client.updateCompatibility('orders-value', 'NONE')).toBe('NONE');
  expect(await client.getCompatibility('orders-value')).toBe('NONE');
  expect(await client.getDefaultCompatibility()).toBe('BACKWARD');
  expect(await client.deleteSubject('orders-value', false)).toEqual([1]);
  expect(await client.deleteSubject('orders-value', true)).toEqual([1]);
});

it('@kafkajs/confluent-schema-registry registers, encodes and decodes, and sets the level of a new subject', async () => {
  const client = await kafkajsClient(api.url);
  const { id } = await client.register({ type: 'AVRO', schema: JSON.stringify(ORDER) });
  expect((await api.call('GET /config/shop.Order')).body).toEqual({ compatibilityLevel: 'BACKWARD' });
  const bytes = await client.encode(id, { id: 7, note: null });
  expect(await client.decode(bytes)).toMatchObject({ id: 7, note: null });
  expect(await client.getLatestSchemaId('shop.Order')).toBe(id);
  expect(await client.getRegistryId('shop.Order', 1)).toBe(id);
});

it('@confluentinc/schemaregistry with JSON Schema: written, validated and read; ajv reads what is stored', async () => {
  const { SchemaRegistryClient, JsonSerializer, JsonDeserializer } = await confluentClient();
  const client = SchemaRegistryClient.newClient({ baseURLs: [api.url] });
  const schema = JSON.stringify({
    type: 'object',
    title: 'User',
    properties: { name: { type: 'string', maxLength: 5 } },
    required: ['name'],
    additionalProperties: false,
  });
  const id = await client.register('users-value', { schema, schemaType: 'JSON' });
  const serializer = new JsonSerializer(client, 'VALUE', { useLatestVersion: true, validate: true });
  const bytes = await serializer.serialize('users', { name: 'x' });
  const deserializer = new JsonDeserializer(client, 'VALUE', {});
  expect(await deserializer.deserialize('users', bytes)).toEqual({ name: 'x' });
  await expect(serializer.serialize('users', { name: 'longer than five' })).rejects.toThrow();
  const stored = JSON.parse((await client.getBySubjectAndId('users-value', id)).schema) as object;
  const validate = new Ajv().compile(stored);
  expect([validate({ name: 'x' }), validate({ name: 5 })]).toEqual([true, false]);
  expect(
    await client.testSubjectCompatibility('users-value', { schema: schema.replace('5', '4'), schemaType: 'JSON' }),
  ).toBe(false);
  expect((await api.call('POST /subjects/users-value/versions', { schema: '"string"' })).body.message).toMatch(
    /SCHEMA_TYPE_CHANGED/,
  );
});

const PLACE = 'syntax = "proto3";\npackage shop;\nmessage Place { string name = 1; }';
const WITH_PLACE = `syntax = "proto3"; package shop; import "place.proto"; import "google/protobuf/timestamp.proto";
  message First { map<string, int32> counts = 1; message Inner { int64 n = 1; } }
  message Order { message Other {} message Line { Place at = 1; optional int64 maybe = 2; map<string, Kind> kinds = 3;
    oneof pay { string cash = 4; Other card = 5; } google.protobuf.Timestamp when = 6; }
    map<int32, Line> lines = 1; enum Kind { NONE = 0; SOME = 1; } }`;

const BUF = join(import.meta.dirname, '../../../../node_modules/.bin/buf');

/** What buf builds of the files. */
function built(files: Readonly<Record<string, string>>): ReturnType<typeof createFileRegistry> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-buf-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const image = execFileSync(BUF, ['build', directory, '--as-file-descriptor-set', '-o', '-#format=binpb']);
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

it('@confluentinc/schemaregistry with Protobuf: an import, messages inside others, and buf reads what is stored', async () => {
  const { SchemaRegistryClient, ProtobufSerializer, ProtobufDeserializer } = await confluentClient();
  const client = SchemaRegistryClient.newClient({ baseURLs: [api.url] });
  const types = built({ 'place.proto': PLACE, 'order.proto': WITH_PLACE });
  const line = types.getMessage('shop.Order.Line')!;
  const inner = types.getMessage('shop.First.Inner')!;
  const registry = createMutableRegistry(types);
  const serializer = new ProtobufSerializer(client, 'VALUE', { registry, autoRegisterSchemas: true });
  const deserializer = new ProtobufDeserializer(client, 'VALUE', {});
  const value = {
    at: { name: 'here' },
    maybe: 0n,
    kinds: { a: 1 },
    pay: { case: 'cash', value: 'x' },
    when: { seconds: 5n },
  };
  const bytes = await serializer.serialize('orders', create(line, value as never));
  // The magic byte, the id, two indexes as zigzag varints: [1, 1].
  expect([...bytes.subarray(5, 8)]).toEqual([4, 2, 2]);
  expect(await deserializer.deserialize('orders', bytes)).toMatchObject({ $typeName: 'shop.Order.Line', ...value });
  const other = await serializer.serialize('orders', create(inner, { n: 7n } as never));
  expect(await deserializer.deserialize('orders', other)).toMatchObject({ $typeName: 'shop.First.Inner', n: 7n });
  // A reader that knows nothing but the registry.
  const fresh = new ProtobufDeserializer(SchemaRegistryClient.newClient({ baseURLs: [api.url] }), 'VALUE', {});
  expect(await fresh.deserialize('orders', bytes)).toMatchObject(value);

  const stored = await api.call('GET /subjects/orders-value/versions/1');
  expect(stored.body.references).toEqual([{ name: 'place.proto', subject: 'place.proto', version: 1 }]);
  const place = await api.call('GET /subjects/place.proto/versions/1/schema');
  const again = built({ 'place.proto': place.body as string, 'order.proto': stored.body.schema as string });
  // Fields of oneofs come after the others in what is stored; numbers say what is what.
  const told = (types: ReturnType<typeof built>) =>
    [...types].map((type) =>
      type.kind === 'message' ? `${type.typeName} ${type.fields.map(String).sort().join()}` : type.typeName,
    );
  expect(told(again).sort()).toEqual(told(types).sort());
});

it('takes a field out of a oneof as the release does that it answers as', async () => {
  const old = 'syntax = "proto3"; message A { oneof x { int32 a = 1; int32 b = 2; } }';
  const now = 'syntax = "proto3"; message A { oneof x { int32 a = 1; } int32 b = 2; }';
  for (const [profile, code] of [
    ['confluent-7', 409],
    ['confluent-8.1', 409],
    ['latest', undefined],
  ] as const) {
    const other = await startSchemaApi({ profile });
    try {
      const register = (schema: string) => other.call('POST /subjects/a/versions', { schema, schemaType: 'PROTOBUF' });
      expect((await register(old)).status).toBe(200);
      expect((await register(now)).body.error_code, profile).toBe(code);
    } finally {
      await other.close();
    }
  }
});

it('takes Protobuf with imports, and judges it', async () => {
  const proto =
    'syntax = "proto3";\npackage shop;\nimport "place.proto";\nmessage Order { int64 id = 1; Place at = 2; }';
  const place = 'syntax = "proto3";\npackage shop;\nmessage Place { string name = 1; }';
  await api.call('POST /subjects/place/versions', { schema: place, schemaType: 'PROTOBUF' });
  const references = [{ name: 'place.proto', subject: 'place', version: 1 }];
  const reply = await api.call('POST /subjects/order/versions', { schema: proto, schemaType: 'PROTOBUF', references });
  expect(reply.body).toMatchObject({ id: 2, references });
  expect((await api.call('POST /subjects/order', { schema: proto, schemaType: 'PROTOBUF', references })).body.id).toBe(
    2,
  );
  const narrower = proto.replace('int64 id', 'string id');
  const refusal = await api.call('POST /subjects/order/versions', {
    schema: narrower,
    schemaType: 'PROTOBUF',
    references,
  });
  expect(refusal.body.error_code).toBe(40901);
});
