/**
 * Goal: tags are found where they stand, and taking all of them away and putting them back leaves the text as it was, for
 * every kind of schema. Method: random nested records, written in each kind with the places they must have; the texts
 * without tags are written too, and compared with.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { avroEngine } from './avro/avro-engine.ts';
import { jsonEngine } from './json/json-engine.ts';
import { protobufEngine } from './protobuf/protobuf-engine.ts';
import { InvalidSchema, type SchemaEngine } from './schema.ts';
import { changedTags, TAGS_KEY, type TaggedPlace } from './tags.ts';

interface Field {
  readonly tags: readonly string[];
  /** A record of its own, or a string. */
  readonly record?: Node | undefined;
}
interface Node {
  readonly tags: readonly string[];
  readonly fields: readonly Field[];
}

const tag = fc.oneof(fc.constantFrom('PII', 'a"b', 'x, y', '{', '] }', 'ü', '\\'), fc.string({ maxLength: 5 }));
const tags = fc.uniqueArray(
  tag.map((each) => each.toWellFormed()),
  { maxLength: 3 },
);
const node: fc.Arbitrary<Node> = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.record({
    tags,
    fields: fc.array(fc.record({ tags, record: fc.option(tie('node'), { nil: undefined, depthSize: 'small' }) }), {
      minLength: 1,
      maxLength: 3,
    }),
  }),
})).node;

interface Written {
  readonly text: string;
  readonly places: readonly TaggedPlace[];
}
type Write = (root: Node, withTags: boolean) => Written;

function placesOf(kind: TaggedPlace['kind'], path: string, own: readonly string[]): TaggedPlace[] {
  return own.length === 0 ? [] : [{ path, kind, tags: own }];
}

const writeAvro: Write = (root, withTags) => {
  const places: TaggedPlace[] = [];
  const attribute = (own: readonly string[]) => (withTags && own.length > 0 ? { [TAGS_KEY]: own } : {});
  let count = 0;
  const record = ({ tags: own, fields }: Node): object => {
    const name = `R${count++}`;
    places.push(...placesOf('sr_record', `n.s.${name}`, own));
    const written = fields.map((field, at) => {
      places.push(...placesOf('sr_field', `n.s.${name}.f${at}`, field.tags));
      const type = field.record === undefined ? 'string' : { type: 'array', items: record(field.record) };
      return { name: `f${at}`, type, ...attribute(field.tags) };
    });
    return { type: 'record', name, namespace: 'n.s', fields: written, ...attribute(own) };
  };
  return { text: JSON.stringify(record(root)), places };
};

const writeJson: Write = (root, withTags) => {
  const places: TaggedPlace[] = [];
  const keyword = (own: readonly string[]) => (withTags && own.length > 0 ? { [TAGS_KEY]: own } : {});
  const object = ({ tags: own, fields }: Node, path: string): object => {
    places.push(...placesOf('sr_record', path, own));
    const properties = fields.map((field, at) => {
      places.push(...placesOf('sr_field', `${path}.f${at}`, field.tags));
      const { record } = field;
      const type =
        record === undefined ? { type: 'string' } : { oneOf: [object(record, `${path}.f${at}.oneof.0.object`)] };
      return [`f${at}`, { ...type, ...keyword(field.tags) }];
    });
    return { type: 'object', properties: Object.fromEntries(properties), ...keyword(own) };
  };
  return { text: JSON.stringify(object(root, 'object')), places };
};

const writeProto: Write = (root, withTags) => {
  const places: TaggedPlace[] = [];
  const option = (meta: string, own: readonly string[]): string =>
    withTags && own.length > 0
      ? `(confluent.${meta}) = { tags: [${own.map((each) => JSON.stringify(each)).join()}] }`
      : '';
  const message = ({ tags: own, fields }: Node, name: string, path: string): string => {
    places.push(...placesOf('sr_record', path, own));
    for (const [at, field] of fields.entries()) places.push(...placesOf('sr_field', `${path}.f${at}`, field.tags));
    const meta = option('message_meta', own);
    const members = fields.map((field, at) => {
      const options = option('field_meta', field.tags);
      const type = field.record === undefined ? 'string' : `M${at}`;
      return `${type} f${at} = ${at + 1}${options === '' ? '' : ` [${options}]`};`;
    });
    const inner = fields.map(({ record }, at) =>
      record === undefined ? '' : message(record, `M${at}`, `${path}.M${at}`),
    );
    return `message ${name} { ${meta === '' ? '' : `option ${meta};`} ${members.join(' ')} ${inner.join(' ')} }`;
  };
  const text = `syntax = "proto3"; package shop; ${message(root, 'Root', 'Root')}`;
  return { text, places };
};

const ENGINES = [
  ['Avro', avroEngine, writeAvro],
  ['JSON Schema', jsonEngine, writeJson],
  ['Protobuf', protobufEngine, writeProto],
] as unknown as readonly (readonly [string, SchemaEngine, Write])[];

const byPlace = (places: readonly TaggedPlace[]): unknown =>
  places.map(({ path, kind, tags: own }) => `${path} ${kind} ${own.join('|')}`).sort();

describe.each(ENGINES)('%s', (_name, engine, write) => {
  it('finds tags, takes them away and puts them back', () => {
    fc.assert(
      fc.property(node, (root) => {
        const { text, places } = write(root, true);
        const parsed = engine.parse(text, []);
        expect(byPlace(engine.findTags(parsed))).toEqual(byPlace(places));
        const away = engine.changeTags(
          text,
          places.map((place) => ({ ...place, add: [], remove: place.tags })),
        );
        const bare = engine.parse(away, []);
        expect(engine.findTags(bare)).toEqual([]);
        expect(bare.canonical).toBe(engine.parse(write(root, false).text, []).canonical);
        const back = engine.changeTags(
          away,
          places.map((place) => ({ ...place, add: place.tags, remove: [] })),
        );
        expect(byPlace(engine.findTags(engine.parse(back, [])))).toEqual(byPlace(places));
      }),
      { numRuns: 200 },
    );
  });

  it('refuses a place that is not there, unless it need not be', () => {
    const { text } = write({ tags: [], fields: [{ tags: [] }] }, true);
    const change = { path: 'nowhere', kind: 'sr_field', add: ['T'], remove: [] } as const;
    expect(() => engine.changeTags(text, [change])).toThrow(InvalidSchema);
    expect(engine.changeTags(text, [{ ...change, isOptional: true }])).not.toContain('"T"');
    expect(() => engine.changeTags('{', [change])).toThrow(InvalidSchema);
  });
});

it('a change adds once, keeps the order, and removes what it adds when it is told to', () => {
  const change = { path: 'p', kind: 'sr_field', add: ['b', 'c', 'd'], remove: ['a', 'd'] } as const;
  expect(changedTags(['a', 'b'], change)).toEqual(['b', 'c']);
});
