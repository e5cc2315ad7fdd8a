/**
 * Goal: who reads what of a source, where views join tables: a joined column by its own name, what finds the row on both sides, and
 * that a joined table's rows must be told apart. Method: one view over a source and two tables, each asked for. That lineage says
 * the same of random definitions: packages/definitions/src/usage-and-lineage.test.ts.
 */
import { clone, create } from '@bufbuild/protobuf';
import { ChangePolicy, ContractSchema, SourceMode, ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { gateVerdict } from './gate.ts';
import { judgeChange } from './judge.ts';
import { usageOf } from './usage.ts';

const text = { kind: Kind.STRING };
const source = (name: string, mode: SourceMode) => ({ name, mode, eventTimeColumn: name === 'orders' ? 'at' : '' });

/** Orders with the tier of their customer and the price of their product, of which one feature is the price alone. */
const DEFINITIONS = create(DefinitionSetSchema, {
  routes: [
    { route: 1, source: source('orders', SourceMode.APPEND), entity: { name: 'user' }, keyColumns: ['user_id'] },
    { route: 2, source: source('customers', SourceMode.MUTABLE), entity: { name: 'user' }, keyColumns: ['id'] },
    { route: 3, source: source('products', SourceMode.MUTABLE), keyColumns: ['shop', 'sku'] },
  ],
  views: [
    {
      viewId: new Uint8Array([1]),
      name: 'spend',
      route: 1,
      mode: SourceMode.APPEND,
      source: 'orders',
      columns: [{ name: 'amount', type: { kind: Kind.DOUBLE } }],
      joins: [
        {
          table: 'customers',
          route: 2,
          on: [{ column: 'user_id', key: { name: 'id', kind: Kind.INT64 } }],
          columns: [{ name: 'tier', column: { name: 'level', type: text } }],
        },
        {
          table: 'products',
          route: 3,
          broadcast: true,
          on: [
            { column: 'shop_id', key: { name: 'shop', kind: Kind.STRING } },
            { column: 'article', key: { name: 'sku', kind: Kind.STRING } },
          ],
          columns: [
            { name: 'price', column: { name: 'price', type: { kind: Kind.DOUBLE } } },
            { name: 'label', column: { name: 'name', type: text } },
          ],
        },
      ],
      derived: [{ name: 'margin', expression: 'amount - price', type: { kind: Kind.DOUBLE } }],
      where: 'tier != "test"',
      features: [
        { name: 'last_label', aggregate: 'last', input: 'label' },
        { name: 'margin_1h', aggregate: 'sum', input: 'margin' },
        { name: 'orders_1h', aggregate: 'count' },
      ],
    },
  ],
  services: [{ name: 's', features: [{ output: 'spend:margin_1h', viewId: new Uint8Array([1]), feature: 1 }] }],
  owners: [
    { subject: 'feature spend:last_label', owner: 'catalog' },
    { subject: 'view spend', owner: 'payments' },
  ],
});

/** By column: "feature, feature by way, way for owner, owner". */
function shown(name: string, definitions = DEFINITIONS): Record<string, string> {
  const { columns } = usageOf(definitions, name);
  return Object.fromEntries(
    [...columns].map(([column, uses]) => {
      const [use, ...others] = uses;
      expect(others).toEqual([]);
      const features = use?.features.map((feature) => feature.replace('spend:', '')).join(', ');
      return [column, `${features} by ${use?.ways.join(', ')} for ${use?.owners.join(', ')}`];
    }),
  );
}

const ALL = 'last_label, margin_1h, orders_1h';

describe('usageOf a source whose rows are joined', () => {
  it('reads of its own columns what finds the rows, for the features that come of them', () => {
    expect(shown('orders')).toEqual({
      user_id: `${ALL} by join key, key for catalog, payments`,
      at: `${ALL} by event time for catalog, payments`,
      amount: 'margin_1h by derived for payments',
      shop_id: 'last_label, margin_1h by join key for catalog, payments',
      article: 'last_label, margin_1h by join key for catalog, payments',
    });
  });

  it('does not need to know which row is meant, as rows are only added', () => {
    expect([...usageOf(DEFINITIONS, 'orders').needIdentity]).toEqual([]);
  });
});

describe('usageOf a source with value rules', () => {
  const withRules = clone(DefinitionSetSchema, DEFINITIONS);
  for (const route of withRules.routes) {
    if (route.source === undefined) continue;
    const columns = ['state', 'note', 'at'].map((name) => ({ name, type: text, nullable: true }));
    route.source.contract = create(ContractSchema, { source: route.source.name, columns });
    route.source.rules = [
      create(ValueRuleSchema, { name: 'known', rule: { case: 'expression', value: 'state == "ok"' } }),
      create(ValueRuleSchema, { name: 'noted', onlyTell: true, rule: { case: 'nullRate', value: { column: 'note' } } }),
    ];
  }

  it('reads what a rule asks of for all that its rows go into: without it rows would pass unasked', () => {
    expect(shown('orders', withRules)).toMatchObject({
      state: `${ALL} by rule for catalog, payments`,
      note: `${ALL} by telling rule for catalog, payments`,
    });
    expect(shown('products', withRules)).toMatchObject({
      state: 'last_label, margin_1h by rule for catalog, payments',
      note: 'last_label, margin_1h by telling rule for catalog, payments',
    });
  });

  it('breaks by a change of what a rule keeps rows back by, and notes one of what only tells', () => {
    const before = must(withRules.routes[0]?.source?.contract);
    for (const [column, verdict] of [
      ['state', 'breaking'],
      ['note', 'compatible_with_note'],
    ] as const) {
      const after = clone(ContractSchema, before);
      after.columns = after.columns.filter(({ name }) => name !== column);
      const judgement = judgeChange(before, after, usageOf(withRules, 'orders'));
      expect([column, judgement.verdict]).toEqual([column, verdict]);
      expect(gateVerdict(judgement, ChangePolicy.NOTIFY)).toBe(column === 'state' ? 'hold' : 'pass_with_note');
      expect(judgeChange(before, after, usageOf(DEFINITIONS, 'orders')).verdict).toBe('compatible');
    }
  });
});

describe('usageOf a joined table', () => {
  it('reads its columns by their own names, and by what the view does with them', () => {
    expect(shown('customers')).toEqual({
      id: `${ALL} by join key for catalog, payments`,
      level: `${ALL} by condition, joined for catalog, payments`,
    });
    expect(shown('products')).toEqual({
      shop: 'last_label, margin_1h by join key for catalog, payments',
      sku: 'last_label, margin_1h by join key for catalog, payments',
      price: 'margin_1h by derived, joined for payments',
      name: 'last_label by feature, joined for catalog, payments',
    });
  });

  it('needs to know which row is meant, and is read by the view as a whole', () => {
    for (const table of ['customers', 'products']) {
      const { needIdentity, readers } = usageOf(DEFINITIONS, table);
      expect([...needIdentity]).toEqual(['spend']);
      expect(readers).toMatchObject([{ view: 'spend', services: ['s'], owners: ['catalog', 'payments'] }]);
    }
  });

  it('is read by nobody under another name', () => {
    expect(usageOf(DEFINITIONS, 'nobody')).toMatchObject({ readers: [], columns: new Map(), needIdentity: new Set() });
  });
});
