/**
 * Goal: what takes long keeps nobody waiting, and being done in another thread changes no answer. Method: real HTTP and
 * real threads; a pair of schemas that takes an engine to its limits; the same random requests with everything done in
 * the thread that answers, and with nothing.
 */
import fc from 'fast-check';
import { afterEach, expect, it } from 'vitest';
import { hostilePair } from '../testing/hostile-schemas.ts';
import { type Reply, type SchemaApiHarness, startSchemaApi } from '../testing/schema-api-harness.ts';

const NOTHING_AT_ONCE = { atOnceCharacters: 0 };
const apis: SchemaApiHarness[] = [];
async function start(...options: Parameters<typeof startSchemaApi>): Promise<SchemaApiHarness> {
  const api = await startSchemaApi(...options);
  apis.push(api);
  return api;
}
afterEach(() => Promise.all(apis.splice(0).map((api) => api.close())));

const record = (name: string, ...fields: string[]): string =>
  JSON.stringify({ type: 'record', name, fields: fields.map((field) => ({ name: field, type: 'string' })) });
const VERSIONS = 'POST /subjects/s/versions';
const CHECK = 'POST /compatibility/subjects/s/versions/latest';

it('answers others while a pair is judged that takes long, and refuses the pair', async () => {
  const api = await start();
  const { now, old } = hostilePair();
  expect(await api.call(VERSIONS, { schema: old, schemaType: 'JSON' })).toMatchObject({ status: 200 });
  let isJudged = false;
  const judging = api.call(CHECK, { schema: now, schemaType: 'JSON' }).finally(() => {
    isJudged = true;
  });
  expect(await api.call('GET /subjects/s/versions')).toMatchObject({ body: [1] });
  expect(await api.call('POST /subjects/t/versions', { schema: '"int"' })).toMatchObject({ status: 200 });
  expect(isJudged).toBe(false);
  expect(await judging).toMatchObject({ status: 422, body: { error_code: 42209 } });
});

it('lists as many schemas as an answer holds, and refuses more', async () => {
  const api = await start();
  await api.call('PUT /config', { compatibility: 'NONE' });
  for (let i = 0; i < 30; i++) {
    const schema = JSON.stringify({ type: 'fixed', name: 'F', size: i, doc: 'd'.repeat(900_000) });
    const metadata = { properties: { note: 'n'.repeat(1_600_000) } };
    expect(await api.call(VERSIONS, { schema, metadata })).toMatchObject({ status: 200 });
  }
  expect(await api.call('GET /schemas')).toMatchObject({ status: 422, body: { error_code: 42209 } });
  expect((await api.call('GET /schemas?limit=20')).body).toHaveLength(20);
  expect((await api.call('GET /schemas?limit=20&offset=20')).body).toHaveLength(10);
}, 120_000);

it('judges a small pair to its end that takes more than is done at once', async () => {
  const { now, old } = hostilePair(3, 4);
  expect(now.length + old.length).toBeLessThan(16_384);
  const api = await start();
  await api.call(VERSIONS, { schema: old, schemaType: 'JSON' });
  expect(await api.call(CHECK, { schema: now, schemaType: 'JSON' })).toMatchObject({ body: { is_compatible: true } });
});

it('judges against what was registered while it judged', async () => {
  const api = await start({ limits: NOTHING_AT_ONCE });
  const replies = await Promise.all(
    ['a', 'b', 'c', 'd'].map((field) => api.call(VERSIONS, { schema: record('R', field) })),
  );
  // None can be read with another: whichever came first stands alone.
  expect(replies.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(replies.filter(({ status }) => status === 409)).toHaveLength(3);
  expect(await api.call('GET /subjects/s/versions')).toMatchObject({ body: [1] });
});

it.each([NOTHING_AT_ONCE, {}])(
  'judges by what an id stands for now, not by what it stood for before an import',
  async (limits) => {
    const api = await start({ limits });
    const references = [{ name: 'R', subject: 'r', version: 1 }];
    const using = record('S', 'a').replace('"string"', '"R"');
    const plain = { schema: using.replace('"R"', record('R', 'a')) };
    /** Has the schema that is referred to, and says whether the plain one can be read with who refers to it. */
    const check = async (referred: string): Promise<unknown> => {
      await api.call('PUT /mode?force=true', { mode: 'IMPORT' });
      await api.call('POST /subjects/r/versions', { schema: referred, id: 1, version: 1 });
      await api.call('POST /subjects/s/versions', { schema: using, references, id: 2, version: 1 });
      await api.call('PUT /mode', { mode: 'READWRITE' });
      const { body } = await api.call(CHECK, plain);
      for (const subject of ['s', 'r']) {
        await api.call(`DELETE /subjects/${subject}`);
        await api.call(`DELETE /subjects/${subject}?permanent=true`);
      }
      return body;
    };
    expect(await check(record('R', 'a'))).toEqual({ is_compatible: true });
    expect(await check(record('R', 'b'))).toEqual({ is_compatible: false });
  },
);

const SCHEMAS = [
  ['AVRO', record('R', 'a')],
  ['AVRO', record('R', 'a', 'b')],
  ['AVRO', record('S', 'a')],
  ['AVRO', '{'],
  ['JSON', '{"type":"string"}'],
  ['JSON', '{"type":["string","null"]}'],
  ['PROTOBUF', 'syntax = "proto3"; message M { int32 a = 1; }'],
  ['PROTOBUF', 'syntax = "proto3"; message M { string a = 1; }'],
] as const;
const requests = fc.array(
  fc.oneof(
    fc.record({
      what: fc.constantFrom(
        VERSIONS,
        'POST /subjects/s',
        CHECK,
        'POST /compatibility/subjects/s/versions?verbose=true',
        'POST /subjects/s/versions?format=serialized',
      ),
      body: fc.constantFrom(...SCHEMAS.map(([schemaType, schema]) => ({ schemaType, schema }))),
    }),
    fc.record({
      what: fc.constant('PUT /config/s'),
      body: fc.constantFrom(
        ...['NONE', 'BACKWARD_TRANSITIVE', 'FULL', 'FORWARD_TRANSITIVE'].map((compatibility) => ({ compatibility })),
      ),
    }),
    fc
      .constantFrom('format=serialized', 'format=resolved', 'findTags=*', 'findTags=T')
      .map((query) => ({ what: `GET /subjects/s/versions/latest?${query}`, body: undefined })),
    fc.constantFrom('R.a', 'S.a', 'M.a', 'object').map((entityPath) => ({
      what: 'POST /subjects/s/versions/latest/tags',
      body: { tagsToAdd: [{ schemaEntity: { entityPath, entityType: 'sr_field' }, tags: ['T'] }] },
    })),
  ),
  { minLength: 1, maxLength: 12 },
);
const withoutTime = ({ status, body }: Reply): unknown => [
  status,
  typeof body === 'object' && body !== null && 'ts' in body ? { ...(body as object), ts: 0 } : (body as unknown),
];

it('answers the same wherever the work is done', async () => {
  await fc.assert(
    fc.asyncProperty(requests, async (each) => {
      const here = await start();
      const elsewhere = await start({ limits: NOTHING_AT_ONCE });
      for (const { what, body } of each)
        expect(withoutTime(await elsewhere.call(what, body))).toEqual(withoutTime(await here.call(what, body)));
      await Promise.all(apis.splice(0).map((api) => api.close()));
    }),
    { numRuns: Number(process.env['FRESHET_FUZZ_RUNS'] ?? 1) * 12 },
  );
});
