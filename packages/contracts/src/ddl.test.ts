/**
 * Goal: a DDL that is understood makes of a contract what Postgres would make of the table, and anything else is told as
 * not understood. Method: cases by statement; verdicts as in judge.test.ts.
 */
import { describe, expect, it } from 'vitest';
import { contract, definitions } from './contracts.testing.ts';
import { applyDdl, type DdlResult } from './ddl.ts';
import { judgeChange } from './judge.ts';
import { usageOf } from './usage.ts';

const TABLES = [{ source: 'orders', schema: 'public', table: 'orders', contract: contract() }];
const USAGE = usageOf(definitions(), 'orders');

function apply(ddl: string): DdlResult {
  return applyDdl(ddl, TABLES);
}

function kinds(ddl: string): string[] {
  const { outcomes, notUnderstood } = apply(ddl);
  expect(notUnderstood).toEqual([]);
  return outcomes.flatMap(({ after, ofTable, ...hints }) => [
    ...judgeChange(contract(), after, USAGE, hints).changes.map(
      ({ change, verdict }) => `${change.kind} ${change.column} ${verdict}`,
    ),
    ...ofTable.map(({ kind }) => kind),
  ]);
}

describe('applyDdl', () => {
  it.each<[string, string[]]>([
    ['ALTER TABLE orders ALTER COLUMN sku TYPE varchar(10)', ['length_narrowed sku breaking']],
    ['alter table only "public"."orders" alter sku set data type VARCHAR ( 40 );', ['length_widened sku compatible']],
    ['ALTER TABLE orders ALTER sku TYPE text', ['length_widened sku compatible']],
    ['ALTER TABLE orders ALTER amount TYPE numeric(8, 2)', ['digits_narrowed amount breaking']],
    [
      'ALTER TABLE orders ALTER amount TYPE decimal(12,2), ALTER user_id TYPE int8',
      ['digits_widened user_id compatible', 'digits_widened amount compatible'],
    ],
    [
      'ALTER TABLE orders ALTER amount TYPE float8 USING amount::float8',
      ['type_changed amount breaking', 'values_rewritten amount breaking'],
    ],
    [
      "ALTER TABLE orders ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC'",
      ['time_zone_changed at breaking', 'values_rewritten at breaking'],
    ],
    ['ALTER TABLE orders ALTER at TYPE timestamptz(3)', ['digits_narrowed at breaking']],
    [
      'ALTER TABLE orders DROP amount, ADD amount numeric(10,2)',
      ['null_allowed amount compatible_with_note', 'values_rewritten amount breaking'],
    ],
    [
      'ALTER TABLE orders ADD amount numeric(10,2), DROP amount',
      ['null_allowed amount compatible_with_note', 'values_rewritten amount breaking'],
    ],
    [
      'ALTER TABLE orders ALTER sku TYPE varchar(20) USING lower(sku); ALTER TABLE orders RENAME sku TO article',
      ['renamed sku breaking', 'values_rewritten sku breaking'],
    ],
    [
      'ALTER TABLE orders ADD n serial, ADD o dec(4) UNIQUE CHECK (o > 0)',
      ['added n compatible', 'added o compatible'],
    ],
    [
      "CREATE TYPE size AS ENUM ('s'); ALTER TYPE mood RENAME TO m; ALTER TYPE m RENAME VALUE 'ok' TO 'so'",
      ['type_changed mood breaking', 'enum_label_renamed mood breaking'],
    ],
    ['ALTER TABLE orders DROP COLUMN unread', ['dropped unread compatible']],
    ['ALTER TABLE orders DROP amount CASCADE -- gone', ['dropped amount breaking']],
    ['ALTER TABLE orders RENAME COLUMN amount TO total', ['renamed amount breaking']],
    ['ALTER TABLE orders RENAME amount TO x; ALTER TABLE orders RENAME x TO amount', []],
    ["ALTER TABLE orders ADD COLUMN note text NOT NULL DEFAULT 'a, b'", ['added note compatible']],
    ['ALTER TABLE orders ALTER amount DROP NOT NULL', ['null_allowed amount compatible_with_note']],
    [
      'ALTER TABLE orders ALTER amount SET DEFAULT 1 + (2, 3), ALTER sku DROP NOT NULL',
      ['null_allowed sku breaking', 'default_changed amount compatible_with_note'],
    ],
    ['ALTER TABLE orders RENAME TO purchases', ['table_renamed']],
    ['ALTER TABLE orders RENAME TO p; ALTER TABLE p DROP amount', ['dropped amount breaking', 'table_renamed']],
    ['DROP TABLE IF EXISTS orders, other CASCADE', ['table_dropped']],
    [
      'ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (user_id, id)',
      ['primary_key_changed  compatible_with_note'],
    ],
    ['ALTER TABLE orders REPLICA IDENTITY FULL', ['replica_identity_changed  compatible_with_note']],
    ["ALTER TYPE mood ADD VALUE 'fine' AFTER 'ok'", ['enum_label_added mood compatible_with_note']],
    ["ALTER TYPE public.mood RENAME VALUE 'ok' TO 'meh'", ['enum_label_renamed mood breaking']],
    ['CREATE INDEX ON orders (sku)', []],
    ['BEGIN; /* nothing; */ COMMIT', []],
  ])('%s', (ddl, expected) => {
    expect(kinds(ddl)).toEqual(expected);
  });

  it.each([
    'TRUNCATE orders',
    'UPDATE orders SET sku = left(sku, 3)',
    'ALTER TABLE orders ALTER sku TYPE varchar(30) frobnicate, DROP amount',
    'ALTER TABLE orders DROP nothing_such',
    'ALTER TABLE orders DROP CONSTRAINT some_name',
    'ALTER TABLE orders REPLICA IDENTITY USING INDEX i',
    'ALTER TABLE orders SET SCHEMA archive',
    "ALTER TYPE mood RENAME VALUE 'none' TO 'x'",
    'ALTER TABLE orders ADD COLUMN g int8 GENERATED ALWAYS AS (id) STORED',
    'ALTER TABLE orders',
    'DO $$ BEGIN EXECUTE 1; END $$',
  ])('does not understand %s, and says so', (ddl) => {
    expect(apply(ddl).notUnderstood.length).toBeGreaterThan(0);
  });

  it('names tables that no source reads, and changes nothing by them', () => {
    expect(apply('ALTER TABLE archive.orders DROP amount')).toEqual({
      outcomes: [],
      notUnderstood: [],
      unread: ['archive.orders'],
    });
  });

  it.each(["ALTER TABLE orders ADD x text DEFAULT 'open", '/*'.repeat(32_000), 'x'.repeat(65_537)])(
    'refuses text that cannot be read',
    (ddl) => {
      expect(() => apply(ddl)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    },
  );
});
