/**
 * Goal: each parameter of each endpoint does what docs/schema-registry.md and the published description of the API say,
 * and each endpoint refuses with its codes. Method: real HTTP and the real engines; a fresh registry for each test.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { afterEach, describe, expect, it } from 'vitest';
import { type Reply, type SchemaApiHarness, startSchemaApi } from '../testing/schema-api-harness.ts';
import { PROFILE_NAMES } from './profiles.ts';

let api: SchemaApiHarness;
afterEach(() => api.close());
const INT = { schema: '"int"' };
const LONG = { schema: '"long"' };
const post = (subject: string, body: object): Promise<Reply> => api.call(`POST /subjects/${subject}/versions`, body);
const get = async (path: string): Promise<unknown> => (await api.call(`GET ${path}`)).body;
const code = async (what: string, body?: unknown): Promise<number> => (await api.call(what, body)).body.error_code;
const versionsOf = (list: unknown): unknown[] =>
  (list as { subject: string; version: number }[]).map(({ subject, version }) => `${subject}/${version}`);

/** s: 1 (int, deleted), 2 (long); t: 1 (int); gone: 1 (int, deleted). */
async function someVersions(): Promise<void> {
  await post('s', INT);
  await post('s', LONG);
  await post('t', INT);
  await post('gone', INT);
  await api.call('DELETE /subjects/s/versions/1');
  await api.call('DELETE /subjects/gone');
}

describe('lists', () => {
  it('of schemas: deleted, latestOnly, ruleType, offset, limit', async () => {
    api = await startSchemaApi();
    await someVersions();
    expect(versionsOf(await get('/schemas'))).toEqual(['s/2', 't/1']);
    expect(versionsOf(await get('/schemas?deleted=true'))).toEqual(['gone/1', 's/1', 's/2', 't/1']);
    expect(versionsOf(await get('/schemas?deleted=true&latestOnly=true'))).toEqual(['gone/1', 's/2', 't/1']);
    expect(versionsOf(await get('/schemas?deleted=true&offset=1&limit=2'))).toEqual(['s/1', 's/2']);
    expect(versionsOf(await get('/schemas?limit=-1'))).toEqual(['s/2', 't/1']);
    // An empty type is none.
    expect(versionsOf(await get('/schemas?ruleType='))).toEqual(['s/2', 't/1']);
  });

  it('of what has an id: deleted, subject, offset, limit', async () => {
    api = await startSchemaApi();
    await someVersions();
    expect(await get('/schemas/ids/1/subjects')).toEqual(['t']);
    expect(await get('/schemas/ids/1/subjects?deleted=true')).toEqual(['gone', 's', 't']);
    expect(await get('/schemas/ids/1/subjects?deleted=true&offset=1&limit=1')).toEqual(['s']);
    expect(await get('/schemas/ids/1/subjects?deleted=true&subject=gone')).toEqual(['gone']);
    expect(versionsOf(await get('/schemas/ids/1/versions'))).toEqual(['t/1']);
    expect(versionsOf(await get('/schemas/ids/1/versions?deleted=true&offset=2'))).toHaveLength(1);
    expect(versionsOf(await get('/schemas/ids/1/versions?deleted=true&subject=s'))).toEqual(['s/1']);
    for (const what of ['subjects', 'versions']) expect(await code(`GET /schemas/ids/9/${what}`)).toBe(40403);
  });

  it('of versions and subjects: deleted, deletedOnly, deletedAsNegative, offset, limit', async () => {
    api = await startSchemaApi();
    await someVersions();
    expect(await get('/subjects/s/versions')).toEqual([2]);
    expect(await get('/subjects/s/versions?deleted=true&limit=1')).toEqual([1]);
    expect(await get('/subjects/s/versions?deleted=true&offset=1')).toEqual([2]);
    expect(await get('/subjects/s/versions?deletedOnly=true&deletedAsNegative=true')).toEqual([-1]);
    expect(await code('GET /subjects/gone/versions')).toBe(40401);
    expect(await get('/subjects/gone/versions?deleted=true')).toEqual([1]);
    expect(await code('GET /subjects/t/versions?deletedOnly=true')).toBe(40401);
    expect(await get('/subjects?deletedOnly=true')).toEqual(['gone']);
    expect(await get('/subjects?deleted=true&offset=1&limit=1')).toEqual(['s']);
    expect(await code('GET /subjects?offset=x')).toBe(404);
  });

  it('of who refers to a version: deleted, offset, limit', async () => {
    api = await startSchemaApi();
    await post('place', { schema: '{"type":"record","name":"Place","fields":[]}' });
    const references = [{ name: 'Place', subject: 'place', version: 1 }];
    for (const name of ['A', 'B', 'C'])
      await post(name, {
        schema: `{"type":"record","name":"${name}","fields":[{"name":"at","type":"Place"}]}`,
        references,
      });
    await api.call('DELETE /subjects/B');
    const path = '/subjects/place/versions/1/referencedby';
    expect(await get(path)).toEqual([2, 4]);
    expect(await get(`${path}?deleted=true`)).toEqual([2, 3, 4]);
    expect(await get(`${path}?deleted=true&offset=1&limit=1`)).toEqual([3]);
    expect(await code('GET /subjects/place/versions/x/referencedby')).toBe(42202);
    expect(await code('GET /subjects/place/versions/2/referencedby')).toBe(40402);
    expect(await code('GET /subjects/none/versions/1/referencedby')).toBe(40401);
  });

  it('of contexts: contextPrefix, offset, limit', async () => {
    api = await startSchemaApi();
    for (const context of ['.a1', '.a2', '.b']) await post(`:${context}:s`, INT);
    expect(await get('/contexts')).toEqual(['.', '.a1', '.a2', '.b']);
    expect(await get('/contexts?contextPrefix=.a')).toEqual(['.a1', '.a2']);
    expect(await get('/contexts?offset=1&limit=2')).toEqual(['.a1', '.a2']);
  });
});

describe('one schema', () => {
  it('with deleted: by version, as text, by metadata, by its text', async () => {
    api = await startSchemaApi();
    await post('s', { ...INT, metadata: { properties: { a: 'b' } } });
    await post('s', { ...LONG, metadata: { properties: {} } });
    await api.call('DELETE /subjects/s/versions/1');
    expect(await code('GET /subjects/s/versions/1/schema')).toBe(40402);
    expect(await get('/subjects/s/versions/1/schema?deleted=true')).toBe('int');
    expect(await code('GET /subjects/none/versions/1/schema')).toBe(40401);
    expect(await code('GET /subjects/s/versions/x/schema')).toBe(42202);
    await api.call('DELETE /subjects/s/versions/2');
    expect(await code('GET /subjects/s/metadata?key=a&value=b')).toBe(40401);
    expect(await get('/subjects/s/metadata?key=a&value=b&deleted=true')).toMatchObject({ version: 1 });
    expect(await code('POST /subjects/s', LONG)).toBe(40401);
    expect((await api.call('POST /subjects/s?deleted=true', LONG)).body).toMatchObject({ version: 2, deleted: true });
    expect((await api.call('GET /subjects/s/versions/latest?deleted=true')).body.version).toBe(2);
  });

  it('with normalize: found and registered as the same, whatever the order of attributes', async () => {
    api = await startSchemaApi();
    const written = { schema: '{"type":"string","z":1,"a":2}' };
    const other = { schema: '{"type":"string","a":2,"z":1}' };
    await post('s', written);
    expect(await code('POST /subjects/s', other)).toBe(40403);
    await api.call('POST /subjects/t/versions?normalize=true', written);
    expect((await api.call('POST /subjects/t/versions?normalize=true', other)).body.version).toBe(1);
    expect((await api.call('POST /subjects/t?normalize=true', written)).body.version).toBe(1);
    expect(
      (await api.call('POST /compatibility/subjects/t/versions/latest?normalize=true', written)).body.is_compatible,
    ).toBe(true);
    expect((await api.call('POST /compatibility/subjects/t/versions?normalize=true', other)).body.is_compatible).toBe(
      true,
    );
  });

  const PLACE = '{"type":"record","name":"Place","fields":[{"name":"name","type":"string"}]}';
  const PERSON =
    '{"type":"record","name":"Person","fields":[{"name":"at","type":"Place"},{"name":"was","type":"Place"}]}';
  const RESOLVED = PERSON.replace('"Place"', PLACE);
  const PROTO = 'syntax = "proto3"; package shop; message Order { int64 id = 1; }';

  it('with format resolved and serialized: everywhere that a text is told', async () => {
    api = await startSchemaApi();
    await post('place', { schema: PLACE });
    const metadata = { properties: {} };
    const person = { schema: PERSON, references: [{ name: 'Place', subject: 'place', version: 1 }], metadata };
    const proto = { schema: PROTO, schemaType: 'PROTOBUF', metadata };
    for (const [subject, body, format, reads] of [
      ['person', person, 'resolved', (text: string) => expect(text).toBe(RESOLVED)],
      [
        'order',
        proto,
        'serialized',
        (text: string) =>
          expect(fromBinary(FileDescriptorProtoSchema, Buffer.from(text, 'base64')).messageType[0]?.name).toBe('Order'),
      ],
    ] as const) {
      const registered = await api.call(`POST /subjects/${subject}/versions?format=${format}`, body);
      const { id, guid } = registered.body;
      reads(registered.body.schema);
      reads((await api.call(`POST /subjects/${subject}?format=${format}`, body)).body.schema);
      for (const path of [
        `/subjects/${subject}/versions/1`,
        `/subjects/${subject}/metadata`,
        `/schemas/ids/${id}`,
        `/schemas/guids/${guid}`,
      ]) {
        reads((await api.call(`GET ${path}?format=${format}`)).body.schema);
        // A format that is not known, or of another kind of schema, gives the text as it is kept.
        for (const other of ['', 'other', format === 'resolved' ? 'serialized' : 'resolved'])
          expect((await api.call(`GET ${path}?format=${other}`)).body.schema).toContain(
            subject === 'person' ? '"type":"Place"' : 'message Order',
          );
      }
      for (const path of [`/subjects/${subject}/versions/1/schema`, `/schemas/ids/${id}/schema`]) {
        const answer = await fetch(`${api.url}${path}?format=${format}`);
        reads(await answer.text());
      }
    }
  });

  it('refuses to resolve what nests too deep with all that it references', async () => {
    api = await startSchemaApi();
    const record = (n: number, type: string) =>
      `{"type":"record","name":"R${n}","fields":[{"name":"f","type":${type}}]}`;
    // Each is defined beside the others and names the next: as one text, each stands in the one before.
    const records = [record(0, '"int"')];
    for (let n = 1; n < 8_000; n++) records.push(record(n, `"R${n - 1}"`));
    await post('all', { schema: `[${records.join(',')}]` });
    await post('last', {
      schema: '{"type":"record","name":"L","fields":[{"name":"f","type":"R7999"}]}',
      references: [{ name: 'R', subject: 'all', version: 1 }],
    });
    expect((await api.call('GET /subjects/last/versions/1')).status).toBe(200);
    const reply = await api.call('GET /subjects/last/versions/1?format=resolved');
    expect([reply.status, reply.body.error_code]).toEqual([422, 42209]);
  });
});

describe('settings', () => {
  it('of modes: recursive takes those below a context, and nothing beside a subject', async () => {
    api = await startSchemaApi();
    const modes = async (): Promise<unknown> => {
      const told: unknown[] = [];
      for (const subject of ['a', 'b', ':.c:a', ':.c:']) {
        const { body } = await api.call(`GET /mode/${subject}`);
        told.push(body.mode ?? body.error_code);
      }
      return told;
    };
    for (const subject of ['a', 'b', ':.c:a', ':.c:']) await api.call(`PUT /mode/${subject}`, { mode: 'READONLY' });
    expect((await api.call('DELETE /mode/a?recursive=true')).body).toEqual({ mode: 'READONLY' });
    expect(await modes()).toEqual([40409, 'READONLY', 'READONLY', 'READONLY']);
    expect(await code('DELETE /mode/a?recursive=true')).toBe(40401);
    expect((await api.call('DELETE /mode/:.c:?recursive=true')).body).toEqual({ mode: 'READONLY' });
    expect(await modes()).toEqual([40409, 'READONLY', 40409, 40409]);
    // A context without a mode of its own has none to tell.
    const reply = await api.call('DELETE /mode/:.c:?recursive=true');
    expect([reply.status, reply.body]).toEqual([200, {}]);
    expect(await code('DELETE /mode/:.c:')).toBe(40401);
  });

  it.each(PROFILE_NAMES)('of modes: recursive and FORWARD, where the release has them: %s', async (profile) => {
    api = await startSchemaApi({ profile });
    await api.call('PUT /mode/s', { mode: 'READONLY' });
    await api.call('DELETE /mode?recursive=true');
    expect((await api.call('GET /mode/s')).status).toBe(profile === 'confluent-7' ? 200 : 404);
    if (profile === 'confluent-7') return;
    expect((await api.call('PUT /mode/f', { mode: 'FORWARD' })).body).toEqual({ mode: 'FORWARD' });
    expect(await code('POST /subjects/f/versions', INT)).toBe(42205);
    expect((await api.call('GET /mode/f')).body).toEqual({ mode: 'FORWARD' });
  });

  it('of modes: force, defaultToGlobal', async () => {
    api = await startSchemaApi();
    await post('s', INT);
    expect(await code('PUT /mode/s', { mode: 'IMPORT' })).toBe(42205);
    expect((await api.call('PUT /mode/s?force=true', { mode: 'IMPORT' })).body).toEqual({ mode: 'IMPORT' });
    expect(await code('GET /mode/t')).toBe(40409);
    expect((await api.call('GET /mode/t?defaultToGlobal=true')).body).toEqual({ mode: 'READWRITE' });
    expect((await api.call('GET /mode/s?defaultToGlobal=true')).body).toEqual({ mode: 'IMPORT' });
    expect((await api.call('GET /mode?defaultToGlobal=true')).body).toEqual({ mode: 'READWRITE' });
  });

  it('refuse names that are no subject, with 42208', async () => {
    api = await startSchemaApi();
    const bad = '%01';
    for (const [what, body] of [
      [`GET /subjects/${bad}/versions`],
      [`GET /subjects/${bad}/versions/1`],
      [`GET /subjects/${bad}/metadata`],
      [`POST /subjects/${bad}`, INT],
      [`POST /subjects/${bad}/versions`, INT],
      [`POST /subjects/${bad}/versions/1/tags`, {}],
      [`POST /compatibility/subjects/${bad}/versions`, INT],
      [`POST /compatibility/subjects/${bad}/versions/1`, INT],
      [`DELETE /subjects/${bad}`],
      [`DELETE /subjects/${bad}/versions/1`],
      [`GET /config/${bad}`],
      [`PUT /config/${bad}`, { compatibility: 'NONE' }],
      [`DELETE /config/${bad}`],
      [`GET /mode/${bad}`],
      [`PUT /mode/${bad}`, { mode: 'READONLY' }],
      [`DELETE /mode/${bad}`],
      [`DELETE /contexts/${bad}`],
    ] as const)
      expect(await code(what, body), what).toBe(42208);
  });
});
