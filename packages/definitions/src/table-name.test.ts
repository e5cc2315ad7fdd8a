/** Goal: table names are read as Postgres reads them. Method: examples of each form, and the round trip. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTableName, parseTableName } from './table-name.ts';

describe('table names', () => {
  it.each([
    ['orders', 'public', 'orders'],
    ['shop.orders', 'shop', 'orders'],
    ['Shop.Orders', 'shop', 'orders'],
    ['"Shop"."My ""Orders"""', 'Shop', 'My "Orders"'],
    ['shop."a.b"', 'shop', 'a.b'],
    ['größe', 'public', 'größe'],
  ])('reads %s', (text, schema, table) => {
    expect(parseTableName(text)).toEqual({ schema, table });
  });

  it.each(['', '.', 'a.', '.b', 'a.b.c', '1a', 'a b', '"a', '""', 'a;drop', 'x'.repeat(64)])('refuses %j', (text) => {
    expect(parseTableName(text)).toBeUndefined();
  });

  it('reads what it prints', () => {
    const name = fc.string({ minLength: 1, maxLength: 15 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(name, name, (schema, table) => {
        expect(parseTableName(formatTableName({ schema, table }))).toEqual({ schema, table });
      }),
    );
  });
});
