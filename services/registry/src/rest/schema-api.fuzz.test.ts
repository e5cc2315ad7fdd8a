/**
 * Goal: no request, however malformed, gets anything but its answer or a refusal with a code that is known, and none of
 * them brings it down. Method: random requests (JSON, schemas, paths, sizes, nesting) over real HTTP; the answer is
 * never a 5xx; what is known to be wrong gets the code it should; memory is flat. FRESHET_REGISTRY_FUZZ_REQUESTS makes it
 * long, FRESHET_FUZZ_SEED repeats one.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { startSchemaApi } from '../testing/schema-api-harness.ts';

const REQUESTS = Number(process.env['FRESHET_REGISTRY_FUZZ_REQUESTS'] ?? 500);
const GROWTH_BYTES_MAX = 16 * 1024 * 1024;
/** A long run says so often where it is: how many, what was answered, and what the process holds. */
const PROGRESS_REQUESTS = 5_000;
const CODES = new Set([
  400, 404, 405, 406, 409, 413, 415, 422, 40401, 40402, 40403, 40404, 40405, 40406, 40407, 40408, 40409, 40901, 42201,
  42202, 42203, 42204, 42205, 42206, 42207, 42208, 42209, 42210, 42211,
]);

/** A path that is Connect's by its form: answered by the port, not by this API. */
const CONNECTS = /^\w+ \/[a-z]\w*\.[\w.]+\/\w+(?:\?|$)/;

interface Fuzzed {
  readonly what: string;
  readonly body?: string | undefined;
  /** The codes it must have, where it is known. */
  readonly codes?: readonly number[] | undefined;
}

const nested = (open: string, close: string): fc.Arbitrary<string> =>
  fc.integer({ min: 1, max: 5_000 }).map((depth) => open.repeat(depth) + close.repeat(depth));
const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.stringMatching(/^[":.%/\\{}[\]0-9a-z-]{0,30}$/));
const segment = fc.oneof(
  text.map((each) => encodeURIComponent(each.toWellFormed())),
  fc.constantFrom('s', 'latest', '1', '-1', '0', 'x', '%00', '%ff', ':.c:', '..', '2147483648'),
);
const roots = [
  'subjects',
  'schemas',
  'config',
  'mode',
  'contexts',
  'compatibility',
  'versions',
  'ids',
  'guids',
  'tags',
];
const path = fc
  .array(fc.oneof(fc.constantFrom(...roots), segment), { maxLength: 7 })
  .map((segments) => `/${segments.join('/')}`);
const PARAMETERS = [
  ...['deleted', 'limit', 'offset', 'format', 'subject', 'subjectPrefix', 'permanent', 'normalize', 'verbose'],
  ...['findTags', 'referenceFormat', 'aliases', 'ruleType', 'force', 'recursive', 'key', 'value'],
];
const query = fc.oneof(
  fc.constant(''),
  fc.tuple(fc.constantFrom(...PARAMETERS), segment).map(([key, value]) => `?${key}=${value}`),
);
const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE');
const post = (schema: string, more: object = {}): string => JSON.stringify({ schema, ...more });
const REGISTER = 'POST /subjects/s/versions';
const notJson = (each: string): boolean => {
  try {
    JSON.parse(each);
    return false;
  } catch {
    return each.trim() !== '';
  }
};

const fuzzed: fc.Arbitrary<Fuzzed> = fc.oneof(
  fc.record({
    what: fc.tuple(method, path, query).map(([verb, at, more]) => `${verb} ${at}${more}`),
    body: fc.option(fc.oneof(fc.json(), text), { nil: undefined }),
  }),
  // JSON that is none, or nests too deep.
  text.filter(notJson).map((body) => ({ what: REGISTER, body, codes: [400] })),
  fc.integer({ min: 65, max: 50_000 }).map((depth) => ({
    what: REGISTER,
    body: `{"schema":"\\"int\\"","x":${'['.repeat(depth)}${']'.repeat(depth)}}`,
    codes: [400],
  })),
  // Properties of every type.
  fc
    .dictionary(
      fc.constantFrom('schema', 'schemaType', 'references', 'metadata', 'ruleSet', 'id', 'version'),
      fc.jsonValue(),
    )
    .map((body) => ({ what: 'POST /compatibility/subjects/s/versions', body: JSON.stringify(body) })),
  // Changes of tags: of every type, and of places that there are not.
  fc
    .dictionary(
      fc.constantFrom(
        ...['newVersion', 'tagsToAdd', 'tagsToRemove', 'metadata', 'ruleSet', 'rulesToMerge', 'rulesToRemove'],
      ),
      fc.jsonValue(),
    )
    .map((body) => ({ what: 'POST /subjects/s/versions/latest/tags', body: JSON.stringify(body) })),
  fc.tuple(text, fc.constantFrom('sr_record', 'sr_field')).map(([entityPath, entityType]) => ({
    what: 'POST /subjects/s/versions/1/tags',
    body: JSON.stringify({ tagsToAdd: [{ schemaEntity: { entityPath, entityType }, tags: ['T'] }] }),
    codes: [42201, 40401, 40402],
  })),
  // Schemas that are none; a nesting that an engine must not follow.
  fc
    .tuple(
      text.filter((each) => notJson(`{${each}`)),
      fc.constantFrom('AVRO', 'JSON', 'PROTOBUF'),
    )
    .map(([each, schemaType]) => ({
      what: REGISTER,
      body: post(`{${each}`, { schemaType }),
      codes: [42201],
    })),
  fc.oneof(nested('{"type":"array","items":', '}'), nested('[', ']'), nested('{"a":', '}')).map((schema) => ({
    what: REGISTER,
    body: post(schema),
    codes: [42201, 42209],
  })),
  fc.integer({ min: 1_000_001, max: 1_200_000 }).map((size) => ({
    what: REGISTER,
    body: post(`"${'x'.repeat(size)}"`),
    codes: [42209],
  })),
  // Paths and settings that are known to be wrong.
  fc
    .integer({ min: -9, max: 0 })
    .filter((n) => n !== -1)
    .map((n) => ({ what: `GET /subjects/s/versions/${n}`, codes: [42202] })),
  fc.stringMatching(/^[a-z]{1,9}$/).map((name) => ({ what: `GET /subjects/no-${name}/versions`, codes: [40401] })),
  fc.integer({ min: 1_000, max: 2 ** 31 - 1 }).map((id) => ({ what: `GET /schemas/ids/${id}`, codes: [40403] })),
  text.map((level) => ({
    what: 'PUT /config/s',
    body: JSON.stringify({ compatibility: `${level}!` }),
    codes: [42203],
  })),
  text.map((mode) => ({ what: 'PUT /mode/s', body: JSON.stringify({ mode: `${mode}!` }), codes: [42204] })),
);

it('refuses whatever is malformed with the right code, in flat memory', async () => {
  const api = await startSchemaApi();
  await api.call('POST /subjects/s/versions', { schema: '"int"' });
  const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? 4_221);
  const counts = new Map<number, number>();
  let sent = 0;
  let settled = 0;
  await fc.assert(
    fc.asyncProperty(fuzzed, async ({ what, body, codes }) => {
      const [verb] = what.split(' ');
      const reply = await api.call(what, verb === 'GET' || verb === 'DELETE' ? undefined : body);
      counts.set(reply.status, (counts.get(reply.status) ?? 0) + 1);
      if (codes !== undefined) expect(codes).toContain(reply.body.error_code);
      if (CONNECTS.test(what)) expect(reply.status).toBe(404);
      else if (reply.status >= 300) expect(CODES).toContain(reply.body.error_code);
      expect(reply.status).toBeLessThan(500);
      if (++sent === Math.floor(REQUESTS / 5)) settled = await heapAfterCollection();
      if (sent % PROGRESS_REQUESTS === 0) tell(sent, counts);
      // Something random may have set a mode or a level that makes the next request right, or deleted the subject.
      if (reply.status < 300 && verb !== 'GET') await restore(api);
    }),
    { numRuns: REQUESTS, seed, endOnFailure: true },
  );
  expect(counts.get(422)).toBeGreaterThan(REQUESTS / 10);
  const kept = (await heapAfterCollection()) - settled;
  if (REQUESTS >= PROGRESS_REQUESTS) process.stderr.write(`kept since a fifth of the way: ${kept} bytes\n`);
  expect(kept).toBeLessThan(GROWTH_BYTES_MAX);
  await api.close();
});

function tell(sent: number, counts: ReadonlyMap<number, number>): void {
  const { heapUsed, rss } = process.memoryUsage();
  const memory = `heap ${Math.round(heapUsed / 2 ** 20)} MiB, rss ${Math.round(rss / 2 ** 20)} MiB`;
  const statuses = [...counts].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
  process.stderr.write(
    `${Math.round(performance.now() / 1_000)} s, ${sent} requests, ${memory}, ${statuses.join(', ')}\n`,
  );
}

type Api = Awaited<ReturnType<typeof startSchemaApi>>;

async function restore(api: Api): Promise<void> {
  for (const what of ['DELETE /mode?recursive=true', 'DELETE /mode/s', 'DELETE /config', 'DELETE /config/s'])
    await api.call(what);
  await api.call(REGISTER, { schema: '"int"' });
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function heapAfterCollection(): Promise<number> {
  // What a socket or a finalizer still holds goes a turn later.
  for (let turn = 0; turn < 3; turn++) {
    await pause(20);
    collect();
  }
  return process.memoryUsage().heapUsed;
}
