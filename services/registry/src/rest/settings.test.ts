/**
 * Goal: deletes, references, levels, modes and contexts answer as the Schema Registry API says, in every order. Method:
 * real HTTP and Avro's real engine; random deletes against a model of twenty lines.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { exportSchemas, importSchemas } from '../core/subjects/export.ts';
import { LEVELS } from '../core/subjects/settings.ts';
import { MemorySchemaStore } from '../testing/memory-schema-store.ts';
import { type Reply, type SchemaApiHarness, startSchemaApi } from '../testing/schema-api-harness.ts';

let api: SchemaApiHarness;
afterEach(() => api.close());
const said = ({ status, body }: Reply): unknown[] => [status, body.error_code, body.message];
const refused = (code: number, message: string): unknown[] => [Number(String(code).slice(0, 3)), code, message];
const PRIMITIVES = ['"int"', '"long"', '"float"', '"double"', '"string"'];
const SOFT = "Subject 's' was soft deleted.Set permanent=true to delete permanently";

async function tell(what: string, body?: unknown): Promise<unknown[]> {
  return said(await api.call(what, body));
}

describe('deletes', () => {
  it('go in two steps, for a subject and for a version, with the texts that clients match', async () => {
    api = await startSchemaApi();
    expect(await tell('DELETE /subjects/s')).toEqual(refused(40401, "Subject 's' not found."));
    expect(await tell('DELETE /subjects/s/versions/1')).toEqual(refused(40401, "Subject 's' not found."));
    await api.call('POST /subjects/s/versions', { schema: '"int"' });
    await api.call('POST /subjects/s/versions', { schema: '"long"' });
    await api.call('PUT /config/s', { compatibility: 'FULL' });
    expect(await tell('DELETE /subjects/s/versions/x')).toEqual(
      refused(
        42202,
        `The specified version 'x' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`,
      ),
    );
    expect(await tell('DELETE /subjects/s/versions/9')).toEqual(refused(40402, 'Version 9 not found.'));
    expect(await tell('DELETE /subjects/s/versions/1?permanent=true')).toEqual(
      refused(40407, "Subject 's' Version 1 was not deleted first before being permanently deleted"),
    );
    expect(await tell('DELETE /subjects/s?permanent=true')).toEqual(
      refused(40405, "Subject 's' was not deleted first before being permanently deleted"),
    );
    expect((await api.call('DELETE /subjects/s/versions/1')).body).toBe(1);
    expect(await tell('DELETE /subjects/s/versions/1')).toEqual(
      refused(40406, "Subject 's' Version 1 was soft deleted.Set permanent=true to delete permanently"),
    );
    expect((await api.call('GET /subjects/s/versions?deleted=true&deletedAsNegative=true')).body).toEqual([-1, 2]);
    expect((await api.call('GET /subjects/s/versions?deletedOnly=true')).body).toEqual([1]);
    expect((await api.call('GET /subjects/s/versions/1?deleted=true')).body).toMatchObject({ id: 1, deleted: true });
    expect((await api.call('GET /subjects/s/versions/1')).body.error_code).toBe(40402);
    expect((await api.call('GET /schemas/ids/1')).status).toBe(200);
    expect((await api.call('DELETE /subjects/s')).body).toEqual([2]);
    expect(await tell('DELETE /subjects/s')).toEqual(refused(40404, SOFT));
    expect((await api.call('GET /subjects')).body).toEqual([]);
    expect((await api.call('GET /subjects?deleted=true')).body).toEqual(['s']);
    expect((await api.call('GET /subjects?deletedOnly=true')).body).toEqual(['s']);
    // The same schema comes back with its id, as another version; the deleted one goes.
    expect((await api.call('POST /subjects/s/versions', { schema: '"long"' })).body).toMatchObject({
      id: 2,
      version: 3,
    });
    expect((await api.call('GET /subjects/s/versions?deleted=true')).body).toEqual([1, 3]);
    await api.call('DELETE /subjects/s');
    expect((await api.call('DELETE /subjects/s?permanent=true')).body).toEqual([1, 3]);
    expect((await api.call('GET /schemas/ids/1')).body.error_code).toBe(40403);
    expect((await api.call('GET /config/s')).body.error_code).toBe(40408);
    // Versions begin anew, ids never.
    expect((await api.call('POST /subjects/s/versions', { schema: '"int"' })).body).toMatchObject({
      id: 3,
      version: 1,
    });
  });

  it('spare what is referenced, under every level', async () => {
    for (const level of LEVELS) {
      await api?.close();
      api = await startSchemaApi();
      await api.call('PUT /config', { compatibility: level });
      const place = { schema: '{"type":"record","name":"Place","fields":[]}' };
      await api.call('POST /subjects/place/versions', place);
      const person = (fields: string): unknown => ({
        schema: `{"type":"record","name":"Person","fields":[{"name":"at","type":"Place"}${fields}]}`,
        references: [{ name: 'Place', subject: 'place', version: -1 }],
      });
      const registered = await api.call('POST /subjects/person/versions', person(''));
      expect(registered.body.references).toEqual([{ name: 'Place', subject: 'place', version: 1 }]);
      // Judged with what is referenced, under every level.
      const more = await api.call('POST /subjects/person/versions', person(',{"name":"n","type":"int"}'));
      expect(more.status).toBe(['NONE', 'FORWARD', 'FORWARD_TRANSITIVE'].includes(level) ? 200 : 409);
      expect((await api.call('GET /subjects/place/versions/1/referencedby')).body).toEqual(
        more.status === 200 ? [2, 3] : [2],
      );
      const held = refused(
        42206,
        'One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=place,version=1}.',
      );
      expect(await tell('DELETE /subjects/place')).toEqual(held);
      expect(await tell('DELETE /subjects/place/versions/1')).toEqual(held);
      await api.call('DELETE /subjects/person');
      expect((await api.call('DELETE /subjects/place')).body).toEqual([1]);
      // A deleted version can still be read, and so still holds what it refers to.
      expect(await tell('DELETE /subjects/place?permanent=true')).toEqual(held);
      expect((await api.call('DELETE /subjects/person?permanent=true')).status).toBe(200);
      expect((await api.call('DELETE /subjects/place?permanent=true')).body).toEqual([1]);
    }
  });

  it('in any order leave what a simple model says', async () => {
    const step = fc.record({
      what: fc.constantFrom('register', 'soft', 'hard', 'softAll', 'hardAll'),
      schema: fc.nat(PRIMITIVES.length - 1),
      version: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        await api?.close();
        api = await startSchemaApi();
        await api.call('PUT /config', { compatibility: 'NONE' });
        let model: { version: number; schema: number; id: number; deleted: boolean }[] = [];
        const ids = new Map<number, number>();
        let idMax = 0;
        for (const { what, schema, version } of steps) {
          const row = model.find((each) => each.version === version);
          const live = model.filter((each) => !each.deleted);
          if (what === 'register') {
            const reply = await api.call('POST /subjects/s/versions', { schema: PRIMITIVES[schema] });
            const id = model.find((each) => each.schema === schema)?.id ?? ++idMax;
            expect(reply.body.id).toBe(id);
            ids.set(id, schema);
            if (live.some((each) => each.schema === schema)) continue;
            const next = (model.at(-1)?.version ?? 0) + 1;
            model = [...model.filter((each) => each.schema !== schema), { version: next, schema, id, deleted: false }];
          } else if (what === 'soft' || what === 'hard') {
            const reply = await api.call(`DELETE /subjects/s/versions/${version}?permanent=${what === 'hard'}`);
            const code = model.length === 0 ? 40401 : row === undefined ? 40402 : undefined;
            const wrong = what === 'soft' ? row?.deleted === true && 40406 : row?.deleted === false && 40407;
            expect(reply.body.error_code ?? false).toBe(code ?? wrong);
            if (reply.status !== 200 || row === undefined) continue;
            if (what === 'soft') row.deleted = true;
            else model = model.filter((each) => each !== row);
          } else {
            const reply = await api.call(`DELETE /subjects/s?permanent=${what === 'hardAll'}`);
            const wrong = what === 'softAll' ? live.length === 0 && 40404 : live.length > 0 && 40405;
            expect(reply.body.error_code ?? false).toBe(model.length === 0 ? 40401 : wrong);
            if (reply.status !== 200) continue;
            if (what === 'hardAll') model = [];
            else for (const each of model) each.deleted = true;
          }
        }
        const all = await api.call('GET /subjects/s/versions?deleted=true&deletedAsNegative=true');
        const expected = model.map((each) => (each.deleted ? -each.version : each.version));
        expect(all.body.error_code === undefined ? all.body : []).toEqual(expected);
        for (const each of model)
          expect((await api.call(`GET /subjects/s/versions/${each.version}?deleted=true`)).body).toMatchObject({
            id: each.id,
            schema: PRIMITIVES[each.schema],
          });
        for (const [id, schema] of ids) {
          const reply = await api.call(`GET /schemas/ids/${id}`);
          if (reply.status === 200) expect(reply.body.schema).toBe(PRIMITIVES[schema]);
          expect(reply.status).toBe(model.some((each) => each.id === id) ? 200 : 404);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('levels', () => {
  const field = (name: string, more = ''): string => `{"name":"${name}","type":"string"${more}}`;
  const schema = (...fields: string[]): string => `{"type":"record","name":"R","fields":[${fields.join(',')}]}`;
  const narrow = schema(field('a'));
  const wide = schema(field('a'), field('b'));

  it.each([
    ['NONE', 200, 200],
    ['BACKWARD', 409, 200],
    ['BACKWARD_TRANSITIVE', 409, 200],
    ['FORWARD', 200, 409],
    ['FORWARD_TRANSITIVE', 200, 409],
    ['FULL', 409, 409],
    ['FULL_TRANSITIVE', 409, 409],
  ])('%s: adding a field without default %i, removing it %i', async (level, adding, removing) => {
    api = await startSchemaApi();
    await api.call('PUT /config/s', { compatibility: level });
    await api.call('PUT /config/t', { compatibility: level });
    await api.call('POST /subjects/s/versions', { schema: narrow });
    await api.call('POST /subjects/t/versions', { schema: wide });
    expect((await api.call('POST /compatibility/subjects/s/versions', { schema: wide })).body).toEqual({
      is_compatible: adding === 200,
    });
    expect((await api.call('POST /compatibility/subjects/t/versions/latest', { schema: narrow })).body).toEqual({
      is_compatible: removing === 200,
    });
    expect((await api.call('POST /subjects/s/versions', { schema: wide })).status).toBe(adding);
    expect((await api.call('POST /subjects/t/versions', { schema: narrow })).status).toBe(removing);
  });

  it('with TRANSITIVE look at all versions, with a group at those of the group', async () => {
    api = await startSchemaApi();
    // a, then a with a default, then none: the last reads the second, and the first cannot be read by one more.
    await api.call('PUT /config/s', { compatibility: 'NONE' });
    await api.call('POST /subjects/s/versions', { schema: narrow });
    await api.call('POST /subjects/s/versions', { schema: schema(field('a'), field('b', ',"default":""')) });
    const check = async (): Promise<boolean> =>
      (await api.call('POST /compatibility/subjects/s/versions', { schema: wide })).body.is_compatible;
    await api.call('PUT /config/s', { compatibility: 'BACKWARD' });
    expect(await check()).toBe(true);
    await api.call('PUT /config/s', { compatibility: 'BACKWARD_TRANSITIVE' });
    expect(await check()).toBe(false);
    await api.call('DELETE /subjects/s/versions/1');
    expect(await check()).toBe(true);

    const major = (number: string): unknown => ({ metadata: { properties: { major: number } } });
    await api.call('PUT /config/g', { compatibility: 'BACKWARD', compatibilityGroup: 'major' });
    await api.call('POST /subjects/g/versions', { schema: narrow, ...(major('1') as object) });
    expect((await api.call('POST /subjects/g/versions', { schema: wide, ...(major('1') as object) })).status).toBe(409);
    expect((await api.call('POST /subjects/g/versions', { schema: wide, ...(major('2') as object) })).status).toBe(200);
  });

  it('with validateFields: what is reserved is no field, and stays reserved', async () => {
    api = await startSchemaApi();
    await api.call('PUT /config', { compatibility: 'NONE', validateFields: true });
    const reserves = (names: string) => ({ metadata: { properties: { 'confluent:reserved': names } } });
    const found = async (subject: string, body: object): Promise<unknown> => {
      const { messages } = (await api.call(`POST /compatibility/subjects/${subject}/versions?verbose=true`, body)).body;
      const reply = await api.call(`POST /subjects/${subject}/versions`, body);
      expect(reply.body.error_code).toBe(messages.length === 0 ? undefined : 40901);
      return messages.map((message: string) => /errorType:'(\w+)'|validateFields: '(true)'/.exec(message)?.slice(1));
    };
    const told = [undefined, 'true'];
    const conflict = ['FIELD_CONFLICTS_WITH_RESERVED_FIELD', undefined];
    for (const [schemaType, text] of [
      ['AVRO', narrow],
      ['JSON', '{"type":"object","properties":{"a":{"type":"string"}}}'],
      ['PROTOBUF', 'syntax = "proto3"; message R { string a = 1; }'],
    ] as const) {
      const body = { schema: text, schemaType };
      expect(await found(schemaType, { ...body, ...reserves('b, a') })).toEqual([conflict, told]);
      expect(await found(schemaType, { ...body, ...reserves('b,c') })).toEqual([]);
      expect(await found(schemaType, { ...body, ...reserves('b') })).toEqual([
        ['RESERVED_FIELD_REMOVED', undefined],
        told,
      ]);
      expect(await found(schemaType, { ...body, ...reserves('b,c,d') })).toEqual([]);
    }
    // Many are told up to a number, and looked for in time that grows with them.
    const many = Array.from({ length: 50_000 }, (_, at) => `r${at}`);
    const body = { schema: narrow, ...reserves(many.join()) };
    expect((await api.call('POST /subjects/many/versions', body)).status).toBe(200);
    expect(await found('many', { schema: narrow, ...reserves(many.map((name) => `${name}_`).join()) })).toHaveLength(
      101,
    );
    // Off: nobody looks. A default that is none is looked for where new schemas are validated.
    await api.call('PUT /config', { validateFields: false });
    expect((await api.call('POST /subjects/AVRO/versions', { schema: narrow, ...reserves('a') })).status).toBe(200);
    const wrong = { schema: schema('{"name":"n","type":"int","default":"x"}') };
    expect((await api.call('POST /subjects/d/versions', wrong)).status).toBe(200);
    await api.call('PUT /config', { validateNewSchemas: true });
    expect((await api.call('POST /subjects/e/versions', wrong)).body.error_code).toBe(42201);
  });

  it('are told verbosely, and what is no schema too', async () => {
    api = await startSchemaApi();
    const path = 'POST /compatibility/subjects/s/versions/latest';
    expect((await api.call(path, { schema: wide })).body).toEqual({ is_compatible: true });
    await api.call('POST /subjects/s/versions', { schema: narrow });
    const { is_compatible, messages } = (await api.call(`${path}?verbose=true`, { schema: wide })).body;
    expect(is_compatible).toBe(false);
    expect(messages.slice(-3)).toEqual([
      '{oldSchemaVersion: 1}',
      `{oldSchema: '${narrow}'}`,
      "{validateFields: 'false', compatibility: 'BACKWARD'}",
    ]);
    expect((await api.call(`${path}?verbose=true`, { schema: 'x' })).body).toMatchObject({ is_compatible: false });
    expect((await api.call(path, { schema: 'x' })).body.error_code).toBe(42201);
    expect(await tell('POST /compatibility/subjects/s/versions/7', { schema: wide })).toEqual(
      refused(40402, 'Version 7 not found.'),
    );
    expect((await api.call('POST /compatibility/subjects/s/versions/x', { schema: wide })).body.error_code).toBe(42202);
  });
});

describe('settings', () => {
  it('of config: nearest first, merged by what is given', async () => {
    api = await startSchemaApi();
    expect((await api.call('GET /config')).body).toEqual({ compatibilityLevel: 'BACKWARD' });
    expect(await tell('GET /config/s')).toEqual(
      refused(40408, "Subject 's' does not have subject-level compatibility configured"),
    );
    expect(await tell('DELETE /config/s')).toEqual(refused(40401, "Subject 's' not found."));
    const invalid = refused(
      42203,
      'Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive',
    );
    expect(await tell('PUT /config', { compatibility: 'SIDEWAYS' })).toEqual(invalid);
    expect(await tell('PUT /config/s', { compatibility: 7 })).toEqual(invalid);
    expect((await api.call('PUT /config', { compatibility: 'full' })).body).toEqual({ compatibility: 'FULL' });
    expect((await api.call('GET /config/s?defaultToGlobal=true')).body).toEqual({ compatibilityLevel: 'FULL' });
    await api.call('PUT /config/s', { normalize: true, later: [1] });
    await api.call('PUT /config/s', { compatibility: 'NONE' });
    expect((await api.call('GET /config/s')).body).toEqual({ normalize: true, later: [1], compatibilityLevel: 'NONE' });
    await api.call('PUT /config/s', { normalize: null });
    expect((await api.call('DELETE /config/s')).body).toEqual({ later: [1], compatibilityLevel: 'NONE' });
    await api.call('PUT /config/:.__GLOBAL:', { compatibility: 'FORWARD' });
    expect((await api.call('GET /contexts/.c/config')).body).toEqual({ compatibilityLevel: 'FORWARD' });
    await api.call('PUT /config/:.c:', { compatibility: 'NONE' });
    expect((await api.call('GET /config/:.c:s?defaultToGlobal=true')).body).toEqual({ compatibilityLevel: 'NONE' });
    expect((await api.call('DELETE /config')).body).toEqual({ compatibilityLevel: 'FULL' });
    expect((await api.call('GET /config')).body).toEqual({ compatibilityLevel: 'FORWARD' });
  });

  it('of an alias: a subject stands for another', async () => {
    api = await startSchemaApi();
    await api.call('POST /subjects/real/versions', { schema: '"int"' });
    await api.call('PUT /config/nick', { alias: 'real' });
    expect((await api.call('GET /subjects/nick/versions/latest')).body).toMatchObject({ subject: 'real', id: 1 });
    expect((await api.call('GET /config/nick')).body).toEqual({ alias: 'real' });
  });

  it('of defaults: metadata and rules that every schema gets', async () => {
    api = await startSchemaApi();
    await api.call('PUT /config/s', {
      defaultMetadata: { properties: { a: '1', b: '1' } },
      overrideMetadata: { properties: { c: '3' } },
    });
    const reply = await api.call('POST /subjects/s/versions', {
      schema: '"int"',
      metadata: { properties: { a: '2', c: '2' } },
    });
    expect(reply.body.metadata).toEqual({ properties: { a: '2', b: '1', c: '3' } });
    const rule = (name: string, mode: string) => ({ name, mode, kind: 'CONDITION', type: 'CEL' });
    const rules = (...domainRules: object[]) => ({ domainRules });
    for (const wrong of [{ domainRules: 'x' }, rules({ mode: 'WRITE' }), rules(rule('a', 'UPGRADE'))])
      expect((await tell('PUT /config/s', { overrideRuleSet: wrong })).slice(0, 2)).toEqual([422, 42210]);
    await api.call('PUT /config/s', { defaultRuleSet: rules(rule('a', 'READ'), rule('b', 'READ')) });
    const ruled = await api.call('POST /subjects/s/versions', { schema: '"int"', ruleSet: rules(rule('a', 'WRITE')) });
    expect(ruled.body.ruleSet).toEqual(rules(rule('b', 'READ'), rule('a', 'WRITE')));
  });

  it('of modes: who may register, delete and import', async () => {
    api = await startSchemaApi();
    expect((await api.call('GET /mode')).body).toEqual({ mode: 'READWRITE' });
    expect(await tell('GET /mode/s')).toEqual(
      refused(40409, "Subject 's' does not have subject-level mode configured"),
    );
    expect(await tell('DELETE /mode/s')).toEqual(refused(40401, "Subject 's' not found."));
    expect((await api.call('PUT /mode', { mode: 'OTHER' })).body.error_code).toBe(42204);
    await api.call('POST /subjects/s/versions', { schema: '"int"' });
    const readOnly = refused(42205, 'Subject s is in read-only mode');
    await api.call('PUT /mode/s', { mode: 'READONLY' });
    expect(await tell('POST /subjects/s/versions', { schema: '"long"' })).toEqual(readOnly);
    expect(await tell('DELETE /subjects/s')).toEqual(readOnly);
    expect(await tell('DELETE /subjects/s/versions/1')).toEqual(readOnly);
    expect(await tell('PUT /config/s', { compatibility: 'NONE' })).toEqual(readOnly);
    // A serialiser registers what it writes with each time it starts: what is there is answered in any mode.
    expect((await api.call('POST /subjects/s/versions', { schema: '"int"' })).body).toMatchObject({
      id: 1,
      version: 1,
    });
    expect((await api.call('POST /subjects/s/versions', { schema: '"int"', id: 1 })).body).toMatchObject({ id: 1 });
    expect(await tell('POST /subjects/s/versions', { schema: '"int"', id: 2 })).toEqual(readOnly);
    expect(await tell('POST /subjects/s/versions/1/tags', {})).toEqual(readOnly);
    expect((await api.call('DELETE /mode/s')).body).toEqual({ mode: 'READONLY' });
    expect(await tell('PUT /mode', { mode: 'IMPORT' })).toEqual(
      refused(42205, 'Cannot import since found existing subjects'),
    );
    expect((await api.call('PUT /mode?force=true', { mode: 'IMPORT' })).body).toEqual({ mode: 'IMPORT' });
    expect(await tell('POST /subjects/t/versions', { schema: '"long"' })).toEqual(
      refused(42205, 'Subject t is not in read-write mode'),
    );
    const imported = await api.call('POST /subjects/t/versions', { schema: '"long"', id: 50, version: 9 });
    expect(imported.body).toMatchObject({ id: 50, version: 9 });
    expect((await api.call('POST /subjects/t/versions', { schema: '"long"' })).body).toMatchObject({
      id: 50,
      version: 9,
    });
    expect(await tell('POST /subjects/t/versions', { schema: '"float"', id: 50 })).toEqual(
      refused(42205, 'Overwrite new schema with id 50 is not permitted.'),
    );
    expect(await tell('POST /subjects/t/versions', { schema: '"long"', id: 51 })).toEqual(
      refused(42207, 'Schema already registered with id 50 instead of input id 51'),
    );
    await api.call('PUT /mode/t', { mode: 'READONLY' });
    expect((await api.call('DELETE /mode?recursive=true')).body).toEqual({ mode: 'IMPORT' });
    expect((await api.call('GET /mode/t')).body.error_code).toBe(40409);
    expect((await api.call('POST /subjects/u/versions', { schema: '"bytes"' })).body.id).toBe(51);
    await api.call('PUT /mode', { mode: 'READONLY_OVERRIDE' });
    await api.call('PUT /mode/s', { mode: 'READWRITE' });
    expect(await tell('POST /subjects/s/versions', { schema: '"double"' })).toEqual(readOnly);
  });

  it('of contexts: ids apart, and gone when they are empty', async () => {
    api = await startSchemaApi();
    await api.call('POST /subjects/s/versions', { schema: '"int"' });
    expect((await api.call('POST /contexts/.c/subjects/s/versions', { schema: '"string"' })).body.id).toBe(1);
    expect((await api.call('GET /subjects/:.c:s/versions/1')).body).toMatchObject({
      subject: ':.c:s',
      schema: '"string"',
    });
    expect((await api.call('GET /schemas/ids/1?subject=:.c:')).body.schema).toBe('"string"');
    // A subject is called by its context in what is said of it, however the URL names it: clients compare the text.
    for (const [what, code, message] of [
      ['GET /contexts/.c/subjects/t/versions', 40401, "Subject ':.c:t' not found."],
      ['GET /subjects/:.:t/versions', 40401, "Subject 't' not found."],
      ['DELETE /contexts/.c/subjects/t', 40401, "Subject ':.c:t' not found."],
      ['GET /contexts/.c/config/s', 40408, "Subject ':.c:s' does not have subject-level compatibility configured"],
      ['GET /contexts/.c/mode/s', 40409, "Subject ':.c:s' does not have subject-level mode configured"],
    ] as const)
      expect([what, await tell(what)]).toEqual([what, refused(code, message)]);
    expect(await tell('DELETE /contexts/.c')).toEqual(refused(42211, "The specified context '.c' is not empty."));
    await api.call('DELETE /subjects/:.c:s');
    await api.call('DELETE /subjects/:.c:s?permanent=true');
    expect((await api.call('DELETE /contexts/.c')).status).toBe(204);
    expect((await api.call('GET /contexts')).body).toEqual(['.']);
    // An id that was given once is not given again.
    expect((await api.call('POST /subjects/:.c:s/versions', { schema: '"long"' })).body.id).toBe(2);
  });
});

describe('the process', () => {
  it('refuses every change when it is read-only, and everything to strangers', async () => {
    const store = new MemorySchemaStore();
    const writer = await startSchemaApi({ store });
    await writer.call('POST /subjects/there/versions', { schema: '"int"' });
    await writer.close();
    api = await startSchemaApi({ store, readOnly: true, allows: (header) => header === 'Bearer x' });
    expect(await tell('GET /subjects')).toEqual(refused(401, 'HTTP 401 Unauthorized'));
    const headers = { authorization: 'Bearer x' };
    expect((await api.call('GET /subjects', undefined, headers)).body).toEqual(['there']);
    expect((await api.call('POST /subjects/there/versions', { schema: '"int"' }, headers)).body.id).toBe(1);
    expect(said(await api.call('POST /subjects/s/versions', { schema: '"int"' }, headers))).toEqual(
      refused(42205, 'The registry is in read-only mode'),
    );
  });

  it('answers 50001 when the store fails, and goes on from what is stored', async () => {
    const store = new MemorySchemaStore();
    api = await startSchemaApi({ store });
    await api.call('POST /subjects/s/versions', { schema: '"int"' });
    for (const [at, failNext] of (['before', 'after'] as const).entries()) {
      store.failNext = failNext;
      const schema = at === 0 ? '"long"' : '"float"';
      expect((await api.call('POST /subjects/s/versions', { schema })).body.error_code).toBe(50001);
      const again = await api.call('POST /subjects/s/versions', { schema });
      expect(again.body).toMatchObject({ id: at + 2, version: at + 2 });
    }
    expect((await api.call('GET /subjects/s/versions')).body).toEqual([1, 2, 3]);
  });

  it('takes no more than its bounds', async () => {
    api = await startSchemaApi({ limits: { subjects: 2, versionsPerSubject: 1 } });
    await api.call('PUT /config', { compatibility: 'NONE' });
    for (const subject of ['a', 'b']) await api.call(`POST /subjects/${subject}/versions`, { schema: '"int"' });
    expect((await api.call('POST /subjects/c/versions', { schema: '"int"' })).body.error_code).toBe(42205);
    expect((await api.call('POST /subjects/a/versions', { schema: '"long"' })).body.error_code).toBe(42205);
  });

  it('exports what another imports, ids and all', async () => {
    api = await startSchemaApi();
    await api.call('POST /subjects/s/versions', { schema: '"int"', metadata: { properties: { a: 'b' } }, extra: 1 });
    await api.call('POST /subjects/:.c:t/versions', { schema: '"int"' });
    await api.call('POST /subjects/gone/versions', { schema: '"long"' });
    await api.call('DELETE /subjects/gone');
    await api.call('DELETE /subjects/gone?permanent=true');
    await api.call('PUT /config/s', { compatibility: 'FULL' });
    await api.call('PUT /mode/s', { mode: 'READONLY' });
    const lines = [...exportSchemas(api.registry.index)];
    const other = await startSchemaApi();
    expect(await importSchemas(other.registry, lines)).toBe(lines.length);
    expect([...exportSchemas(other.registry.index)]).toEqual(lines);
    expect((await other.call('POST /subjects/n/versions', { schema: '"float"' })).body.id).toBe(3);
    await expect(importSchemas(other.registry, lines)).rejects.toThrow(/Cannot import/);
    await expect(importSchemas(other.registry, ['{}'])).rejects.toThrow(/line 1 is no record/);
    await other.close();
  });
});
