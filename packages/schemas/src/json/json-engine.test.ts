/**
 * Goal: each kind of change is found, by its name, in both directions, and judged as the table says; texts are read
 * exactly, and references resolved. Method: tables of pairs; the keyword table is held against ajv's meta-schemas.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { InvalidSchema, SCHEMA_LIMITS } from '../schema.ts';
import { CHANGES, type ChangeType, isCompatibleChange } from './changes.ts';
import { findChanges, jsonEngine } from './json-engine.ts';
import { wideJsonSchemas } from './wide-schemas.testing.ts';

interface Pair {
  readonly name: string;
  readonly old: unknown;
  readonly now: unknown;
  /** The changes from old to now, and from now to old: "TYPE #/path". */
  readonly forward: readonly string[];
  readonly back: readonly string[];
}
const PAIRS = JSON.parse(readFileSync(new URL('pairs.testing.json', import.meta.url), 'utf8')) as readonly Pair[];

const parse = (schema: unknown, references: Parameters<typeof jsonEngine.parse>[1] = []) =>
  jsonEngine.parse(typeof schema === 'string' ? schema : JSON.stringify(schema), references);

function changes(reader: unknown, writer: unknown): string[] {
  return findChanges(parse(reader), parse(writer), { policy: 'STRICT', stepsMax: SCHEMA_LIMITS.stepsMax }).map(
    ({ type, path }) => `${type} ${path}`,
  );
}

function types(reader: unknown, writer: unknown, policy: 'STRICT' | 'LENIENT' = 'STRICT'): string[] {
  return jsonEngine.findIncompatibilities(parse(reader), parse(writer), { policy }).map(({ type }) => type);
}

describe('changes', () => {
  it.each(PAIRS)('$name', ({ old, now, forward, back }) => {
    expect(changes(now, old)).toEqual(forward);
    expect(changes(old, now)).toEqual(back);
  });

  it('are all shown by the pairs above', () => {
    const shown = new Set(
      PAIRS.flatMap(({ forward, back }) => [...forward, ...back]).map((line) => line.split(' ')[0]),
    );
    expect(Object.keys(CHANGES).filter((type) => !shown.has(type))).toEqual([]);
  });

  it('are compatible under LENIENT when they are under STRICT', () => {
    for (const type of Object.keys(CHANGES) as ChangeType[])
      if (isCompatibleChange(type, 'STRICT')) expect(isCompatibleChange(type, 'LENIENT')).toBe(true);
  });

  it('are none between a schema and the same text', () => {
    for (const { old, now } of PAIRS) {
      expect(types(old, old)).toEqual([]);
      expect(types(now, now)).toEqual([]);
    }
  });
});

describe('policy', () => {
  it('LENIENT takes additions to open and removals from closed models', () => {
    const open = { type: 'object', properties: { a: {} } };
    const more = { type: 'object', properties: { a: {}, b: { type: 'string' } } };
    expect(types(more, open)).toEqual(['PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL']);
    expect(types(more, open, 'LENIENT')).toEqual([]);
    expect(types({ ...open, additionalProperties: false }, { ...more, additionalProperties: false })).toEqual([
      'PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL',
    ]);
    expect(
      types({ ...open, additionalProperties: false }, { ...more, additionalProperties: false }, 'LENIENT'),
    ).toEqual([]);
    expect(types({ ...more, required: ['b'] }, open, 'LENIENT')).toEqual(['REQUIRED_ATTRIBUTE_ADDED']);
  });
});

describe('references', () => {
  const address = '{"type":"object","properties":{"zip":{"type":"string"}},"additionalProperties":false}';

  it('are found by name, identifier, anchor and pointer', () => {
    const names = [{ name: 'address.json', text: address, references: [] }];
    for (const schema of [
      { $ref: 'address.json' },
      { $id: 'http://x.example/y/person.json', properties: { a: { $ref: 'address.json#/properties/zip' } } },
    ])
      expect(() => parse(schema, names)).not.toThrow();
    const inner = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: 'http://x.example/a',
      $defs: {
        one: { $id: 'b', $anchor: 'here', type: 'string' },
      },
      anyOf: [{ $ref: 'http://x.example/b' }, { $ref: 'b#here' }, { $ref: '#/$defs/one' }],
    };
    expect(() => parse(inner)).not.toThrow();
    expect(() => parse({ definitions: { a: { $id: '#a', type: 'string' } }, $ref: '#a' })).not.toThrow();
    expect(() => parse({ $ref: '#/components/x', components: { x: { type: 'string' } } })).not.toThrow();
  });

  it.each([
    [{ $ref: 'nowhere.json' }, 'not there'],
    [{ $ref: '#/definitions/x' }, 'no schema'],
    [{ $ref: '#nowhere' }, 'no schema'],
    [{ $ref: '#' }, 'nothing in between'],
    [
      { $ref: '#/definitions/a', definitions: { a: { $ref: '#/definitions/b' }, b: { $ref: '#/definitions/a' } } },
      'nothing in between',
    ],
    [{ $ref: '#/components/x', components: { x: { type: 'strin' } } }, 'must be'],
    [{ $ref: '#/%zz' }, 'escape'],
    [{ $ref: '#/__proto__' }, 'no schema'],
    [{ properties: { a: { $id: 'x' }, b: { $id: 'x' } } }, 'two schemas'],
  ])('are refused when they lead nowhere: %j', (schema, message) => {
    expect(() => parse(schema)).toThrow(InvalidSchema);
    expect(() => parse(schema)).toThrow(message);
  });

  it('are followed when schemas are compared', () => {
    const person = (zip: string) => [
      { name: 'address.json', text: address.replace('"string"', `"${zip}"`), references: [] },
    ];
    const text = '{"properties":{"home":{"$ref":"address.json"}}}';
    const found = jsonEngine.findIncompatibilities(
      jsonEngine.parse(text, person('integer')),
      jsonEngine.parse(text, person('string')),
    );
    expect(found).toEqual([
      {
        type: 'TYPE_CHANGED',
        path: '#/properties/home/properties/zip',
        message: 'At #/properties/home/properties/zip the type is another.',
      },
    ]);
  });

  it('may go in circles', () => {
    const tree = (value: object) => ({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $ref: '#/$defs/node',
      $defs: {
        node: {
          type: 'object',
          properties: {
            value,
            next: { $ref: '#/$defs/node' },
            all: { items: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
          },
          additionalProperties: false,
        },
      },
    });
    expect(types(tree({ maxLength: 9 }), tree({ maxLength: 5 }))).toEqual([]);
    expect(types(tree({ maxLength: 5 }), tree({ maxLength: 9 }))).toContain('MAX_LENGTH_DECREASED');
  });
});

describe('texts', () => {
  it('keep their order in canonical form and lose it in normal form', () => {
    const schema = parse('{ "type" : "number",\n "b": {"y":1.50,"x":10e2}, "maximum": 12345678901234567890.5 }');
    expect(schema.canonical).toBe('{"type":"number","b":{"y":1.50,"x":10e2},"maximum":12345678901234567890.5}');
    expect(schema.normalized).toBe('{"b":{"x":10e2,"y":1.50},"maximum":12345678901234567890.5,"type":"number"}');
    expect(parse('true').canonical).toBe('true');
  });

  it('compare numbers exactly', () => {
    expect(types({ maximum: 1 }, '{"maximum":1.0}')).toEqual([]);
    expect(types('{"maximum":12345678901234567890.1}', '{"maximum":12345678901234567890.2}')).toEqual([
      'MAXIMUM_DECREASED',
    ]);
    expect(types('{"multipleOf":0.01}', '{"multipleOf":0.1}')).toEqual([]);
    expect(types('{"enum":[1.0,2]}', '{"enum":[1,2]}')).toEqual([]);
  });

  it.each([
    '',
    '{',
    'nul',
    '[]',
    '1',
    '"x"',
    'null',
    '{"a":1,}',
    '{"a":1}x',
    '{"type":"string","type":"number"}',
    '{"a":01}',
    '{"a":1e999999999}',
    `{"a":${'1'.repeat(500)}}`,
    '{"a":"\u0001"}',
    '{"a":"\\x"}',
    '{"type":"strin"}',
    '{"type":[]}',
    '{"maxLength":-1}',
    '{"maxLength":1.5}',
    '{"required":["a","a"]}',
    '{"properties":[]}',
    '{"properties":{"a":1}}',
    '{"allOf":[]}',
    '{"items":3}',
    '{"multipleOf":0}',
    '{"__proto__":1,"minimum":"x"}',
    '{"pattern":1}',
    '{"$schema":"http://json-schema.org/draft-03/schema#"}',
    '{"$schema":"http://json-schema.org/draft-04/schema#","required":[]}',
    '{"$schema":"http://json-schema.org/draft-04/schema#","exclusiveMaximum":true}',
    '{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"a":true}}',
    '{"$schema":"https://json-schema.org/draft/2020-12/schema","items":[{}]}',
    '{"$schema":"https://json-schema.org/draft/2020-12/schema","$anchor":"1"}',
  ])('are refused: %s', (text) => {
    expect(() => parse(text)).toThrow(InvalidSchema);
  });

  it('take keywords of other drafts for unknown words', () => {
    expect(() => parse({ $defs: 3, prefixItems: 4, id: 5, unevaluatedProperties: 'x' })).not.toThrow();
    expect(types('{"minContains":3,"const":1,"$schema":"http://json-schema.org/draft-04/schema#"}', {})).toEqual([]);
  });
});

describe('limits', () => {
  it('refuse what is too long, too deep or too much work, and say so', () => {
    const tooLarge = (work: () => unknown): unknown => {
      try {
        return work();
      } catch (error) {
        return error instanceof InvalidSchema ? error.tooLarge : error;
      }
    };
    expect(tooLarge(() => parse(`{"a":"${'x'.repeat(1_000_001)}"}`))).toBe(true);
    expect(tooLarge(() => parse(`${'{"not":'.repeat(5000)}{}${'}'.repeat(5000)}`))).toBe(true);
    const chain = (length: number, last: object) => ({
      $ref: '#/definitions/d0',
      definitions: Object.fromEntries(
        Array.from({ length }, (_, i) => [
          `d${i}`,
          i + 1 < length ? { properties: { a: { $ref: `#/definitions/d${i + 1}` } } } : last,
        ]),
      ),
    });
    expect(tooLarge(() => types(chain(5000, { minLength: 2 }), chain(5000, { minLength: 1 })))).toBe(true);
    const many = (n: number, base: number) => ({
      anyOf: Array.from({ length: n }, (_, i) => ({ minimum: base - i, maximum: base + i })),
    });
    expect(tooLarge(() => types(many(3000, 1), many(3000, 1_000_000)))).toBe(true);
  });

  it('hold for alternatives within alternatives', () => {
    const nest = (depth: number, leaf: object): object =>
      depth === 0
        ? leaf
        : {
            anyOf: [nest(depth - 1, { ...leaf, title: `l${depth}` }), nest(depth - 1, { ...leaf, title: `r${depth}` })],
          };
    const start = process.hrtime.bigint();
    expect(
      types(nest(7, { type: 'string', maxLength: 4 }), nest(7, { type: 'string', maxLength: 5 })).length,
    ).toBeGreaterThan(0);
    expect(Number(process.hrtime.bigint() - start) / 1e6).toBeLessThan(10_000);
  });

  it('leave room for a thousand properties', () => {
    const { old, now } = wideJsonSchemas(1000);
    expect(types(now, old)).toEqual([]);
    expect(types(old, now).length).toBe(500);
  });
});

describe('the keyword table', () => {
  it('agrees with the meta-schemas on each keyword and value', () => {
    const require = createRequire(import.meta.url);
    const engines = [
      [7, require('ajv').default, 'http://json-schema.org/draft-07/schema#'],
      [2019, require('ajv/dist/2019').default, 'https://json-schema.org/draft/2019-09/schema'],
      [2020, require('ajv/dist/2020').default, 'https://json-schema.org/draft/2020-12/schema'],
    ] as const;
    const values = [
      true,
      false,
      null,
      0,
      -1,
      2.5,
      '',
      'string',
      'a#b',
      [],
      [1, 1],
      ['a', 'a'],
      ['a'],
      [{}],
      [true],
      {},
      { a: {} },
      { a: true },
      { a: 1 },
      { a: ['x'] },
      { a: ['x', 'x'] },
      { a: { type: 'nope' } },
    ];
    const words = [
      'type',
      'enum',
      'const',
      'items',
      'prefixItems',
      'additionalItems',
      'contains',
      'properties',
      'patternProperties',
      'additionalProperties',
      'propertyNames',
      'dependencies',
      'dependentRequired',
      'dependentSchemas',
      'required',
      'maxLength',
      'minItems',
      'multipleOf',
      'maximum',
      'exclusiveMinimum',
      'uniqueItems',
      'allOf',
      'anyOf',
      'oneOf',
      'not',
      'if',
      'then',
      'else',
      'definitions',
      '$defs',
      'title',
      'default',
      'examples',
      'readOnly',
      'deprecated',
      '$comment',
      'format',
      'unevaluatedItems',
      'unevaluatedProperties',
      'minContains',
      'contentSchema',
      '$vocabulary',
      '$anchor',
    ];
    const differ: string[] = [];
    for (const [draft, Ajv, uri] of engines) {
      const ajv = new Ajv({ strict: false, logger: false, validateFormats: false });
      for (const word of words) {
        for (const value of values) {
          const schema = { $schema: uri, [word]: value };
          let ours = true;
          try {
            parse(schema);
          } catch {
            ours = false;
          }
          if (ours !== ajv.validateSchema(schema)) differ.push(`${draft} ${word} ${JSON.stringify(value)}: ${ours}`);
        }
      }
    }
    expect(differ).toEqual([]);
  });
});
