/**
 * Goal: Avro texts become the text that Avro's Java library would print, whatever is no schema is InvalidSchema and
 * nothing else, and each rule of compatibility has its name and place. Method: tables of texts; hostile texts.
 */
import { describe, expect, it } from 'vitest';
import { InvalidSchema, type ReferencedSchema } from '../schema.ts';
import { avroEngine } from './avro-engine.ts';

const canonical = (text: string, references: readonly ReferencedSchema[] = []): string =>
  avroEngine.parse(text, references).canonical;
const record = (fields: string, more = ''): string => `{"type":"record","name":"R"${more},"fields":[${fields}]}`;
const field = (name: string, type: string, more = ''): string => `{"name":"${name}","type":${type}${more}}`;
const reference = (name: string, text: string, references: readonly ReferencedSchema[] = []): ReferencedSchema => ({
  name,
  text,
  references,
});

function judge(reader: string, writer: string): readonly string[] {
  return avroEngine
    .findIncompatibilities(avroEngine.parse(reader, []), avroEngine.parse(writer, []))
    .map(({ type, path }) => `${type} ${path}`);
}

function refusal(text: string, references: readonly ReferencedSchema[] = [], checkDefaults = false): InvalidSchema {
  try {
    avroEngine.parse(text, references, { checkDefaults });
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidSchema);
    return error as InvalidSchema;
  }
  throw new Error(`accepted: ${text.slice(0, 300)}`);
}

describe('the canonical text', () => {
  it.each([
    ['{"type":"string"}', '"string"'],
    [' [ "null" , {"type": "int"} ] ', '["null","int"]'],
    ['{"logicalType":"date","type":"int"}', '{"type":"int","logicalType":"date"}'],
    ['{"precision":9,"type":"bytes","scale":2}', '{"type":"bytes","precision":9,"scale":2}'],
    [
      record(field('a', '"long"', ',"default":9007199254740993,"x":1.50,"doc":"d"')),
      record('{"name":"a","type":"long","doc":"d","default":9007199254740993,"x":1.50}'),
    ],
    [
      '{"namespace":"a.b","fields":[],"name":"R","type":"record","doc":"é","mine":{"__proto__":1}}',
      '{"type":"record","name":"R","namespace":"a.b","doc":"é","fields":[],"mine":{"__proto__":1}}',
    ],
    [
      '{"type":"record","name":"a.b.R","fields":[{"name":"r","type":["null","a.b.R"]}]}',
      '{"type":"record","name":"R","namespace":"a.b","fields":[{"name":"r","type":["null","R"]}]}',
    ],
    [
      '{"type":"enum","default":"B","symbols":["A","B"],"name":"E","aliases":["F","x.G"],"namespace":"n"}',
      '{"type":"enum","name":"E","namespace":"n","symbols":["A","B"],"default":"B","aliases":["F","x.G"]}',
    ],
    ['{"size":16,"type":"fixed","name":"F"} // said', '{"type":"fixed","name":"F","size":16}'],
    [
      '{"type":"map","values":{"type":"array","items":"int"}}',
      '{"type":"map","values":{"type":"array","items":"int"}}',
    ],
  ])('of %s is %s', (text, expected) => {
    expect(canonical(text)).toBe(expected);
    expect(canonical(expected)).toBe(expected);
  });

  it('is itself read back as itself where namespaces nest', () => {
    const text = record(
      `${field('a', '{"type":"record","name":"A","namespace":"","fields":[]}')},${field('b', '"A"')},${field('c', '{"type":"fixed","name":"q.S","size":1}')},${field('d', '"q.S"')}`,
      ',"namespace":"n"',
    );
    expect(canonical(canonical(text))).toBe(canonical(text));
  });

  it('normalized, has attributes in one order', () => {
    const one = avroEngine.parse('{"type":"int","b":{"y":1,"x":2},"a":1}', []).normalized;
    expect(one).toBe(avroEngine.parse('{"a":1,"b":{"x":2,"y":1},"type":"int"}', []).normalized);
    expect(one).toBe('{"type":"int","a":1,"b":{"x":2,"y":1}}');
  });
});

describe('references', () => {
  const user = reference('n.User', '{"type":"record","name":"User","namespace":"n","fields":[]}');

  it('define names, which stay names in the text', () => {
    expect(canonical('"n.User"', [user])).toBe('"n.User"');
    expect(canonical(record(field('u', '"n.User"')), [user])).toBe(record(field('u', '"n.User"')));
    expect(refusal(record(field('u', '"n.User"'))).message).toContain('n.User');
  });

  it('are read once each, a reference before what names it', () => {
    const order = reference('n.Order', record(field('u', '"n.User"')).replace('"R"', '"n.Order"'), [user]);
    expect(canonical('["n.Order","n.User"]', [order, user])).toBe('["n.Order","n.User"]');
    expect(refusal('"int"', [reference('bad', '{')]).message).toContain('"bad"');
  });

  it('count to the limit of characters, and a ladder of them ends', () => {
    let ladder = reference('l0', '"int"');
    for (let step = 1; step < 40; step++) ladder = reference(`l${step}`, '"int"', [ladder, ladder]);
    expect(canonical('"int"', [ladder])).toBe('"int"');
    expect(refusal('"int"', [reference('big', ' '.repeat(1_000_001))]).tooLarge).toBe(true);
    let chain = reference('c0', '"int"');
    for (let step = 1; step < 20_000; step++) chain = reference(`c${step}`, '"int"', [chain]);
    expect(refusal('"int"', [chain]).tooLarge).toBe(true);
  });
});

describe('no schema is', () => {
  it.each([
    '',
    'null',
    '1',
    '{}',
    '[]',
    '[["int"]]',
    '["int","int"]',
    '["int",{"type":"int","logicalType":"date"}]',
    '"nothing"',
    '{"type":"record","name":"R"}',
    '{"type":"record","name":"1R","fields":[]}',
    '{"type":"record","name":"int","fields":[]}',
    '{"type":"record","name":"R","namespace":"a..b","fields":[]}',
    '{"type":"enum","name":"E","symbols":["A","A"]}',
    '{"type":"enum","name":"E","symbols":["A"],"default":"B"}',
    '{"type":"fixed","name":"F","size":-1}',
    '{"type":"fixed","name":"F","size":1.5}',
    '{"type":"array"}',
    '{"type":"int","type":"long"}',
    record(`${field('a', '"int"')},${field('a', '"int"')}`),
    record(`${field('a', record(''))}`),
    record('{"name":"a"}'),
    '{"type":"__proto__"}',
    '"constructor"',
    '"int" "int"',
    '"\\x"',
    '"int',
    '/* never ends "int"',
  ])('%s', (text) => {
    expect(refusal(text).tooLarge).toBe(false);
  });

  it('what nests too deep or is too long, which says so', () => {
    for (const bomb of [
      record('', `,"namespace":"${'n'.repeat(900_000)}"`),
      '['.repeat(100_000),
      '{"type":"array","items":'.repeat(10_000),
      ' '.repeat(1_000_001),
    ])
      expect(refusal(bomb).tooLarge).toBe(true);
  });
});

describe('defaults', () => {
  it.each([
    ['"int"', '2147483648'],
    ['"int"', '1.5'],
    ['"long"', '9223372036854775808'],
    ['"string"', 'null'],
    ['["null","int"]', '"x"'],
    ['{"type":"fixed","name":"F","size":2}', '"a"'],
    ['"bytes"', '"Ā"'],
    ['{"type":"enum","name":"E","symbols":["A"]}', '"B"'],
    ['{"type":"record","name":"S","fields":[{"name":"x","type":"int"}]}', '{}'],
    ['"R"', '{}'],
  ])('of %s: %s is refused when asked', (type, value) => {
    const text = record(field('a', type, `,"default":${value}`));
    expect(refusal(text, [], true).message).toContain('"a"');
    expect(() => avroEngine.parse(text, [])).not.toThrow();
  });

  it.each([
    ['"long"', '9223372036854775807'],
    ['"double"', '1'],
    ['["int","null"]', 'null'],
    ['"bytes"', '"\\u00ff"'],
    ['{"type":"array","items":"int"}', '[1,2]'],
    ['{"type":"record","name":"S","fields":[{"name":"x","type":"int","default":1}]}', '{}'],
  ])('of %s: %s fits', (type, value) => {
    expect(() =>
      avroEngine.parse(record(field('a', type, `,"default":${value}`)), [], { checkDefaults: true }),
    ).not.toThrow();
  });
});

describe('a reader', () => {
  const fixed = (size: number): string => `{"type":"fixed","name":"F","size":${size}}`;
  const choice = (symbols: string, more = ''): string => `{"type":"enum","name":"E","symbols":[${symbols}]${more}}`;

  it.each([
    ['"long"', '"int"', []],
    ['"int"', '"long"', ['TYPE_MISMATCH /']],
    ['"double"', '"float"', []],
    ['"float"', '"long"', []],
    ['"float"', '"double"', ['TYPE_MISMATCH /']],
    ['"bytes"', '"string"', []],
    ['"string"', '"bytes"', []],
    [record(field('a', '"int"')), record(''), ['READER_FIELD_MISSING_DEFAULT_VALUE /fields/0']],
    [record(field('a', '"int"', ',"default":1')), record(''), []],
    [record(field('b', '"int"', ',"aliases":["a"]')), record(field('a', '"int"')), []],
    [record(''), record(field('a', '"int"')), []],
    [record(field('a', '"int"')), record(field('a', '"string"')), ['TYPE_MISMATCH /fields/0/type']],
    [record('', ',"namespace":"x"'), record('', ',"namespace":"y"'), []],
    [record('').replace('R', 'S'), record(''), ['NAME_MISMATCH /name']],
    [record('', ',"aliases":["S"]'), record('').replace('R', 'S'), []],
    [fixed(2), fixed(1), ['FIXED_SIZE_MISMATCH /size']],
    [choice('"A"'), choice('"A","B"'), ['MISSING_ENUM_SYMBOLS /symbols']],
    [choice('"A"', ',"default":"A"'), choice('"A","B"'), []],
    ['"int"', '["int"]', []],
    ['"int"', '["int","null"]', ['TYPE_MISMATCH /']],
    ['["null","long"]', '"int"', []],
    ['["null","int"]', '["int","string"]', ['MISSING_UNION_BRANCH /1']],
    ['{"type":"array","items":"int"}', '{"type":"array","items":"string"}', ['TYPE_MISMATCH /items']],
    ['{"type":"map","values":"int"}', '{"type":"map","values":"string"}', ['TYPE_MISMATCH /values']],
    ['{"type":"int","logicalType":"date"}', '"int"', []],
  ])('%s of what was written with %s', (reader, writer, expected) => {
    expect(judge(reader, writer)).toEqual(expected);
  });

  it('that is recursive ends, and forgets what it took for granted when that was wrong', () => {
    const list = (type: string): string => record(`${field('v', type)},${field('next', '["null","R"]')}`);
    expect(judge(list('"long"'), list('"int"'))).toEqual([]);
    expect(judge(list('"int"'), list('"long"'))).toEqual(['TYPE_MISMATCH /fields/0/type']);
    // S is found to fit while R is judged, which it holds; R then does not fit, but R2 is there to read it. Whoever
    // kept "S fits" would find nothing.
    const nested = (last: string, more: string): string =>
      record(
        `${field('u', `[{"type":"record","name":"Q","fields":[${field('s', `{"type":"record","name":"S","fields":[${field('q', '["null","Q"]')}]}`)},${field('z', last)}]}${more}]`)},${field('s', '"S"')}`,
      );
    const spare = ',{"type":"record","name":"Q2","aliases":["Q"],"fields":[]}';
    expect(judge(nested('"int"', spare), nested('"string"', ''))).toEqual([
      'MISSING_UNION_BRANCH /fields/1/type/fields/0/type/1',
    ]);
  });

  it('is bounded in depth, findings and steps', () => {
    const chain = Array.from(
      { length: 3000 },
      (_, index) =>
        `{"type":"record","name":"R${index}","fields":[${index === 0 ? '' : field('a', `"R${index - 1}"`)}]}`,
    );
    const deep = avroEngine.parse('{"type":"array","items":"c.R2999"}'.replace('c.', ''), [
      reference('c', `[${chain.join(',')}]`),
    ]);
    expect(() => avroEngine.findIncompatibilities(deep, deep)).toThrow(InvalidSchema);
    const wide = (type: string): string =>
      record(Array.from({ length: 5000 }, (_, index) => field(`f${index}`, type)).join(','));
    expect(judge(wide('"int"'), wide('"string"'))).toHaveLength(1000);
    const one = avroEngine.parse(wide('"int"'), []);
    expect(() =>
      avroEngine.findIncompatibilities(one, one, { limits: { charactersMax: 1, depthMax: 1, stepsMax: 100 } }),
    ).toThrow(InvalidSchema);
  });
});
