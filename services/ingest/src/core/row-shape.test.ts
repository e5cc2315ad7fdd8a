/**
 * Goal: a mutable route begins anew exactly when what is needed of its rows is not what it was. Method: one example each.
 */
import { create } from '@bufbuild/protobuf';
import { type Contract, ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type RoutePlan,
  RoutePlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { NO_SHAPE, neededColumns, type RowShape, relabelled, shapeChange, shapeOf } from './row-shape.ts';

type Columns = Readonly<Record<string, string>>;
const COLUMNS: Columns = { id: 'bigint', user_id: 'bigint', amount: 'numeric(10,2)', note: 'text' };

function contract(columns: Columns, primaryKey: readonly string[]): Contract {
  return create(ContractSchema, {
    version: 1,
    columns: Object.entries(columns).map(([name, sourceType]) => ({ name, sourceType, type: { kind: Kind.INT64 } })),
    primaryKey: [...primaryKey],
  });
}

function plan(columns: Columns, primaryKey: readonly string[], mode: SourceMode = SourceMode.MUTABLE): RoutePlan {
  const source = { name: 's', mode, contract: contract(columns, primaryKey) };
  return create(RoutePlanSchema, { route: 1, source, keyColumns: ['user_id'] });
}

function reading(...names: readonly string[]): DefinitionSet {
  return create(DefinitionSetSchema, { views: [{ name: 'v', route: 1, columns: names.map((name) => ({ name })) }] });
}

describe('shapeChange', () => {
  const began = shapeOf(plan(COLUMNS, ['id']));
  const { note: _, ...withoutNote } = COLUMNS;
  it.each<[string, RoutePlan, readonly string[], RegExp | undefined]>([
    ['nothing', plan(COLUMNS, ['id']), ['amount'], undefined],
    ['a column more that nobody reads', plan({ ...COLUMNS, extra: 'text' }, ['id']), ['amount'], undefined],
    ['a column less', plan(withoutNote, ['id']), ['amount'], undefined],
    ['another type that nobody reads', plan({ ...COLUMNS, note: 'varchar' }, ['id']), ['amount'], undefined],
    ['a column more that is read', plan({ ...COLUMNS, extra: 'text' }, ['id']), ['extra'], /column extra is new/],
    [
      'another type that is read',
      plan({ ...COLUMNS, amount: 'real' }, ['id']),
      ['amount'],
      /amount is real now, and was numeric/,
    ],
    [
      'another type of the entity’s key',
      plan({ ...COLUMNS, user_id: 'integer' }, ['id']),
      ['amount'],
      /user_id is integer/,
    ],
    [
      'another primary key',
      plan(COLUMNS, ['id', 'note']),
      ['amount'],
      /told apart by \(id, note\) now, and were by \(id\)/,
    ],
    ['no primary key', plan(COLUMNS, []), ['amount'], /by all their columns .* now/],
  ])('of %s', (_name, now, reads, expected) => {
    const why = shapeChange(began, now, neededColumns(now, reading(...reads)));
    if (expected === undefined) expect(why).toBeUndefined();
    else expect(why).toMatch(expected);
  });

  it('without a key, of any column', () => {
    const bag = shapeOf(plan(COLUMNS, []));
    for (const now of [plan({ ...COLUMNS, extra: 'text' }, []), plan({ ...COLUMNS, note: 'varchar' }, [])]) {
      expect(shapeChange(bag, now, neededColumns(now, reading('amount')))).toBeDefined();
    }
  });

  it('of a column that was dropped and made anew under its name, which may tell rows apart', () => {
    const numbered = (note: number, tableOid = 7, key: readonly string[] = []): RoutePlan => {
      const now = plan(COLUMNS, key);
      for (const [i, column] of (now.source?.contract?.columns ?? []).entries())
        Object.assign(column, { tableOid, columnNumber: column.name === 'note' ? note : i + 1 });
      return now;
    };
    const why = (shape: RowShape | undefined, now: RoutePlan, ...reads: string[]): string | undefined =>
      shapeChange(shape, now, neededColumns(now, reading(...reads)));
    const was = shapeOf(numbered(10));
    expect(why(was, numbered(10), 'amount')).toBeUndefined();
    expect(why(was, numbered(11), 'amount')).toMatch(/column note is another one now/);
    // By the key, it does not.
    const keyed = shapeOf(numbered(10, 7, ['id']));
    expect(why(keyed, numbered(11, 7, ['id']), 'amount')).toBeUndefined();
    expect(why(keyed, numbered(11, 7, ['id']), 'note')).toMatch(/column note is another one now/);
    // Another table's numbers tell nothing, nor does what was not known of a route of before.
    expect(why(was, numbered(11, 8), 'amount')).toBeUndefined();
    expect(why(shapeOf(plan(COLUMNS, [])), numbered(11), 'amount')).toBeUndefined();
  });

  it('of a column whose values were left out while nobody read it', () => {
    const withHole = began && { ...began, holes: ['note'] };
    const now = plan(COLUMNS, ['id']);
    expect(shapeChange(withHole, now, neededColumns(now, reading('amount')))).toBeUndefined();
    expect(shapeChange(withHole, now, neededColumns(now, reading('amount', 'note')))).toMatch(/note were not captured/);
  });

  it('of an enum whose labels were renamed, and not of one that got more', () => {
    const enums = (...labels: string[]): RoutePlan => {
      const now = plan(COLUMNS, ['id']);
      for (const column of now.source?.contract?.columns ?? []) if (column.name === 'note') column.enumLabels = labels;
      return now;
    };
    const why = (shape: RowShape | undefined, now: RoutePlan, ...reads: string[]): string | undefined =>
      shapeChange(shape, now, neededColumns(now, reading(...reads)));
    const was = must(shapeOf(enums('a', 'b')));
    for (const more of [enums('a', 'b'), enums('a', 'b', 'c', 'd')]) expect(why(was, more, 'note')).toBeUndefined();
    // The third: b was renamed to c, and is a label again.
    for (const others of [enums('a', 'c'), enums('b', 'a'), enums('a', 'c', 'b'), enums('a')]) {
      expect(why(was, others, 'note')).toMatch(/labels of column note were renamed/);
      expect(why(was, others, 'amount')).toBeUndefined();
    }
    // What was not known of a route of before is from now on.
    expect(why(began, enums('a', 'c'), 'note')).toBeUndefined();
    const later = relabelled(must(began), enums('a', 'c'));
    expect(why(later, enums('a', 'd'), 'note')).toMatch(/renamed/);
    // An added one may be renamed, also while nobody reads it.
    const grown = relabelled(was, enums('a', 'b', 'c'));
    expect(why(grown, enums('a', 'b', 'd'), 'note')).toMatch(/renamed/);
    const unread = relabelled(grown, enums('a', 'b', 'd'));
    expect(why(unread, enums('a', 'b', 'd'), 'amount')).toBeUndefined();
    expect(why(unread, enums('a', 'b', 'd'), 'note')).toMatch(/note were computed anew/);
    expect(relabelled(unread, enums('a', 'b', 'd'))).toBe(unread);
  });

  it('of an append source, whose rows do not change, only for what its rows lack', () => {
    const now = plan({ id: 'text', note: 'text' }, [], SourceMode.APPEND);
    expect(shapeChange(began, now, undefined)).toBeUndefined();
    const withHole = { ...NO_SHAPE, holes: ['note'] };
    expect(shapeChange(withHole, now, neededColumns(now, reading('id')))).toBeUndefined();
    expect(shapeChange(withHole, now, neededColumns(now, reading('note')))).toMatch(/note were not captured/);
  });
});

describe('neededColumns', () => {
  it('are all of them of a route that no view reads, or without a key', () => {
    expect(neededColumns(plan(COLUMNS, ['id']), create(DefinitionSetSchema))).toBeUndefined();
    expect(neededColumns(plan(COLUMNS, []), reading('amount'))).toBeUndefined();
  });

  it('are those that are joined as well', () => {
    const definitions = reading('amount');
    const joins = [{ route: 1, on: [{ column: 'sku' }], columns: [{ column: { name: 'note' } }] }];
    const [view] = definitions.views;
    const joined = { ...definitions, views: [{ ...view, joins }] } as unknown as DefinitionSet;
    expect([...(neededColumns(plan(COLUMNS, ['id']), joined) ?? [])]).toEqual(
      expect.arrayContaining(['amount', 'sku', 'note', 'id', 'user_id']),
    );
  });
});
