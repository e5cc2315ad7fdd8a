/**
 * Goal: whatever a DDL's text is, the reader answers or says INVALID_REQUEST, and never takes longer than a text of its length
 * needs; what it does not read to the last word is told. Method: random sequences of the words it knows, random text, and for
 * each repeated piece that could make a reader go back and forth a text of the greatest length; a reader that does is caught by
 * the test's limit, as it would take hours.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contract } from './contracts.testing.ts';
import { applyDdl, type DdlResult } from './ddl.ts';
import { DDL_CHARS_MAX } from './ddl-tokens.ts';

const TABLES = ['orders', 'other'].map((table) => ({ source: table, schema: 'public', table, contract: contract() }));

/** The result; undefined: it is refused, as such. */
function read(ddl: string): DdlResult | undefined {
  try {
    return applyDdl(ddl, TABLES);
  } catch (error) {
    if (isFreshetError(error, 'INVALID_REQUEST')) return undefined;
    throw error;
  }
}

const WORDS = [
  ...[
    'ALTER',
    'TABLE',
    'TYPE',
    'orders',
    'ADD',
    'COLUMN',
    'DROP',
    'RENAME',
    'TO',
    'SET',
    'DATA',
    'NOT',
    'NULL',
    'DEFAULT',
  ],
  ...[
    'USING',
    'COLLATE',
    'VALUE',
    'IF',
    'EXISTS',
    'CREATE',
    'AS',
    'ENUM',
    'INDEX',
    'PRIMARY',
    'KEY',
    'CONSTRAINT',
    'orders_pkey',
  ],
  ...[
    'sku',
    'amount',
    'mood',
    'id',
    'varchar',
    'numeric',
    '(',
    ')',
    '10',
    ',',
    ';',
    '.',
    '[',
    ']',
    '::',
    '=',
    "'x'",
    "'sad'",
  ],
  ...[
    '"sku"',
    '"',
    "'",
    '--',
    '/*',
    '*/',
    '\n',
    '$$',
    'REPLICA',
    'IDENTITY',
    'FULL',
    'CASCADE',
    'CHECK',
    'UNIQUE',
    'float',
  ],
];
const words = fc.array(fc.constantFrom(...WORDS), { maxLength: 60 }).map((all) => all.join(' '));

describe('applyDdl', () => {
  it.each([
    ['words that it knows', words],
    ['any text', fc.string({ unit: 'binary', maxLength: 300 })],
    [
      'words in any text',
      fc.tuple(words, fc.string({ unit: 'grapheme', maxLength: 40 }), words).map((all) => all.join(' ')),
    ],
  ])('throws nothing but INVALID_REQUEST: %s', (_, texts) => {
    fc.assert(
      fc.property(texts, (ddl) => {
        const before = JSON.stringify(TABLES.map(({ contract: { columns } }) => columns.map(({ name }) => name)));
        const result = read(ddl);
        for (const text of result?.notUnderstood ?? []) expect(ddl).toContain(text);
        const after = JSON.stringify(TABLES.map(({ contract: { columns } }) => columns.map(({ name }) => name)));
        expect(after, 'what was given is not changed').toBe(before);
      }),
      { numRuns: 2_000 },
    );
  });

  it('tells each statement that has a word more than it understands', () => {
    const statements = fc.constantFrom(
      'ALTER TABLE orders ALTER sku TYPE varchar(10)',
      'ALTER TABLE orders DROP sku CASCADE',
      'ALTER TABLE orders RENAME sku TO x',
      'ALTER TABLE orders ADD x int NOT NULL',
      'ALTER TABLE orders ALTER sku DROP NOT NULL',
      "ALTER TYPE mood ADD VALUE 'x'",
      "CREATE TYPE x AS ENUM ('a')",
      'DROP TABLE orders CASCADE',
      'ALTER TABLE orders REPLICA IDENTITY FULL',
    );
    fc.assert(
      fc.property(statements, fc.stringMatching(/^zz[a-z]{1,8}$/), (statement, word) => {
        expect(applyDdl(statement, TABLES).notUnderstood).toEqual([]);
        expect(applyDdl(`${statement} ${word}`, TABLES).notUnderstood).toEqual([`${statement} ${word}`]);
      }),
    );
  });

  const HEADS = [
    '',
    'ALTER TABLE orders ALTER sku TYPE ',
    'ALTER TABLE orders ADD x ',
    'ALTER TABLE orders ',
    'CREATE TYPE x AS ENUM (',
  ];
  const PIECES = [
    ...[
      '"',
      '""',
      "'",
      "''",
      '/*',
      '*/',
      '/**/',
      '--',
      '--\r',
      '(',
      '((',
      '( ',
      ')',
      '[',
      '[]',
      '[ 1 ] ',
      ' array',
      '"a"',
      "'a'",
    ],
    ...[
      'x',
      '1',
      '1.',
      '.',
      'x.',
      '"x".',
      '::',
      ';',
      ', ',
      ' ',
      '\t\n',
      'ä',
      '\u{1F600}',
      '\0',
      '$',
      "'a', ",
      'ADD x int, ',
    ],
    ...[
      'ALTER TABLE orders ADD x int;',
      "ALTER TYPE mood ADD VALUE 'x';",
      'DROP x, ',
      'RENAME sku TO sku;',
      'numeric(10,',
      '(1, ',
    ],
    ...['CHECK (', 'DEFAULT (', 'NOT NULL ', 'time without time zone ', 'national '],
  ];
  it.each(PIECES)('reads a text of the greatest length made of %j', (piece) => {
    for (const head of HEADS) {
      const text = (head + piece.repeat(DDL_CHARS_MAX)).slice(0, DDL_CHARS_MAX);
      for (const ddl of [text, `${text.slice(0, -1)}!`, `${text.slice(0, -1)})`]) read(ddl);
    }
  });
});
