/**
 * Goal: tags in the text of a schema are found and changed, per kind of schema, and references, aliases and what is refused
 * are answered as docs/schema-registry.md says. Method: real HTTP and the real engines; a fresh registry for each test.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type Reply, type SchemaApiHarness, startSchemaApi } from '../testing/schema-api-harness.ts';
import { PROFILE_NAMES } from './profiles.ts';

let api: SchemaApiHarness;
afterEach(() => api.close());
const said = ({ status, body }: Reply): unknown[] => [status, body.error_code, body.message];
const place = (entityPath: string, entityType: string, ...tags: string[]) => ({
  schemaEntity: { entityPath, entityType },
  tags,
});

const ORDER = {
  type: 'record',
  name: 'Order',
  namespace: 'shop',
  fields: [
    { name: 'id', type: 'long' },
    {
      name: 'lines',
      type: {
        type: 'array',
        items: {
          type: 'record',
          name: 'Line',
          namespace: 'shop.part',
          fields: [{ name: 'card', type: ['null', 'string'], default: null, 'confluent:tags': ['PII', 'PCI'] }],
        },
      },
    },
    { name: 'more', type: { type: 'map', values: 'shop.part.Line' } },
  ],
  'confluent:tags': ['SALES'],
};

const USER = {
  type: 'object',
  properties: {
    name: { type: 'string', 'confluent:tags': ['PII'] },
    homes: { type: 'array', items: { type: 'object', properties: { street: { type: 'string' } } } },
    pet: { oneOf: [{ type: 'null' }, { type: 'object', properties: { name: { type: 'string' } } }] },
    boss: { type: ['null', 'object'], properties: { name: { type: 'string' } } },
  },
  definitions: { Car: { type: 'object', properties: { plate: { type: 'string', 'confluent:tags': ['PII'] } } } },
};

const PROTO = `syntax = "proto3";
package shop;

message Order {
  option (confluent.message_meta) = { doc: "a, \\"b\\"", tags: ["SALES"] };
  int64 id = 1;
  string card = 2 [(confluent.field_meta).tags = "PII", (confluent.field_meta).tags = "PCI", deprecated = true];
  message Line {
    string note = 1;
  }
}
`;

const register = (subject: string, schema: unknown, more: object = {}): Promise<Reply> =>
  api.call(`POST /subjects/${subject}/versions`, {
    schema: typeof schema === 'string' ? schema : JSON.stringify(schema),
    ...more,
  });
const tagsOf = async (path: string): Promise<unknown> => (await api.call(`GET ${path}`)).body.schemaTags;

describe('findTags', () => {
  it.each(PROFILE_NAMES)('tells what has a tag, by id and by version, all tags of it: %s', async (profile) => {
    api = await startSchemaApi({ profile });
    await register('orders', ORDER);
    const card = place('shop.part.Line.card', 'sr_field', 'PII', 'PCI');
    const order = place('shop.Order', 'sr_record', 'SALES');
    for (const path of ['/subjects/orders/versions/1', '/schemas/ids/1']) {
      expect(await tagsOf(`${path}?findTags=*`)).toEqual([order, card]);
      expect(await tagsOf(`${path}?findTags=PII`)).toEqual([card]);
      expect(await tagsOf(`${path}?findTags=PCI&findTags=SALES`)).toEqual([order, card]);
      expect(await tagsOf(`${path}?findTags=NONE`)).toBeUndefined();
      expect(await tagsOf(path)).toBeUndefined();
    }
  });

  it('finds them in JSON Schema and Protobuf, and in what an Avro schema refers to', async () => {
    api = await startSchemaApi();
    await register('users', USER, { schemaType: 'JSON' });
    expect(await tagsOf('/subjects/users/versions/1?findTags=PII')).toEqual([
      place('object.name', 'sr_field', 'PII'),
      place('object.definitions.Car.object.plate', 'sr_field', 'PII'),
    ]);
    await register('proto', PROTO, { schemaType: 'PROTOBUF' });
    expect(await tagsOf('/subjects/proto/versions/1?findTags=*')).toEqual([
      place('Order', 'sr_record', 'SALES'),
      place('Order.card', 'sr_field', 'PII', 'PCI'),
    ]);
    await register('orders', ORDER);
    const holder = { type: 'record', name: 'Holder', fields: [{ name: 'order', type: 'shop.Order' }] };
    const references = [{ name: 'shop.Order', subject: 'orders', version: 1 }];
    expect((await register('holders', holder, { references })).status).toBe(200);
    expect(await tagsOf('/subjects/holders/versions/1?findTags=SALES')).toEqual([
      place('shop.Order', 'sr_record', 'SALES'),
    ]);
  });

  it('refuses a text whose names of places are far longer than the text', async () => {
    api = await startSchemaApi();
    const fields = Array.from({ length: 4_000 }, (_, i) => [`f${i}`, { 'confluent:tags': ['T'] }]);
    let schema: object = { type: 'object', properties: Object.fromEntries(fields) };
    for (let i = 0; i < 10; i++) schema = { type: 'object', properties: { ['n'.repeat(1_000)]: schema } };
    expect((await register('long', schema, { schemaType: 'JSON' })).status).toBe(200);
    expect(said(await api.call('GET /subjects/long/versions/1?findTags=T'))).toEqual([
      422,
      42209,
      'Schema is too large: The names of its fields are too long in all.',
    ]);
  });
});

describe('changing tags', () => {
  const change = (subject: string, body: unknown, version = 'latest'): Promise<Reply> =>
    api.call(`POST /subjects/${subject}/versions/${version}/tags`, body);

  it('makes a version with them in an Avro text, and the metadata and rules that are given', async () => {
    api = await startSchemaApi();
    const rule = (name: string) => ({ name, kind: 'CONDITION', type: 'CEL', mode: 'WRITE', expr: 'true' });
    await register('orders', ORDER, {
      metadata: { properties: { owner: 'x' } },
      ruleSet: { domainRules: [rule('a'), rule('b')] },
    });
    const first = await change('orders', {
      newVersion: 2,
      tagsToAdd: [place('.shop.Order.id', 'sr_field', 'KEY'), place('shop.Order.id', 'sr_field', 'KEY', 'INT')],
      tagsToRemove: [
        place('shop.part.Line.card', 'sr_field', 'PII', 'ABSENT'),
        place('shop.Order', 'sr_record', 'SALES'),
      ],
    });
    expect(first.body).toMatchObject({ id: 2, version: 2, metadata: { properties: { owner: 'x' } } });
    expect(first.body.ruleSet.domainRules).toHaveLength(2);
    expect(first.body).not.toHaveProperty('subject');
    const text = JSON.parse((await api.call('GET /subjects/orders/versions/2')).body.schema);
    expect(text).not.toHaveProperty('confluent:tags');
    expect(text.fields[0]).toEqual({ name: 'id', type: 'long', 'confluent:tags': ['KEY', 'INT'] });
    expect(text.fields[1].type.items.fields[0]).toMatchObject({ default: null, 'confluent:tags': ['PCI'] });
    // Nothing changed: nothing new.
    expect((await change('orders', {})).body).toMatchObject({ id: 2, version: 2 });
    const second = await change('orders', {
      metadata: { properties: { owner: 'y' } },
      rulesToMerge: { domainRules: [rule('c')] },
      rulesToRemove: ['a'],
    });
    expect(second.body).toMatchObject({ version: 3, metadata: { properties: { owner: 'y' } } });
    expect(second.body.ruleSet.domainRules.map(({ name }: { name: string }) => name)).toEqual(['b', 'c']);
    const third = await change('orders', { ruleSet: { domainRules: [rule('d')] } });
    expect(third.body).toMatchObject({ version: 4, ruleSet: { domainRules: [rule('d')] } });
  });

  it('makes one with them in JSON Schema, at every place that a path can name', async () => {
    api = await startSchemaApi();
    await register('users', USER, { schemaType: 'JSON' });
    const paths = [
      'object.homes.array.object.street',
      'object.pet.oneof.1.object.name',
      'object.boss.anyof.1.object.name',
      'object.definitions.Car.object.plate',
    ].map((path) => place(path, 'sr_field', 'NEW'));
    const tagged = await change('users', { tagsToAdd: [...paths, place('object', 'sr_record', 'NEW')] });
    expect(tagged.body).toMatchObject({ version: 2, schemaType: 'JSON' });
    expect(await tagsOf('/subjects/users/versions/2?findTags=NEW')).toEqual([
      place('object', 'sr_record', 'NEW'),
      ...paths.slice(0, 3),
      place('object.definitions.Car.object.plate', 'sr_field', 'PII', 'NEW'),
    ]);
    const { properties, definitions, type } = JSON.parse(tagged.body.schema);
    const NEW = { type: 'string', 'confluent:tags': ['NEW'] };
    expect([type, properties.name, properties.homes.items.properties.street]).toEqual([
      'object',
      USER.properties.name,
      NEW,
    ]);
    expect(definitions.Car.properties.plate['confluent:tags']).toEqual(['PII', 'NEW']);
  });

  it('makes one with them in Protobuf, and keeps what else the options say', async () => {
    api = await startSchemaApi();
    await register('proto', PROTO, { schemaType: 'PROTOBUF' });
    const tagged = await change('proto', {
      tagsToAdd: [place('Order.Line.note', 'sr_field', 'A"B'), place('Order.Line', 'sr_record', 'PART')],
      tagsToRemove: [place('Order.card', 'sr_field', 'PII'), place('Order', 'sr_record', 'SALES')],
    });
    expect(tagged.body.schema).toBe(`syntax = "proto3";
package shop;

message Order {
  option (confluent.message_meta) = { doc: "a, \\"b\\"" };
  int64 id = 1;
  string card = 2 [deprecated = true, (confluent.field_meta) = { tags: ["PCI"] }];
  message Line {
    option (confluent.message_meta) = { tags: ["PART"] };
    string note = 1 [(confluent.field_meta) = { tags: ["A\\"B"] }];
  }
}
`);
    expect(await tagsOf('/subjects/proto/versions/2?findTags=*')).toEqual([
      place('Order.card', 'sr_field', 'PCI'),
      place('Order.Line', 'sr_record', 'PART'),
      place('Order.Line.note', 'sr_field', 'A"B'),
    ]);
  });

  it('makes a version of one id with an older one when that had the tags that are asked for', async () => {
    api = await startSchemaApi();
    await register('orders', ORDER);
    const tags = [place('shop.Order.id', 'sr_field', 'KEY')];
    expect((await change('orders', { tagsToAdd: tags })).body).toMatchObject({ id: 2, version: 2 });
    expect((await change('orders', { tagsToRemove: tags })).body).toMatchObject({ id: 1, version: 3 });
    expect(await tagsOf('/subjects/orders/versions/latest?findTags=KEY')).toBeUndefined();
    expect((await change('orders', { tagsToRemove: tags })).body).toMatchObject({ id: 1, version: 3 });
    // Of the version that a path names.
    expect((await change('orders', { newVersion: 4 }, '2')).body).toMatchObject({ id: 2, version: 4 });
    expect((await api.call('GET /schemas/ids/2/versions')).body).toEqual(
      [2, 4].map((version) => ({ subject: 'orders', version })),
    );
  });

  it.each([0, 16_384])('loses none of those that come at the same time, read at once up to %i', async (atOnce) => {
    api = await startSchemaApi({ limits: { atOnceCharacters: atOnce } });
    await register('orders', ORDER);
    const rule = (name: string) => ({ name, kind: 'CONDITION', type: 'CEL', mode: 'WRITE', expr: 'true' });
    const names = ['a', 'b', 'c', 'd'];
    const extended = { ...ORDER, fields: [...ORDER.fields, { name: 'at', type: 'int', default: 0 }] };
    await Promise.all([
      ...names.map((name) =>
        change('orders', {
          tagsToAdd: [place('shop.Order.id', 'sr_field', name)],
          rulesToMerge: { domainRules: [rule(name)] },
        }),
      ),
      register('orders', extended, { propagateSchemaTags: true }),
    ]);
    const { body } = await api.call('GET /subjects/orders/versions/latest?findTags=a');
    expect(body.version).toBe(6);
    expect(body.schemaTags[0].tags.toSorted()).toEqual(names);
    expect(body.ruleSet.domainRules.map((each: { name: string }) => each.name).toSorted()).toEqual(names);
    expect(JSON.parse(body.schema).fields).toHaveLength(4);
  });

  it('refuses what it cannot do', async () => {
    api = await startSchemaApi();
    expect(said(await change('orders', {}))).toEqual([404, 40401, "Subject 'orders' not found."]);
    await register('orders', ORDER);
    expect(said(await change('orders', {}, '7'))).toEqual([404, 40402, 'Version 7 not found.']);
    expect((await change('orders', {}, 'x')).body.error_code).toBe(42202);
    for (const where of [place('shop.Order.no', 'sr_field', 'T'), place('shop.Order', 'sr_field', 'T')])
      expect(said(await change('orders', { tagsToAdd: [where] }))).toEqual([
        422,
        42201,
        `Invalid schema, details: No matching path '${where.schemaEntity.entityPath}' found in the schema`,
      ]);
    for (const [subject, schema, schemaType] of [
      ['users', JSON.stringify(USER), 'JSON'],
      ['proto', PROTO, 'PROTOBUF'],
    ] as const) {
      await register(subject, schema, { schemaType });
      expect((await change(subject, { tagsToRemove: [place('no', 'sr_record', 'T')] })).body.error_code).toBe(42201);
    }
    expect(said(await change('orders', { ruleSet: {}, rulesToRemove: [] }))).toEqual([
      422,
      42210,
      'ruleSet should be omitted if specifying rulesToMerge or rulesToRemove',
    ]);
    expect((await change('orders', { rulesToMerge: { domainRules: [{}] } })).body.error_code).toBe(42210);
    for (const body of [
      { tagsToAdd: 1 },
      { tagsToAdd: [{}] },
      { tagsToAdd: [place('shop.Order', 'record', 'T')] },
      { rulesToRemove: [1] },
    ])
      expect((await change('orders', body)).body.error_code, JSON.stringify(body)).toBe(400);
    expect((await change('orders', { newVersion: 9, metadata: { properties: { a: 'b' } } })).body.error_code).toBe(
      42201,
    );
    await api.call('PUT /mode/orders', { mode: 'READONLY' });
    expect((await change('orders', { metadata: { properties: { a: 'b' } } })).body.error_code).toBe(42205);
  });
});

describe('hostile changes of tags', () => {
  const names = (count: number, prefix: string): string[] => Array.from({ length: count }, (_, at) => `${prefix}${at}`);

  it('are refused when they are more than anybody has, and when a tag is no text', async () => {
    api = await startSchemaApi();
    await register('orders', ORDER);
    const add = (...tags: string[]) => ({ tagsToAdd: [place('shop.Order', 'sr_record', ...tags)] });
    for (const body of [
      add(...names(10_001, 't')),
      { ...add(...names(6_000, 'a')), tagsToRemove: add(...names(6_000, 'b')).tagsToAdd },
    ])
      expect(said(await api.call('POST /subjects/orders/versions/1/tags', body))).toEqual([
        400,
        400,
        'one request changes 10000 tags at most',
      ]);
    // As many as a body holds: not one that this process falls over.
    const most = `{"tagsToAdd":[{"schemaEntity":{"entityPath":"shop.Order","entityType":"sr_record"},"tags":[${'"",'.repeat(400_000)}""]}]}`;
    expect((await api.call('POST /subjects/orders/versions/1/tags', JSON.parse(most))).status).toBe(400);
    expect((await api.call('POST /subjects/orders/versions/1/tags', add('\ud800'))).status).toBe(400);
    expect((await api.call('POST /subjects/orders/versions/1/tags', add(...names(10_000, 't')))).body.version).toBe(2);
  });
});

describe('registering with changes of tags', () => {
  const text = async (): Promise<{ fields: Record<string, unknown>[] }> =>
    JSON.parse((await api.call('GET /subjects/s/versions/latest')).body.schema);

  it('puts them into the text, those of the version before too, and keeps nothing of the request beside it', async () => {
    api = await startSchemaApi();
    const record = (...names: string[]) => ({
      type: 'record',
      name: 'R',
      fields: names.map((name) => ({ name, type: 'string', default: '' })),
    });
    const first = await register('s', record('a', 'b'), {
      schemaTagsToAdd: [place('R.a', 'sr_field', 'A', 'X'), place('R.b', 'sr_field', 'B')],
      schemaTagsToRemove: [place('R.a', 'sr_field', 'X')],
    });
    expect(Object.keys(first.body)).not.toContain('schemaTagsToAdd');
    expect((await text()).fields.map((field) => field['confluent:tags'])).toEqual([['A'], ['B']]);
    // b is gone, and its tag with it.
    await register('s', record('a', 'c'), {
      propagateSchemaTags: true,
      schemaTagsToAdd: [place('R.c', 'sr_field', 'C'), place('R.a', 'sr_field', 'A2')],
    });
    expect((await text()).fields.map((field) => field['confluent:tags'])).toEqual([['A', 'A2'], ['C']]);
    await register('s', record('a'), { propagateSchemaTags: false });
    expect((await text()).fields.map((field) => field['confluent:tags'])).toEqual([undefined]);
    // Without a text: that of the version before.
    const last = await api.call('POST /subjects/s/versions', { schemaTagsToAdd: [place('R', 'sr_record', 'T')] });
    expect(last.body.version).toBe(4);
    expect(await text()).toMatchObject({ 'confluent:tags': ['T'] });
  });

  it('refuses what it cannot do', async () => {
    api = await startSchemaApi();
    const more = { schemaTagsToAdd: [place('R.no', 'sr_field', 'T')] };
    expect((await register('s', ORDER, more)).body.error_code).toBe(42201);
    expect((await register('s', 'no schema', more)).body.error_code).toBe(42201);
    expect((await api.call('POST /subjects/s/versions', more)).body.error_code).toBe(42201);
    expect((await register('s', ORDER, { schemaTagsToAdd: [{}] })).body.error_code).toBe(400);
    expect((await api.call('GET /subjects')).body).toEqual([]);
  });
});

describe('referenceFormat', () => {
  it('tells references as they are kept, or with their contexts; another format is refused', async () => {
    api = await startSchemaApi();
    await register(':.ctx:place', { type: 'record', name: 'Place', fields: [] });
    const person = { type: 'record', name: 'Person', fields: [{ name: 'at', type: 'Place' }] };
    await register(':.ctx:person', person, { references: [{ name: 'Place', subject: 'place', version: 1 }] });
    const { id } = (await api.call('GET /subjects/:.ctx:person/versions/1')).body;
    for (const path of ['/subjects/:.ctx:person/versions/1?', `/schemas/ids/${id}?subject=:.ctx:person&`]) {
      for (const format of ['', 'referenceFormat=', 'referenceFormat=DEFAULT'])
        expect((await api.call(`GET ${path}${format}`)).body.references).toEqual([
          { name: 'Place', subject: 'place', version: 1 },
        ]);
      expect((await api.call(`GET ${path}referenceFormat=qualified`)).body.references).toEqual([
        { name: 'Place', subject: ':.ctx:place', version: 1 },
      ]);
      expect(said(await api.call(`GET ${path}referenceFormat=other`))).toEqual([
        422,
        422,
        expect.stringMatching(/^referenceFormat must be default or qualified/),
      ]);
    }
  });
});

describe('aliases of GET /schemas', () => {
  it('list what the aliases stand for that begin as asked', async () => {
    api = await startSchemaApi();
    for (const subject of ['orders-v1', 'orders-v2', 'users', ':.ctx:orders-v1'])
      await register(subject, { type: 'record', name: 'R', fields: [] });
    await api.call('PUT /config/current', { alias: 'orders-v2' });
    await api.call('PUT /config/cur', { alias: 'orders-v2' });
    await api.call('PUT /config/:.ctx:current', { alias: 'orders-v1' });
    await api.call('PUT /config/currently', { compatibility: 'FULL' });
    const list = async (query: string): Promise<unknown> =>
      (await api.call(`GET /schemas?${query}`)).body.map(({ subject, aliases }: Record<string, unknown>) => [
        subject,
        aliases,
      ]);
    expect(await list('subjectPrefix=cur&aliases=true')).toEqual([['orders-v2', ['cur', 'current']]]);
    expect(await list('subjectPrefix=current&aliases=true')).toEqual([['orders-v2', ['current']]]);
    expect(await list('subjectPrefix=cur')).toEqual([]);
    expect(await list('subjectPrefix=:.ctx:cur&aliases=true')).toEqual([[':.ctx:orders-v1', [':.ctx:current']]]);
    expect(await list('subjectPrefix=orders&aliases=true')).toEqual([
      ['orders-v1', undefined],
      ['orders-v2', undefined],
    ]);
    expect(await list('aliases=true&offset=1')).toEqual([
      ['orders-v1', undefined],
      ['orders-v2', ['cur', 'current']],
      ['users', undefined],
    ]);
  });
});

describe('many aliases of GET /schemas', () => {
  it('are told of as many versions as an answer holds, and refused of more', async () => {
    api = await startSchemaApi();
    await api.registry.updateConfig({ context: '.', name: '' }, { compatibilityLevel: 'NONE' });
    for (let i = 0; i < 20; i++) await register('s', { type: 'fixed', name: 'F', size: i });
    for (let i = 0; i < 1_000; i++)
      await api.registry.updateConfig({ context: '.', name: `${'n'.repeat(1_000)}${i}` }, { alias: 's' });
    expect(said(await api.call('GET /schemas?aliases=true'))).toEqual([
      422,
      42209,
      expect.stringMatching(/the versions have too many aliases in all/),
    ]);
    const { body } = await api.call('GET /schemas?aliases=true&latestOnly=true');
    expect(body.map((each: { aliases: string[] }) => each.aliases.length)).toEqual([1_000]);
    expect((await api.call('GET /schemas')).body).toHaveLength(20);
  });
});

describe('what cannot be honoured', () => {
  it('is refused: force of a registration, where the release has it', async () => {
    for (const profile of PROFILE_NAMES) {
      await api?.close();
      api = await startSchemaApi({ profile });
      const reply = await api.call('POST /subjects/s/versions?force=true', { schema: '"int"' });
      if (profile === 'latest')
        expect(said(reply)).toEqual([422, 422, expect.stringMatching(/^force of a registration is not offered/)]);
      else expect(reply.status).toBe(200);
      expect((await api.call('POST /subjects/s/versions?force=false', { schema: '"int"' })).status).toBe(200);
    }
  });

  it('is refused: the policy LOGICAL, when it is set and where it was set before', async () => {
    api = await startSchemaApi();
    const refusal = [422, 42203, expect.stringMatching(/^compatibilityPolicy LOGICAL is not offered/)];
    for (const path of ['/config', '/config/s'])
      expect(said(await api.call(`PUT ${path}`, { compatibilityPolicy: 'LOGICAL' }))).toEqual(refusal);
    expect((await api.call('PUT /config/s', { compatibilityPolicy: 'OTHER' })).status).toBe(400);
    expect((await api.call('GET /config/s')).body.error_code).toBe(40408);
    await register('s', '"int"');
    // As an earlier release kept it.
    await api.registry.updateConfig({ context: '.', name: 's' }, { compatibilityPolicy: 'LOGICAL' });
    expect(said(await register('s', '"long"'))).toEqual(refusal);
    for (const version of ['', '/latest'])
      expect(said(await api.call(`POST /compatibility/subjects/s/versions${version}`, { schema: '"long"' }))).toEqual(
        refusal,
      );
    expect((await register('s', '"int"')).body.version).toBe(1);
    await api.call('PUT /config/s', { compatibilityPolicy: 'LENIENT' });
    expect((await register('s', '"long"')).body.version).toBe(2);
  });
});
