/**
 * Goal: each endpoint answers as the Schema Registry API says, codes and texts included, in every profile. Method: real
 * HTTP, Avro's real engine; a fresh registry for each test.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type Reply, type SchemaApiHarness, startSchemaApi } from '../testing/schema-api-harness.ts';
import { PROFILE_NAMES } from './profiles.ts';

const record = (...fields: string[]): string =>
  JSON.stringify({ type: 'record', name: 'R', fields: fields.map((name) => ({ name, type: 'string' })) });
const A = { schema: record('a') };
const AB = { schema: record('a', 'b') };
const STRING = { schema: '"string"' };
const INT = { schema: '"int"' };

let api: SchemaApiHarness;
afterEach(() => api.close());
const said = ({ status, body }: Reply): unknown[] => [status, body.error_code, body.message];
const refused = (code: number, message: string | RegExp): unknown[] => [
  Number(String(code).slice(0, 3)),
  code,
  typeof message === 'string' ? message : expect.stringMatching(message),
];

describe('registering', () => {
  it.each(PROFILE_NAMES)('gives ids, versions and the answer of the profile: %s', async (profile) => {
    api = await startSchemaApi({ profile });
    const first = await api.call('POST /subjects/s/versions', { schema: '{"type":"string"}' });
    expect(first).toMatchObject({ status: 200, type: 'application/vnd.schemaregistry.v1+json' });
    if (profile === 'confluent-7') expect(first.body).toEqual({ id: 1 });
    else {
      const guid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/) as string;
      expect(first.body).toEqual({
        id: 1,
        version: 1,
        guid,
        schemaType: 'AVRO',
        schema: '"string"',
        ts: expect.any(Number) as number,
      });
    }
    // The same again, under another subject, and another schema.
    expect((await api.call('POST /subjects/s/versions', STRING)).body.id).toBe(1);
    expect((await api.call('POST /subjects/t/versions', STRING)).body.id).toBe(1);
    expect((await api.call('POST /subjects/u/versions', INT)).body.id).toBe(2);
    expect((await api.call('GET /subjects/s/versions')).body).toEqual([1]);
    const byId = (await api.call('GET /schemas/ids/1?fetchMaxId=true')).body;
    const version = (await api.call('GET /subjects/s/versions/latest')).body;
    if (profile === 'confluent-7') {
      expect(byId).toEqual({ schema: '"string"', maxId: 2 });
      expect(version).toEqual({ subject: 's', version: 1, id: 1, schema: '"string"' });
    } else {
      expect(byId).toMatchObject({ schemaType: 'AVRO', schema: '"string"', maxId: 2, subject: 's', version: 1 });
      expect(version).toMatchObject({ subject: 's', version: 1, id: 1, schemaType: 'AVRO', guid: byId.guid });
    }
  });

  it.each([
    ['confluent-7', 409],
    ['confluent-8.1', 409],
    ['latest', 40901],
  ] as const)('refuses an incompatible schema in %s with %i', async (profile, code) => {
    api = await startSchemaApi({ profile });
    await api.call('POST /subjects/s/versions', A);
    const reply = await api.call('POST /subjects/s/versions', AB);
    expect([reply.status, reply.body.error_code]).toEqual([409, code]);
    expect(reply.body.message).toMatch(
      /^Schema being registered is incompatible with an earlier schema for subject "s", details: \[\{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', .*\}, \{oldSchemaVersion: 1\}, \{oldSchema: '.*'\}, \{validateFields: 'false', compatibility: 'BACKWARD'\}\]$/,
    );
  });

  it('refuses what is no schema, no subject, too large, or does not exist', async () => {
    api = await startSchemaApi();
    const post = async (body: unknown, subject = 's'): Promise<unknown[]> =>
      said(await api.call(`POST /subjects/${subject}/versions`, body));
    expect(await post({ schema: 'no' })).toEqual(refused(42201, /^Invalid schema, details: /));
    expect(await post({ schema: '"strin"' })).toEqual(refused(42201, /^Invalid schema, details: /));
    expect(await post({})).toEqual(refused(42201, 'Invalid schema, details: Empty schema'));
    expect(await post({ schema: ' \n' })).toEqual(refused(42201, 'Invalid schema, details: Empty schema'));
    expect(await post({ schema: '"int"', schemaType: 'XML' })).toEqual(refused(42201, 'Invalid schema type XML'));
    expect(await post(INT, '%01')).toEqual(refused(42208, /^The specified subject '.' is not a valid\.$/));
    expect(await post(INT, '__GLOBAL')).toEqual(refused(42208, "The specified subject '__GLOBAL' is not a valid."));
    expect(await post({ schema: `"${'x'.repeat(1_000_001)}"` })).toEqual(refused(42209, /too large/));
    expect(await post({ schema: 'x'.repeat(5_000_000) })).toEqual(refused(42209, /larger than/));
    const references = [{ name: 'R', subject: 'none', version: 1 }];
    expect(await post({ ...INT, references })).toEqual(refused(42201, /No schema reference found for subject "none"/));
    const rule = { name: 'r' };
    expect(await post({ ...INT, ruleSet: { domainRules: [rule, rule] } })).toEqual(
      refused(42210, "Found rule with duplicate name 'r'"),
    );
    expect(await post({ ...INT, id: 5 })).toEqual(refused(42205, 'Subject s is not in import mode'));
    expect(await post({ ...INT, version: 7 })).toEqual(refused(42201, /Version is not one more than previous version/));
    expect(await post('{')).toEqual(refused(400, /not JSON/));
    expect(await post('[1]')).toEqual(refused(400, /not a JSON object/));
    expect(await post('['.repeat(100_000))).toEqual(refused(400, /nests deeper/));
    expect(await post({ schema: 5 })).toEqual(refused(400, 'schema must be a string'));
    expect((await api.call('GET /subjects')).body).toEqual([]);
  });

  it('keeps and gives back what it does not know, metadata and rules', async () => {
    api = await startSchemaApi();
    const body = {
      ...INT,
      metadata: { properties: { owner: 'x' }, tags: { a: ['PII'] }, later: 1 },
      ruleSet: { domainRules: [{ name: 'r', kind: 'CONDITION', type: 'CEL', mode: 'WRITE', expr: 'true', more: [1] }] },
      newThing: { deep: [true] },
    };
    expect((await api.call('POST /subjects/s/versions', body)).body).toMatchObject(body);
    expect((await api.call('GET /subjects/s/versions/1')).body).toMatchObject(body);
    expect((await api.call('GET /subjects/s/metadata?key=owner&value=x')).body.version).toBe(1);
    expect(said(await api.call('GET /subjects/s/metadata?key=owner&value=y'))).toEqual(
      refused(40403, 'Schema not found'),
    );
    expect(said(await api.call('GET /subjects/t/metadata'))).toEqual(refused(40401, "Subject 't' not found."));
    // Another rule set is another id; without either, the text is found.
    expect(
      (await api.call('POST /subjects/s/versions', { ...INT, metadata: { properties: { a: 'b' } } })).body,
    ).toMatchObject({
      id: 2,
      version: 2,
    });
    expect((await api.call('POST /subjects/s', INT)).body.version).toBe(2);
    expect((await api.call('GET /schemas?ruleType=CEL')).body).toHaveLength(2);
    expect((await api.call('GET /schemas?ruleType=NO')).body).toHaveLength(0);
    // Metadata only: the text is that of the version before.
    expect((await api.call('POST /subjects/s/versions', { metadata: { properties: { c: 'd' } } })).body).toMatchObject({
      version: 3,
      schema: '"int"',
    });
  });
});

describe('reading', () => {
  it('says what there is not', async () => {
    api = await startSchemaApi();
    await api.call('POST /subjects/s/versions', INT);
    const get = async (path: string): Promise<unknown[]> => said(await api.call(`GET ${path}`));
    expect(await get('/schemas/ids/7')).toEqual(refused(40403, 'Schema 7 not found'));
    expect(await get('/schemas/ids/7/schema')).toEqual(refused(40403, 'Schema 7 not found'));
    expect(await get('/schemas/ids/7/subjects')).toEqual(refused(40403, 'Schema 7 not found'));
    expect(await get('/schemas/ids/7/versions')).toEqual(refused(40403, 'Schema 7 not found'));
    expect(await get('/schemas/guids/x')).toEqual(refused(40403, 'Schema x not found'));
    expect(await get('/schemas/guids/x/ids')).toEqual(refused(40403, 'Schema x not found'));
    expect(await get('/subjects/x/versions')).toEqual(refused(40401, "Subject 'x' not found."));
    expect(await get('/subjects/x/versions/1')).toEqual(refused(40401, "Subject 'x' not found."));
    expect(await get('/subjects/s/versions/3')).toEqual(refused(40402, 'Version 3 not found.'));
    expect(await get('/subjects/s/versions/3/schema')).toEqual(refused(40402, 'Version 3 not found.'));
    expect(await get('/subjects/s/versions/3/referencedby')).toEqual(refused(40402, 'Version 3 not found.'));
    for (const version of ['a', '0', '-2', '2147483648', '1.0'])
      expect(await get(`/subjects/s/versions/${version}`)).toEqual(
        refused(
          42202,
          `The specified version '${version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`,
        ),
      );
    expect(said(await api.call('POST /subjects/x', INT))).toEqual(refused(40401, "Subject 'x' not found."));
    expect(said(await api.call('POST /subjects/s', STRING))).toEqual(refused(40403, 'Schema not found'));
    expect(said(await api.call('POST /subjects/s', { schema: 'x' }))).toEqual(refused(42201, /^Invalid schema/));
    for (const path of ['/exporters', '/dek-registry/v1/keks', '/associations/x', '/nothing'])
      expect(await get(path)).toEqual(refused(404, 'HTTP 404 Not Found'));
    expect(said(await api.call('PUT /subjects'))).toEqual(refused(405, 'HTTP 405 Method Not Allowed'));
    expect(await get('/subjects/%ff/versions')).toEqual(refused(400, /URL-encoded/));
  });

  it('lists by prefix, page, id and GUID', async () => {
    api = await startSchemaApi();
    for (const subject of ['a1', 'a2', 'b', ':.ctx:a1', 'x%2Fy'])
      await api.call(`POST /subjects/${subject}/versions`, INT);
    await api.call('POST /subjects/b/versions', { schema: '"long"' });
    const get = async (path: string): Promise<unknown> => (await api.call(`GET ${path}`)).body;
    expect(await get('/subjects')).toEqual([':.ctx:a1', 'a1', 'a2', 'b', 'x/y']);
    expect(await get('/subjects?subjectPrefix=a')).toEqual(['a1', 'a2']);
    expect(await get('/subjects?subjectPrefix=:*:a')).toEqual([':.ctx:a1', 'a1', 'a2']);
    expect(await get('/subjects?subjectPrefix=:.ctx:')).toEqual([':.ctx:a1']);
    expect(await get('/contexts/.ctx/subjects')).toEqual([':.ctx:a1']);
    expect(await get('/subjects?offset=1&limit=2')).toEqual(['a1', 'a2']);
    expect(await get('/subjects/b/versions?offset=1')).toEqual([2]);
    expect(await get('/subjects/x%2Fy/versions/-1/schema')).toBe('int');
    expect(await get('/schemas/ids/1/subjects')).toEqual(['a1', 'a2', 'b', 'x/y']);
    expect(await get('/schemas/ids/1/subjects?subject=b')).toEqual(['b']);
    expect(await get('/schemas/ids/1/versions?limit=1')).toEqual([{ subject: 'a1', version: 1 }]);
    expect(await get('/schemas/ids/1/schema')).toBe('int');
    expect(await get('/schemas?latestOnly=true&subjectPrefix=b')).toMatchObject([{ subject: 'b', version: 2 }]);
    const { guid } = (await api.call('GET /subjects/b/versions/1')).body;
    expect(await get(`/schemas/guids/${guid}`)).toEqual({ guid, schemaType: 'AVRO', schema: '"int"' });
    expect(await get(`/schemas/guids/${guid}/ids`)).toEqual([
      { context: '.', id: 1 },
      { context: '.ctx', id: 1 },
    ]);
    expect(await get('/contexts')).toEqual(['.', '.ctx']);
    expect(await get('/schemas/types')).toEqual(expect.arrayContaining(['AVRO']));
  });

  it('has in confluent-7 no GUIDs, no pages of versions, and no deletes of contexts', async () => {
    api = await startSchemaApi({ profile: 'confluent-7' });
    await api.call('POST /subjects/s/versions', INT);
    await api.call('POST /subjects/s/versions', { schema: '"long"' });
    expect((await api.call('GET /subjects/s/versions?offset=1')).body).toEqual([1, 2]);
    for (const path of [
      'GET /schemas/guids/x',
      'GET /schemas/guids/x/ids',
      'DELETE /contexts/.c',
      'GET /v1/metadata/deployment',
    ])
      expect((await api.call(path)).status).toBe(404);
    expect(said(await api.call('PUT /mode', { mode: 'FORWARD' }))).toEqual(
      refused(42204, 'Invalid mode. Valid values are readwrite, readonly, readonly_override, import'),
    );
  });

  it('answers / and /v1/metadata', async () => {
    api = await startSchemaApi();
    expect((await api.call('GET /')).body).toEqual({});
    expect((await api.call('POST /', { a: 1 })).body).toEqual({ a: 1 });
    expect((await api.call('GET /v1/metadata/id')).body).toMatchObject({ scope: { path: [] } });
    expect((await api.call('GET /v1/metadata/version')).body).toMatchObject({ commitId: '' });
    expect((await api.call('GET /v1/metadata/deployment')).status).toBe(200);
  });

  it('leaves to Connect what has the form of its paths, and nothing else', async () => {
    api = await startSchemaApi();
    for (const what of ['GET /freshet.registry.v1.RegistryService/X', 'POST /a.b/C?x=/'])
      expect(await api.call(what, what.startsWith('POST') ? '{}' : undefined)).toMatchObject({ status: 404, body: '' });
    for (const path of ['/a.b/c/d', '/a.b/contexts/tags/versions?subject=x', '/a.b/', '/subjects.x/'])
      expect(said(await api.call(`GET ${path}`))).toEqual(refused(404, 'HTTP 404 Not Found'));
  });
});

describe('media types', () => {
  it.each([
    ['*/*', 'application/vnd.schemaregistry.v1+json'],
    ['application/json', 'application/json'],
    ['text/html, application/vnd.schemaregistry+json;q=0.5', 'application/vnd.schemaregistry+json'],
    ['application/json;q=0.9, application/vnd.schemaregistry.v1+json;q=0.1', 'application/json'],
  ])('answers %s with %s', async (accept, type) => {
    api = await startSchemaApi();
    expect((await api.call('GET /subjects', undefined, { accept })).type).toBe(type);
  });

  it('refuses others with 406 and 415', async () => {
    api = await startSchemaApi();
    expect(said(await api.call('GET /subjects', undefined, { accept: 'text/html' }))).toEqual(
      refused(406, 'HTTP 406 Not Acceptable'),
    );
    const headers = { 'content-type': 'text/plain' };
    expect(said(await api.call('POST /subjects/s/versions', INT, headers))).toEqual(
      refused(415, 'HTTP 415 Unsupported Media Type'),
    );
    for (const type of [
      'application/octet-stream',
      'application/json; charset=utf-8',
      'application/vnd.schemaregistry+json',
    ])
      expect((await api.call('POST /subjects/s/versions', INT, { 'content-type': type })).status).toBe(200);
  });
});
