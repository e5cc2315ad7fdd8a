/**
 * Goal: what the engine declares readable can be read; and whatever text comes, the answer is a schema or
 * InvalidSchema, within bounded time. Method: random schemas, evolved at random, with random values that ajv takes for
 * valid under the old one and must take under the new one; then mutated, nested and hostile texts.
 */
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidSchema } from '../schema.ts';
import { jsonEngine } from './json-engine.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Schema = { [key: string]: Json } | boolean;

const NAMES = ['a', 'b', 'xa'] as const;
const STRINGS = ['', 'a', 'ab', 'abc'] as const;
const count = fc.integer({ min: 0, max: 3 });
const value: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.oneof(
      fc.constant(null),
      fc.boolean(),
      fc.integer({ min: -2, max: 4 }),
      fc.constantFrom(0.5, 1.5),
      fc.constantFrom(...STRINGS),
    ) as fc.Arbitrary<Json>,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 3, noNullPrototype: true }) as fc.Arbitrary<Json>,
  ),
})).value;

/** Keywords with values; schemas within are made by `inner`. */
function keywords(inner: fc.Arbitrary<Schema>, is2020: boolean): fc.Arbitrary<Schema> {
  const list = fc.array(inner, { minLength: 1, maxLength: 3 });
  const type = fc.constantFrom('string', 'integer', 'number', 'boolean', 'null', 'object', 'array');
  const names = fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 2 });
  const map = fc.dictionary(fc.constantFrom(...NAMES), inner, { maxKeys: 3, noNullPrototype: true });
  const all: Record<string, fc.Arbitrary<Json>> = {
    type: fc.oneof({ weight: 3, arbitrary: type }, fc.uniqueArray(type, { minLength: 1, maxLength: 3 })),
    enum: fc.uniqueArray(value, { minLength: 1, maxLength: 4, selector: (item) => JSON.stringify(item) }),
    const: value,
    minLength: count,
    maxLength: count,
    pattern: fc.constantFrom('a', '^ab', 'c$'),
    minimum: count,
    maximum: count,
    exclusiveMinimum: count,
    exclusiveMaximum: count,
    multipleOf: fc.constantFrom(0.5, 1, 2, 3),
    minItems: count,
    maxItems: count,
    uniqueItems: fc.boolean(),
    contains: inner,
    ...(is2020
      ? {
          prefixItems: list,
          items: inner,
          minContains: count,
          maxContains: count,
          unevaluatedItems: inner,
          unevaluatedProperties: inner,
          dependentRequired: fc.dictionary(fc.constantFrom(...NAMES), names, { maxKeys: 1, noNullPrototype: true }),
          dependentSchemas: map,
        }
      : {
          items: fc.oneof(inner, list),
          additionalItems: inner,
          dependencies: fc.dictionary(fc.constantFrom(...NAMES), fc.oneof(names, inner), {
            maxKeys: 1,
            noNullPrototype: true,
          }),
        }),
    minProperties: count,
    maxProperties: count,
    required: names,
    properties: map,
    patternProperties: fc.dictionary(fc.constantFrom('^x', 'a$', '^[a-b]$', '(a|b)'), inner, {
      maxKeys: 2,
      noNullPrototype: true,
    }),
    additionalProperties: inner,
    propertyNames: fc.constantFrom<Schema>({ maxLength: 1 }, { pattern: 'a' }, { enum: ['a', 'b'] }),
    allOf: list,
    anyOf: list,
    not: inner,
    if: inner,
    else: inner,
  };
  // Written so because an object with this name in it passes for a promise.
  all['then'] = inner;
  // Through text, so that no object comes without a prototype: ajv does not find such ones equal.
  return fc
    .subarray(Object.keys(all), { maxLength: 4 })
    .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, all[key] as fc.Arbitrary<Json>]))))
    .map((schema) => {
      const { contains, ...rest } = JSON.parse(JSON.stringify(schema)) as Record<string, Json>;
      // ajv lets an empty array contain what it must when there is a tuple beside it: no oracle there.
      return contains === undefined || 'items' in rest || 'prefixItems' in rest ? rest : { contains, ...rest };
    });
}

function schemas(is2020: boolean): fc.Arbitrary<Schema> {
  const leaf = keywords(
    fc.oneof(fc.boolean() as fc.Arbitrary<Schema>, fc.constant<Schema>({ type: 'string' })),
    is2020,
  );
  const middle = keywords(fc.oneof({ weight: 4, arbitrary: leaf }, fc.boolean() as fc.Arbitrary<Schema>), is2020);
  return fc.oneof({ weight: 1, arbitrary: keywords(middle, is2020) }, { weight: 1, arbitrary: leaf });
}

/** The same schema with some things replaced, dropped or added, at any depth. */
function evolve(schema: Json, other: Json, pick: () => number): Json {
  if (pick() < 0.08) return typeof schema === typeof other ? other : schema;
  if (typeof schema === 'number' && pick() < 0.3) return schema + (pick() < 0.5 ? 1 : -1) >= 0 ? schema + 1 : schema;
  if (Array.isArray(schema)) {
    const items = schema.filter(() => pick() > 0.1).map((item) => evolve(item, other, pick));
    return items.length === 0 ? schema : items;
  }
  if (schema === null || typeof schema !== 'object') return schema;
  const entries = Object.entries(schema)
    .filter(() => pick() > 0.12)
    .map(([key, item]) => [key, evolve(item, other, pick)]);
  return Object.fromEntries(entries);
}

/**
 * ajv's answer; undefined where its generated code fails, which it does for some dependentSchemas beside anyOf: it reads a
 * property of what is null (TypeError), or a variable that it declared in another block (ReferenceError).
 */
function asked(validate: (item: Json) => unknown, item: Json): boolean | undefined {
  try {
    return validate(item) === true;
  } catch (error) {
    if (error instanceof TypeError || error instanceof ReferenceError) return undefined;
    throw error;
  }
}

function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const RUNS = 3000;
/** Pairs that are judged and read; a long run is FRESHET_SCHEMA_PAIRS, a run is repeated by FRESHET_FUZZ_SEED. */
const PAIRS = Number(process.env['FRESHET_SCHEMA_PAIRS'] ?? RUNS);
const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

describe.each([
  ['draft 7', false],
  ['2020-12', true],
] as const)('%s', (draft, is2020) => {
  it(
    'what is declared backward compatible can be read',
    () => {
      const seen = { compatible: 0, incompatible: 0, refused: 0, judged: 0 };
      const marked = (schema: Schema): Json =>
        typeof schema === 'object' && is2020
          ? { $schema: 'https://json-schema.org/draft/2020-12/schema', ...schema }
          : schema;
      const property = fc.property(
        schemas(is2020),
        schemas(is2020),
        fc.integer(),
        fc.array(value, { minLength: 30, maxLength: 30 }),
        (old, other, seed, values) => {
          const now = (seed % 4 === 0 ? other : evolve(old, other, random(seed))) as Schema;
          let compatible: boolean;
          try {
            const reader = jsonEngine.parse(JSON.stringify(marked(now)), []);
            compatible =
              jsonEngine.findIncompatibilities(reader, jsonEngine.parse(JSON.stringify(marked(old)), [])).length === 0;
          } catch (error) {
            if (!(error instanceof InvalidSchema)) throw error;
            seen.refused++;
            return;
          }
          seen[compatible ? 'compatible' : 'incompatible']++;
          if (!compatible) return;
          const options = { strict: false, logger: false, validateSchema: false } as const;
          const ajv = is2020 ? new Ajv2020(options) : new Ajv(options);
          const writes = ajv.compile(old);
          const reads = ajv.compile(now);
          for (const item of JSON.parse(JSON.stringify(values)) as Json[]) {
            if (asked(writes, item) !== true) continue;
            if (JSON.stringify(old) !== JSON.stringify(now)) seen.judged++;
            if (asked(reads, item) === false)
              throw new Error(
                `${JSON.stringify(item)} is valid by ${JSON.stringify(old)}, not by ${JSON.stringify(now)}`,
              );
          }
        },
      );
      fc.assert(property, { numRuns: PAIRS, seed });
      if (PAIRS > RUNS) process.stderr.write(`JSON ${draft}, seed ${seed}: ${JSON.stringify(seen)}\n`);
      expect(seen.judged).toBeGreaterThan(PAIRS / 10);
    },
    Math.max(120_000, PAIRS * 50),
  );
});

describe('whatever text comes', () => {
  const answers = (text: string, reference?: string): boolean => {
    try {
      const references = reference === undefined ? [] : [{ name: 'r', text: reference, references: [] }];
      const schema = jsonEngine.parse(text, references);
      jsonEngine.findIncompatibilities(schema, jsonEngine.parse(schema.canonical, references));
      return jsonEngine.parse(schema.canonical, references).canonical === schema.canonical;
    } catch (error) {
      if (error instanceof InvalidSchema) return true;
      throw error;
    }
  };

  it('is a schema or InvalidSchema: random text, and schemas with characters replaced', () => {
    const text = schemas(true).map((schema) =>
      JSON.stringify({
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        $defs: { a: schema },
        $ref: '#/$defs/a',
      }),
    );
    const mutated = fc.tuple(text, fc.nat(), fc.string({ maxLength: 5 }), fc.nat(6)).map(([base, at, piece, drop]) => {
      const index = at % (base.length + 1);
      return base.slice(0, index) + piece + base.slice(index + drop);
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.string({ unit: 'binary' }), fc.json()), (source) => answers(source)),
      { numRuns: RUNS },
    );
  }, 120_000);

  it.each([
    ['nesting', '['.repeat(500_000)],
    ['nesting of objects', '{"a":'.repeat(190_000)],
    ['nesting of not', `${'{"not":'.repeat(199)}{}${'}'.repeat(199)}`],
    [
      '__proto__',
      '{"__proto__":{"type":"string"},"properties":{"__proto__":{"type":"string"},"constructor":{},"toString":{}},"required":["__proto__","valueOf"],"$ref":"#/properties/__proto__"}',
    ],
    ['a huge string', `{"title":"${'x'.repeat(900_000)}"}`],
    ['a huge number', `{"maximum":${'9'.repeat(900_000)}}`],
    ['a huge exponent', '{"maximum":1e400000000,"multipleOf":1e-99999999}'],
    ['many values', `{"enum":[${Array.from({ length: 100_000 }, (_, i) => i).join()}]}`],
    ['many properties', `{"properties":{${Array.from({ length: 40_000 }, (_, i) => `"p${i}":{}`).join()}}}`],
    ['many alternatives', `{"oneOf":[${'{},'.repeat(200_000)}{}]}`],
    [
      'many references to each other',
      `{"definitions":{${Array.from({ length: 10_000 }, (_, i) => `"d${i}":{"$ref":"#/definitions/d${i + 1}"}`).join()},"d10000":{}}}`,
    ],
    [
      'a hostile pattern',
      `{"patternProperties":{"^(a+)+$":{"type":"string"}},"properties":{"${'a'.repeat(100_000)}":{}},"pattern":"^(a+)+$"}`,
    ],
    ['broken surrogates', '{"\\ud800":"\\udc00","$id":"\\ud800"}'],
    ['a URI of nothing', '{"$id":"http://[","$ref":"http://%"}'],
    ['an endless reference', '{"allOf":[{"$ref":"#"}]}'],
  ])('ends soon: %s', (_, text) => {
    const start = process.hrtime.bigint();
    expect(answers(text)).toBe(true);
    expect(answers('{"$ref":"r"}', text)).toBe(true);
    expect(Number(process.hrtime.bigint() - start) / 1e6).toBeLessThan(15_000);
  });
});
