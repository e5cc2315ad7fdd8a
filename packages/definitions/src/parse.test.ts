/**
 * Goal: definitions read as they were meant, and what is wrong is told with its place and remedy, all at once and
 * whatever the input. Method: a whole storefront, one example per mistake, and mutated and random texts.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { problemsOf, STOREFRONT } from './definitions.testing.ts';
import { parseDefinitions } from './parse.ts';
import { PROBLEMS_MAX } from './problems.ts';
import { FILE_CHARS_MAX } from './yaml/yaml-file.ts';

const parse = (text: string) => parseDefinitions([{ path: 'f.yaml', text }]);
const problems = (text: string): string[] => problemsOf(() => parse(text));

/** A view whose one feature is the text. */
const feature = (text: string): string => `kind: FeatureView\nname: v\nentity: e\nsource: s\nfeatures:\n  f: ${text}\n`;
const featureOf = (text: string) => parse(feature(text)).views[0]!.features[0]!;

describe('parseDefinitions', () => {
  it('reads a storefront', () => {
    const definitions = parse(STOREFRONT);
    expect(definitions.entities.map(({ name }) => name)).toEqual(['user', 'product']);
    expect(definitions.sources[0]).toMatchObject({
      name: 'user_activity',
      mode: SourceMode.APPEND,
      origin: { case: 'postgres', value: { database: 'default', schema: 'public', table: 'user_activity' } },
      eventTime: 'occurred_at',
      maxSkewUs: 0n,
    });
    const [clicks, stats] = definitions.views;
    expect(clicks).toMatchObject({ where: 'event_type == "click"', whereLocation: { line: 21, column: 8 } });
    expect(clicks!.features.map(({ name, aggregate, input }) => [name, aggregate, input])).toEqual([
      ['click_count_5min', 'count', ''],
      ['spend_1h', 'sum', 'amount'],
      ['last_click_at', 'last', 'occurred_at'],
      ['clicks_by_hour', 'count', ''],
    ]);
    expect(clicks!.features[2]).toMatchObject({ ttlUs: 2_592_000_000_000n, location: { line: 25, column: 3 } });
    expect(stats).toMatchObject({ keyColumns: { product_id: 'sku' }, derived: [{ name: 'cents' }] });
    expect(definitions.services[0]).toMatchObject({
      owner: 'growth',
      features: ['user_clicks:*', 'product_stats:views_1h'],
    });
  });

  it('reads windows', () => {
    expect(featureOf('{ count: {}, rolling: 5m, pane: 10s }').window?.kind).toMatchObject({
      case: 'rolling',
      value: { lengthUs: 300_000_000n, paneUs: 10_000_000n },
    });
    expect(featureOf('{ count: {}, tumbling: 1h }').window?.kind).toMatchObject({
      case: 'tumbling',
      value: { closed: false },
    });
    expect(featureOf('{ count: {}, lifetime: {} }').window?.kind.case).toBe('lifetime');
    expect(featureOf('{ count: {} }').window).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ['5', { case: 'int64', value: 5n }],
    ['9223372036854775807', { case: 'int64', value: 9223372036854775807n }],
    ['9223372036854775808', { case: 'decimal', value: '9223372036854775808' }],
    ['0.10', { case: 'decimal', value: '0.10' }],
    ['1e3', { case: 'decimal', value: '1000' }],
    ['.inf', { case: 'double', value: Number.POSITIVE_INFINITY }],
    ['"5"', { case: 'string', value: '5' }],
    ['none', { case: 'string', value: 'none' }],
    ['true', { case: 'bool', value: true }],
    ['!!binary aGk=', { case: 'bytes', value: new TextEncoder().encode('hi') }],
  ])('reads the default %s with all its digits', (text, kind) => {
    expect(featureOf(`{ last: x, default: ${text} }`).defaultValue?.kind).toEqual(kind);
  });

  it('reads a list as a default', () => {
    expect(featureOf('{ last: x, default: [1, 2] }').defaultValue?.kind.case).toBe('list');
  });

  it('takes any scalar for an expression, and aliases for values', () => {
    const view = parse(`${feature('&f { count: {} }')}  g: *f\nwhere: true\nderived: { one: 1, text: "'a'" }\n`)
      .views[0]!;
    expect(view.where).toBe('true');
    expect(view.derived.map(({ expression }) => expression)).toEqual(['1', "'a'"]);
    expect(view.features.map(({ name }) => name)).toEqual(['f', 'g']);
  });

  it('reads several files and skips empty documents', () => {
    const [entity = '', ...rest] = STOREFRONT.split('---');
    const definitions = parseDefinitions([
      { path: 'a.yaml', text: `# only a comment\n---\n${entity}\n---\n` },
      { path: 'b.yaml', text: rest.join('---') },
      { path: 'c.yaml', text: '' },
    ]);
    expect(definitions.entities.map(({ location }) => location?.file)).toEqual(['a.yaml', 'b.yaml']);
    expect(definitions.services).toHaveLength(1);
  });
});

describe('mistakes', () => {
  it.each<[string, string, RegExp]>([
    ['malformed YAML', 'kind: Entity\nname: [user\n', /^f\.yaml:\d+:\d+: This is not valid YAML/],
    ['a tab', 'kind: Entity\nkey:\n\tuser_id: int64\n', /^f\.yaml:3:\d+: .*spaces/],
    ['a field given twice', 'kind: Entity\nname: a\nname: b\n', /^f\.yaml:3:1: .*once/],
    ['a colon in an expression', `${feature('{ count: {} }')}where: x == "a: b"\n`, /single quotes/],
    ['an expression that is a tag', `${feature('{ count: {} }')}where: !premium\n`, /^f\.yaml:7:8: .*single quotes/],
    ['an alias of nothing', 'kind: Entity\nname: a\nowner: *me\nkey: { b: bool }\n', /^f\.yaml:3:8: .*no anchor "me"/],
    ['a list for a document', '- 1\n', /^f\.yaml:1:1: The document must be a map/],
    ['a text for a document', 'hello', /must be a map/],
    ['no kind', 'name: user\n', /^f\.yaml:1:1: The document does not say.*kind: Entity/],
    ['an unknown kind', 'kind: Entitty\nname: a\n', /^f\.yaml:1:7: There is no kind "Entitty".*Did you mean "Entity"/],
    ['a number for a kind', 'kind: 5\n', /does not say/],
    [
      'an unknown field',
      'kind: Entity\nname: a\nkee: { id: int64 }\nkey: { id: int64 }\n',
      /^f\.yaml:3:1: Entity a has no field "kee".*Did you mean "key"/,
    ],
    ['no name', 'kind: Entity\nkey: { id: int64 }\n', /lacks the field "name"/],
    [
      'a bad name',
      'kind: Entity\nname: My Entity\nkey: { id: int64 }\n',
      /^f\.yaml:1:1: Entity My Entity: the name .* lower-case/,
    ],
    ['a number for a name', 'kind: Entity\nname: 5\nkey: { id: int64 }\n', /^f\.yaml:2:7: The field "name".*text/],
    ['no key', 'kind: Entity\nname: a\n', /lacks the field "key"/],
    ['an empty key', 'kind: Entity\nname: a\nkey: {}\n', /empty key/],
    ['a double key', 'kind: Entity\nname: a\nkey: { id: double }\n', /^f\.yaml:3:12: .*"double".*decimal/],
    ['a key type of SQL', 'kind: Entity\nname: a\nkey: { id: bigint }\n', /Did you mean "int64"/],
    ['a misspelt key type', 'kind: Entity\nname: a\nkey: { id: strng }\n', /Did you mean "string"/],
    ['a list key', 'kind: Entity\nname: a\nkey: { id: list }\n', /cannot be of type "list"/],
    [
      'an unknown mode',
      'kind: Source\nname: s\nmode: appendd\npostgres: { table: a }\n',
      /^f\.yaml:3:7: .*Did you mean "append"/,
    ],
    ['no origin', 'kind: Source\nname: s\nmode: append\n', /lacks the field "postgres"/],
    [
      'a table that is none',
      'kind: Source\nname: s\nmode: append\npostgres: { table: a.b.c }\n',
      /^f\.yaml:4:20: "a\.b\.c" is not the name of a table/,
    ],
    ['a skew of zero', 'kind: Source\nname: s\nmode: append\npostgres: { table: a }\nmax_skew: 0s\n', /above zero/],
    [
      'a skew beyond the limit',
      'kind: Source\nname: s\nmode: append\npostgres: { table: a }\nmax_skew: 2d\n',
      /max_skew_us/,
    ],
    [
      'no features',
      'kind: FeatureView\nname: v\nentity: e\nsource: s\nfeatures: {}\n',
      /^f\.yaml:5:\d+: View v has no features/,
    ],
    ['a feature that is no map', feature('count'), /^f\.yaml:6:6: Feature f of view v must be a map/],
    ['an unknown aggregate', feature('{ cuont: {} }'), /^f\.yaml:6:8: .*no field "cuont".*Did you mean "count"/],
    ['an unknown option', feature('{ count: {}, roling: 5m }'), /Did you mean "rolling"/],
    ['no aggregate', feature('{ rolling: 5m }'), /^f\.yaml:6:3: Feature f has no aggregate/],
    ['two aggregates', feature('{ count: {}, sum: x }'), /two aggregates, count and sum/],
    ['an input that is no name', feature('{ sum: [a] }'), /^f\.yaml:6:13: The input of sum/],
    ['two windows', feature('{ count: {}, rolling: 5m, tumbling: 1h }'), /several windows: rolling, tumbling/],
    ['a duration without unit', feature('{ count: {}, rolling: 300 }'), /^f\.yaml:6:28: .*"300".*5m/],
    ['an empty duration', feature('{ count: {}, rolling: }'), /must be a duration/],
    [
      'a pane of a tumbling window',
      feature('{ count: {}, tumbling: 1h, pane: 5s }'),
      /"pane".*only goes with "rolling"/,
    ],
    ['a pane of zero', feature('{ count: {}, rolling: 1h, pane: 0s }'), /pane of feature f must be above zero/],
    ['a closed rolling window', feature('{ count: {}, rolling: 1h, closed: true }'), /"closed".*"tumbling"/],
    ['a closed that is no boolean', feature('{ count: {}, tumbling: 1h, closed: yes }'), /true or false/],
    ['a lifetime with a length', feature('{ count: {}, lifetime: 5m }'), /lifetime: \{\}/],
    ['a ttl of zero', feature('{ count: {}, ttl: 0s }'), /ttl.*above zero/],
    ['an empty default', feature('{ count: {}, default: }'), /default of feature f of view v must be a value/],
    ['a map for a default', feature('{ count: {}, default: {} }'), /must be a value/],
    ['a map for an expression', `${feature('{ count: {} }')}where: { a: b }\n`, /CEL expression/],
    ['an empty service', 'kind: FeatureService\nname: s\nfeatures: []\n', /lacks the field "features"/],
    ['a number in a service', 'kind: FeatureService\nname: s\nfeatures: [1]\n', /^f\.yaml:3:12: .*no text/],
    ['a text for a list', 'kind: FeatureService\nname: s\nfeatures: a:b\n', /must be a list/],
    [
      'two of a name',
      'kind: Entity\nname: a\nkey: { b: bool }\n---\nkind: Entity\nname: a\nkey: { b: bool }\n',
      /^f\.yaml:5:1: Entity a is defined twice.*f\.yaml:1:1/,
    ],
    [
      'a field whose name is no text',
      '? [a]\n: b\nkind: Entity\nname: a\nkey: { b: bool }\n',
      /a name that is no text/,
    ],
  ])('%s', (_, text, expected) => {
    expect(problems(text).join('\n')).toMatch(expected);
  });

  it('are told all at once', () => {
    const text = 'kind: Entity\nname: A\n---\nkind: Sorce\n---\nkind: FeatureService\nname: s\n---\nkind: [\n';
    const places = problems(text).map((problem) => problem.split(': ')[0]);
    expect(places).toEqual(expect.arrayContaining(['f.yaml:1:1', 'f.yaml:4:7', 'f.yaml:6:1']));
    expect(places.length).toBeGreaterThanOrEqual(4);
  });

  it('are told up to a bound, with how many there are more', () => {
    const told = problems('kind: Nothing\n---\n'.repeat(250));
    expect(told).toHaveLength(PROBLEMS_MAX);
    expect(told.at(-1)).toContain('151 more problems');
  });

  it('include a file that is too long or too deep', () => {
    expect(problems(' '.repeat(FILE_CHARS_MAX + 1))[0]).toContain('at most 1048576');
    expect(problems('['.repeat(100_000))[0]).toContain('YAML');
    const bomb = 'a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nkind: *c\n';
    expect(problems(bomb)[0]).toContain('does not say');
  });

  it('are only ever INVALID_DEFINITION, whatever the text', () => {
    const words = [
      'kind: ',
      'Entity',
      'FeatureView',
      'name: ',
      'x',
      '\n',
      '  ',
      '{',
      '}',
      '[',
      ']',
      ': ',
      '- ',
      '---\n',
      '&a',
      '*a',
      '!!binary ',
      '"',
      "'",
      '__proto__',
      'features',
      'key',
      'count',
      '|',
      '>',
      '?',
      '\t',
      '0',
      'null',
    ];
    const random = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 3 })), { maxLength: 40 });
    const mutated = fc
      .tuple(fc.nat(STOREFRONT.length), fc.nat(30), fc.constantFrom(...words))
      .map(([at, length, word]) => [STOREFRONT.slice(0, at) + word + STOREFRONT.slice(at + length)]);
    fc.assert(
      fc.property(fc.oneof(random, mutated), (parts) => {
        try {
          parse(parts.join(''));
        } catch (error) {
          if (!isFreshetError(error, 'INVALID_DEFINITION')) throw error;
          expect([error, ...error.also].every(({ remedy }) => remedy !== '')).toBe(true);
        }
      }),
      { numRuns: 800 },
    );
  });
});
