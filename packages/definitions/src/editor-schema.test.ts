/**
 * Goal: an editor that has the schema finds typical mistakes, and never marks what the parser accepts. Method: ajv against
 * every definition of the repository, a table of mistakes, the texts of this package's tests, and each field
 * with each of many values.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { aggregateNames } from '@freshet/engine/aggregates/table.ts';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { STOREFRONT } from './definitions.testing.ts';
import { editorSchema } from './editor-schema.ts';
import { ENTITY_FIELDS } from './parse/parse-entity.ts';
import { FEATURE_OPTIONS } from './parse/parse-feature.ts';
import { JOIN_FIELDS } from './parse/parse-join.ts';
import { ON_DEMAND_FIELDS } from './parse/parse-on-demand.ts';
import { NULL_RATE_FIELDS, RULE_FIELDS } from './parse/parse-rules.ts';
import { SERVICE_FIELDS } from './parse/parse-service.ts';
import { POSTGRES_FIELDS, SOURCE_FIELDS } from './parse/parse-source.ts';
import { VIEW_FIELDS } from './parse/parse-view.ts';
import { parseDefinitions } from './parse.ts';

const ROOT = join(import.meta.dirname, '../../..');
// Infinity is a default that may be written.
const ajv = new Ajv2020({
  allErrors: true,
  strict: true,
  allowUnionTypes: true,
  strictRequired: false,
  strictNumbers: false,
});
const validate = ajv.compile(editorSchema());

/** What the schema finds wrong with the documents of a text. */
function faults(text: string): string[] {
  return parseAllDocuments(text, { version: '1.2', customTags: ['binary'] }).flatMap((document) => {
    // Editors hand bytes on as text.
    const value: unknown = document.toJS({ reviver: (_, v: unknown) => (v instanceof Uint8Array ? 'bytes' : v) });
    return validate(value) ? [] : (validate.errors ?? []).map((e) => `${e.instancePath} ${e.message ?? ''}`);
  });
}

function accepts(text: string): boolean {
  try {
    parseDefinitions([{ path: 'f.yaml', text }]);
    return true;
  } catch {
    return false;
  }
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const blocks = (path: string): string[] =>
  [...read(path).matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text]) => text ?? '');
const examples: [string, string][] = [
  ...readdirSync(join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ya?ml$/.test(name) && !name.includes('node_modules'))
    .map((name): [string, string] => [name, read(join('examples', name))]),
  ...['README.md', 'docs/definitions.md', 'docs/contracts.md'].flatMap((path) =>
    blocks(path).map((text, index): [string, string] => [`${path}, block ${index + 1}`, text]),
  ),
];

const ENTITY = 'kind: Entity\nname: user\nkey: { user_id: int64 }\n';
const SOURCE = 'kind: Source\nname: s\nmode: append\npostgres: { table: public.s }\n';
const VIEW = 'kind: FeatureView\nname: v\nentity: e\nsource: s\n';
const SERVICE = 'kind: FeatureService\nname: s\nfeatures: [v:*]\n';
const feature = (text: string): string => `${VIEW}features:\n  f: ${text}\n`;

describe('the schema', () => {
  it('takes every example and every block of the docs', () => {
    expect(examples.length).toBeGreaterThanOrEqual(6);
    for (const [name, text] of examples) expect([name, accepts(text), faults(text)]).toEqual([name, true, []]);
  });

  it.each<[string, string, RegExp]>([
    ['a list for a document', '- 1\n', /must be object,null/],
    ['no kind', 'name: user\n', /required property 'kind'/],
    ['an unknown kind', 'kind: Entitty\nname: a\n', /^\/kind .*allowed values/],
    ['the fields of another kind', `${ENTITY}features: [a:b]\n`, /additional properties/],
    ['an unknown field', `${ENTITY}ownr: me\n`, /additional properties/],
    ['no name', 'kind: Entity\nkey: { id: int64 }\n', /required property 'name'/],
    ['a name with capitals', 'kind: Entity\nname: User\nkey: { id: int64 }\n', /^\/name .*pattern/],
    ['a number for a name', 'kind: Entity\nname: 5\nkey: { id: int64 }\n', /^\/name must be string/],
    ['an empty key', 'kind: Entity\nname: a\nkey: {}\n', /^\/key .*fewer than 1/],
    ['a double key', 'kind: Entity\nname: a\nkey: { id: double }\n', /^\/key\/id .*allowed values/],
    ['a key type of SQL', 'kind: Entity\nname: a\nkey: { id: bigint }\n', /^\/key\/id .*allowed values/],
    ['tags that are a text', `${ENTITY}tags: pii\n`, /^\/tags must be array/],
    ['tags with spaces', `${ENTITY}tags: [my tag]\n`, /^\/tags\/0 .*pattern/],
    ['an unknown mode', 'kind: Source\nname: s\nmode: appendd\npostgres: { table: a }\n', /^\/mode .*allowed values/],
    ['no table', 'kind: Source\nname: s\nmode: append\n', /required property 'postgres'/],
    ['a table that is none', 'kind: Source\nname: s\nmode: append\npostgres: { table: a.b.c }\n', /table .*pattern/],
    ['a misspelt policy', `${SOURCE}policy: evolv\n`, /^\/policy .*allowed values/],
    ['a misspelt hold', `${SOURCE}hold: row\n`, /^\/hold .*allowed values/],
    ['a skew of zero', `${SOURCE}max_skew: 0s\n`, /^\/max_skew must NOT be valid/],
    ['a rule without a name', `${SOURCE}rules: [{ expression: a > 1 }]\n`, /^\/rules\/0 .*'name'/],
    ['a rule that asks nothing', `${SOURCE}rules: [{ name: a }]\n`, /^\/rules\/0 .*exactly one/],
    ['a null rate without max', `${SOURCE}rules: [{ name: a, null_rate: { column: b } }]\n`, /null_rate .*'max'/],
    ['a null rate of nothing', `${SOURCE}rules: [{ name: a, null_rate: }]\n`, /null_rate must be object/],
    ['a null rate of no rows', `${SOURCE}rules: [{ name: a, null_rate: { column: b, max: 1, rows: 0 } }]\n`, /rows/],
    ['no features', `${VIEW}features: {}\n`, /^\/features .*fewer than 1/],
    ['a feature that is no map', feature('count'), /^\/features\/f must be object/],
    ['an unknown aggregate', feature('{ cuont: {} }'), /^\/features\/f .*additional/],
    ['no aggregate', feature('{ rolling: 5m }'), /^\/features\/f .*exactly one/],
    ['two aggregates', feature('{ count: {}, sum: x }'), /^\/features\/f .*exactly one/],
    ['an expression for an input', feature('{ sum: { a: b } }'), /^\/features\/f\/sum/],
    ['two windows', feature('{ count: {}, rolling: 5m, tumbling: 1h }'), /^\/features\/f must NOT be valid/],
    ['a duration without unit', feature('{ count: {}, rolling: 300 }'), /rolling must be string/],
    ['a duration of words', feature('{ count: {}, rolling: 5 minutes }'), /rolling .*pattern/],
    ['an empty duration', feature('{ count: {}, rolling: }'), /rolling must be string/],
    ['a window of another form', feature('{ count: {}, rolling: { length: 5m } }'), /rolling must be string/],
    ['a pane of a tumbling window', feature('{ count: {}, tumbling: 1h, pane: 5s }'), /rolling when property pane/],
    ['a closed rolling window', feature('{ count: {}, rolling: 1h, closed: true }'), /tumbling when property closed/],
    ['a closed that is no boolean', feature('{ count: {}, tumbling: 1h, closed: yes }'), /closed must be boolean/],
    ['a lifetime with a length', feature('{ count: {}, lifetime: 5m }'), /lifetime/],
    ['a ttl of zero', feature('{ count: {}, ttl: 0s }'), /ttl must NOT be valid/],
    ['a map for a default', feature('{ count: {}, default: {} }'), /default must be/],
    ['a map for an expression', `${feature('{ count: {} }')}where: { a: b }\n`, /^\/where must be/],
    ['a join without its key', `${feature('{ count: {} }')}join: [{ table: t, columns: { a: b } }]\n`, /'on'/],
    ['an empty service', 'kind: FeatureService\nname: s\nfeatures: []\n', /^\/features .*fewer than 1/],
    ['a request of an unknown type', `${SERVICE}request: { a: float }\n`, /^\/request\/a/],
    ['a request of a list of nothing', `${SERVICE}request: { a: list }\n`, /^\/request\/a/],
    ['an on-demand feature without expression', `${SERVICE}on_demand: { a: { default: 0 } }\n`, /'expression'/],
  ])('finds %s, as the parser does', (_, text, expected) => {
    expect(faults(text).some((fault) => expected.test(fault))).toBe(true);
    expect(accepts(text)).toBe(false);
  });

  it('explains every field', () => {
    const silent: string[] = [];
    const visit = (schema: unknown, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return;
      for (const [key, value] of Object.entries(schema)) {
        if (key === 'properties' && !path.includes('/if')) {
          for (const [name, shape] of Object.entries(value as Record<string, { description?: string }>))
            if ((shape.description ?? '') === '') silent.push(`${path}/${name}`);
        }
        visit(value, `${path}/${key}`);
      }
    };
    visit(editorSchema(), '');
    expect(silent).toEqual([]);
  });
});

type More = Readonly<Record<string, unknown>>;
const A_VIEW = { kind: 'FeatureView', name: 'a', entity: 'a', source: 'a' } as const;
const A_SOURCE = { kind: 'Source', name: 'a', mode: 'append', postgres: { table: 'a' } } as const;
const A_SERVICE = { kind: 'FeatureService', name: 'a', features: ['a:b'] } as const;
const F = { count: {} } as const;
/** The fields of each map of the language, and a document in which one of them may be replaced. */
const BASES: readonly (readonly [readonly string[], (more: More) => object])[] = [
  [ENTITY_FIELDS, (more) => ({ kind: 'Entity', name: 'a', key: { a: 'bool' }, ...more })],
  [SOURCE_FIELDS, (more) => ({ ...A_SOURCE, ...more })],
  [POSTGRES_FIELDS, (more) => ({ ...A_SOURCE, postgres: { table: 'a', ...more } })],
  [RULE_FIELDS, (more) => ({ ...A_SOURCE, rules: [{ name: 'a', ...more }] })],
  [RULE_FIELDS, (more) => ({ ...A_SOURCE, rules: [{ name: 'a', expression: 'a', ...more }] })],
  [NULL_RATE_FIELDS, (more) => ({ ...A_SOURCE, rules: [{ name: 'a', null_rate: { column: 'a', max: 1, ...more } }] })],
  [VIEW_FIELDS, (more) => ({ ...A_VIEW, features: { f: F }, ...more })],
  [aggregateNames, (more) => ({ ...A_VIEW, features: { f: more } })],
  [FEATURE_OPTIONS, (more) => ({ ...A_VIEW, features: { f: { ...F, ...more } } })],
  [FEATURE_OPTIONS, (more) => ({ ...A_VIEW, features: { f: { ...F, rolling: '1h', ...more } } })],
  [FEATURE_OPTIONS, (more) => ({ ...A_VIEW, features: { f: { ...F, tumbling: '1h', ...more } } })],
  [
    JOIN_FIELDS,
    (more) => ({ ...A_VIEW, features: { f: F }, join: [{ table: 't', on: { a: 'b' }, columns: { a: 'b' }, ...more }] }),
  ],
  [SERVICE_FIELDS, (more) => ({ ...A_SERVICE, ...more })],
  [['a', 'A'], (more) => ({ ...A_SERVICE, request: more })],
  [['a', 'A'], (more) => ({ ...A_SERVICE, on_demand: more })],
  [ON_DEMAND_FIELDS, (more) => ({ ...A_SERVICE, on_demand: { f: { expression: 'a', ...more } } })],
];
const VALUES: readonly unknown[] = [
  null,
  '',
  'a',
  'A b',
  '5m',
  ' 05m ',
  '0s',
  '1us',
  '99999999999999999s',
  0,
  1,
  0.5,
  -3,
  true,
  false,
  'strict',
  'key',
  'int64',
  'double',
  'list<bool>',
  'list< int64 >',
  'public."My Table"',
  ' t ',
  'é.ü',
  '😀',
  'x'.repeat(64),
  {},
  [],
  ['a'],
  ['a', 'a'],
  [1, 'b', true],
  { a: 'b' },
  { A: 'b' },
  { a: null },
  { a: 1 },
  { table: 'a' },
  Infinity,
];

describe('what the parser accepts, the schema accepts', () => {
  it('in the texts of this package', () => {
    const sources = readdirSync(import.meta.dirname).filter((name) => /\.(test|testing)\.ts$/.test(name));
    const texts = sources
      .map((name) => readFileSync(join(import.meta.dirname, name), 'utf8'))
      .flatMap((source) => [...source.matchAll(/`([^`$]*\bkind: [^`$]*)`/g)].map(([, text]) => text ?? ''));
    const accepted = [STOREFRONT, ...texts].filter((text) => accepts(text));
    expect(accepted.length).toBeGreaterThanOrEqual(5);
    for (const text of accepted) expect([text, faults(text)]).toEqual([text, []]);
  });

  it('with every value in every field of a document that works', () => {
    let accepted = 0;
    for (const [fields, base] of BASES) {
      for (const name of fields) {
        for (const value of VALUES) {
          const text = stringify(base({ [name]: value }));
          if (!accepts(text)) continue;
          accepted++;
          expect([text, faults(text)]).toEqual([text, []]);
        }
      }
    }
    // Else it would say little.
    expect(accepted).toBeGreaterThan(300);
  });
});
