/**
 * Goal: lineage names everything that decides a value, and nothing else. Method: the storefront with a derived column over
 * a derived column, a joined table and an on-demand feature, walked from both ends.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { column, contractOf, STOREFRONT } from './definitions.testing.ts';
import { Lineage } from './lineage.ts';
import { parseDefinitions } from './parse.ts';
import { resolveDefinitions } from './resolve.ts';

const TEXT = `${STOREFRONT}
---
kind: Source
name: tiers
mode: mutable
postgres: { table: public.tiers }
---
kind: FeatureView
name: spend
entity: user
source: user_activity
owner: money
join:
  - { table: tiers, on: { sku: id }, columns: { tier: name } }
derived:
  cents: int(double(amount) * 100.0)
  twice: cents * 2
where: tier != "internal"
features:
  total: { sum: twice, lifetime: {}, owner: ledger }
---
kind: FeatureService
name: checkout
features: [spend:*]
on_demand:
  half: { expression: 'total == null ? 0 : total / 2' }
`;

function lineageOf(text: string): Lineage {
  const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
  const tiers = contractOf([column('id', Kind.STRING), column('name', Kind.STRING), column('note', Kind.STRING)]);
  const contracts = new Map(definitions.sources.map(({ name }) => [name, name === 'tiers' ? tiers : contractOf()]));
  return new Lineage(resolveDefinitions({ definitions, contracts, previous: undefined }).resolved, definitions);
}

const lineage = lineageOf(TEXT);
const edgesAround = (id: string): string[] =>
  lineage
    .around(id)
    .edges.map(({ from, to, role }) => `${from} -${role}-> ${to}`)
    .sort();

describe('Lineage', () => {
  it('goes from a column to every service that it decides a value of', () => {
    const names = [...lineage.downstream('column public.user_activity.amount')].sort();
    expect(names).toEqual([
      'derived product_stats:cents',
      'derived spend:cents',
      'derived spend:twice',
      'feature product_stats:cents_ever',
      'feature spend:total',
      'feature user_clicks:spend_1h',
      'on-demand checkout:half',
      'service checkout',
      'service recommendations',
    ]);
  });

  it('goes from a feature to its columns, those of condition, key, event time and join among them', () => {
    const into = edgesAround('feature spend:total').filter((edge) => edge.endsWith('-> feature spend:total'));
    expect(into).toEqual([
      'column public.tiers.id -join-> feature spend:total',
      'column public.tiers.name -where-> feature spend:total',
      'column public.user_activity.occurred_at -event time-> feature spend:total',
      'column public.user_activity.sku -join-> feature spend:total',
      'column public.user_activity.user_id -key-> feature spend:total',
      'derived spend:twice -input-> feature spend:total',
    ]);
    expect(edgesAround('feature spend:total')).toContain(
      'column public.user_activity.amount -derived-> derived spend:cents',
    );
  });

  it('leaves out what does not lie on a way through the node', () => {
    const nodes = lineage.around('feature spend:total').nodes.map(({ id }) => id);
    expect(nodes).toContain('service checkout');
    expect(nodes).not.toContain('service recommendations');
    expect(nodes).not.toContain('column public.user_activity.event_type');
    expect(lineage.downstream('column public.tiers.note').size).toBe(0);
  });

  it('a condition decides every feature of the view, a key as well', () => {
    const features = [...lineage.downstream('column public.user_activity.event_type')].filter((id) =>
      id.startsWith('f'),
    );
    expect(features.sort()).toEqual([
      'feature user_clicks:click_count_5min',
      'feature user_clicks:clicks_by_hour',
      'feature user_clicks:last_click_at',
      'feature user_clicks:spend_1h',
    ]);
  });

  it('names owners, of the view where a feature has none', () => {
    expect(lineage.node('feature spend:total')?.owner).toBe('ledger');
    expect(lineage.node('derived spend:cents')?.owner).toBe('money');
    expect(lineage.node('service recommendations')?.owner).toBe('growth');
    expect(lineage.node('feature user_clicks:spend_1h')?.owner).toBe('');
  });

  it("a column is found by its table's name and by its source's; a source and a view stand for what they hold", () => {
    expect(lineage.findColumn('user_activity.amount')?.id).toBe('column public.user_activity.amount');
    expect(lineage.findColumn('public.user_activity.amount')?.id).toBe('column public.user_activity.amount');
    expect(lineage.findColumn('user_activity.nothing')).toBeUndefined();
    expect(lineage.around('view spend').nodes.map(({ id }) => id)).toEqual(
      expect.arrayContaining(['view spend', 'feature spend:total', 'service checkout', 'column public.tiers.name']),
    );
    expect(lineage.around('source tiers').nodes.map(({ id }) => id)).toContain('service checkout');
  });
});
