/** Goal: a plan says what exactly is another, what that costs, and which columns it newly depends on. Method: one edit each. */
import { BuildWay, ChangeKind, type PlannedChange } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { contractOf, STOREFRONT } from './definitions.testing.ts';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { columnChanges } from './plan-cost.ts';
import { resolveDefinitions } from './resolve.ts';

function resolve(text: string, previous?: DefinitionSet): DefinitionSet {
  const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
  const contracts = new Map(definitions.sources.map(({ name }) => [name, contractOf()]));
  return resolveDefinitions({ definitions, contracts, previous, highestRoute: 2 }).resolved;
}

const before = resolve(STOREFRONT);
const rows = new Map([['user_activity', 5_000n]]);
const edited = (from: string, to: string): DefinitionSet => {
  expect(STOREFRONT).toContain(from);
  return resolve(STOREFRONT.replace(from, to), before);
};
const changeOf = (next: DefinitionSet, subject: string): PlannedChange =>
  must(diffDefinitions(before, next, rows).find((change) => change.subject === subject));
const SIGNS: Readonly<Record<number, string>> = {
  [ChangeKind.UNSPECIFIED]: '?',
  [ChangeKind.ADDED]: '+',
  [ChangeKind.CHANGED]: '~',
  [ChangeKind.DROPPED]: '-',
};
const told = ({ details }: PlannedChange): string[] =>
  details.map((d) => `${SIGNS[d.kind]} ${d.part} ${d.name}: ${d.before} => ${d.after}`);

describe('details of a change', () => {
  it('tells a window from what to what, and only that feature as touched', () => {
    const change = changeOf(edited('rolling: 5m', 'rolling: 10m'), 'view user_clicks');
    expect(told(change)).toEqual([
      '~ window click_count_5min: rolling 5m in panes of 5s => rolling 10m in panes of 10s',
    ]);
    expect(change.features).toEqual(['user_clicks:click_count_5min']);
  });

  it('tells a condition, which touches every feature', () => {
    const change = changeOf(edited('"click"', '"view"'), 'view user_clicks');
    expect(told(change)).toEqual(['~ where : event_type == "click" => event_type == "view"']);
    expect(change.features).toHaveLength(4);
  });

  it('tells features that come and go without their windows apart', () => {
    const change = changeOf(edited('click_count_5min: { count: {}, ', 'n: { sum: score, '), 'view user_clicks');
    expect(told(change)).toEqual([
      '+ column score:  => double',
      '- feature click_count_5min: count => ',
      '+ feature n:  => sum of score',
    ]);
    expect(change.features).toEqual(['user_clicks:click_count_5min', 'user_clicks:n']);
    const service = changeOf(edited('click_count_5min: {', 'n: {'), 'service recommendations');
    expect(told(service)).toEqual([
      '- output user_clicks:click_count_5min: user_clicks:click_count_5min => ',
      '+ output user_clicks:n:  => user_clicks:n',
    ]);
  });

  it('tells another key, derived column and default', () => {
    expect(told(changeOf(edited('product_id: sku', 'product_id: event_type'), 'view product_stats'))).toContain(
      '~ key : product_id from sku => product_id from event_type',
    );
    const derived = changeOf(edited('* 100.0', '* 1000.0'), 'view product_stats');
    expect(told(derived)).toEqual(['~ derived cents: int(double(amount) * 100.0) => int(double(amount) * 1000.0)']);
    expect(derived.features).toHaveLength(2);
    expect(told(changeOf(edited('default: 0.00', 'default: 1.00'), 'view user_clicks'))).toEqual([
      expect.stringMatching(/^~ default spend_1h: 0(\.00)? => 1(\.00)?$/),
    ]);
  });
});

describe('details of a source', () => {
  const POLICY = 'event_time: occurred_at\npolicy: strict\nhold: key\n';
  const RULES =
    "rules: [{ name: a, expression: 'score > 0.0' }, { name: b, only_tell: true, null_rate: { column: sku, max: 0.1 } }]\n";

  it('tells a policy, what is held, and rules that come, go or change, and that nothing is folded anew', () => {
    const judged = edited('event_time: occurred_at\n', POLICY + RULES);
    const come = changeOf(judged, 'source user_activity');
    expect(told(come)).toEqual([
      '~ hold : as it breaks => key',
      '~ policy : evolve => strict',
      '+ rule a:  => score > 0.0',
      '+ rule b:  => nulls of sku up to 0.1 of 1000 rows (only tells)',
    ]);
    expect([come.effect, come.features, come.cost]).toEqual(['rows that come are judged otherwise', [], undefined]);
    expect(come.services).toEqual(['recommendations']);
    const later = resolve(
      STOREFRONT.replace('event_time: occurred_at\n', POLICY + RULES.replace('0.0', '1.0')),
      judged,
    );
    expect(diffDefinitions(judged, later).map(told)).toEqual([['~ rule a: score > 0.0 => score > 1.0']]);
    // Also beside another change: a rule that goes must be seen.
    const less = resolve(STOREFRONT.replace('rolling: 5m', 'rolling: 10m'), judged);
    const gone = must(diffDefinitions(judged, less).find(({ subject }) => subject === 'source user_activity'));
    expect(told(gone).filter((one) => one.startsWith('-'))).toHaveLength(2);
  });
});

describe('cost of a change', () => {
  it('knows what is folded from the log, what reads the table and how many rows, and what is kept', () => {
    const folded = changeOf(edited('rolling: 5m', 'rolling: 10m'), 'view user_clicks').cost;
    expect(folded).toMatchObject({ way: BuildWay.FOLDS_LOG, rowBytes: 0n });
    expect(folded?.rows).toBeUndefined();
    const anew = changeOf(edited('event_time: occurred_at\n', 'max_skew: 1m\n'), 'view user_clicks').cost;
    expect(anew).toMatchObject({ way: BuildWay.READS_TABLE, rows: 5_000n });
    expect(diffDefinitions(before, edited('event_time: occurred_at\n', ''), new Map())[2]?.cost?.rows).toBeUndefined();
    const renamed = diffDefinitions(before, resolve(STOREFRONT.replaceAll('user_clicks', 'clicks'), before), rows);
    expect(renamed.find(({ subject }) => subject === 'view clicks')?.cost?.way).toBe(BuildWay.KEEPS);
  });

  it('grows with windows and features', () => {
    const bytes = (next: DefinitionSet): bigint => must(changeOf(next, 'view user_clicks').cost).keyBytes;
    const longer = bytes(edited('rolling: 5m', 'rolling: 5m, pane: 1s'));
    expect(longer).toBeGreaterThan(bytes(edited('rolling: 5m', 'rolling: 10m')) + 240n);
  });
});

describe('columnChanges', () => {
  it('names columns that are newly read, and those that no longer are', () => {
    const { added, dropped } = columnChanges(before, edited('sum: amount', 'sum: score'));
    expect(added).toMatchObject([{ table: 'public.user_activity', column: 'score', views: ['user_clicks'] }]);
    expect(dropped).toEqual([]);
    const all = columnChanges(undefined, before).added.map(({ column }) => column);
    expect(all).toEqual(['amount', 'event_type', 'occurred_at', 'sku', 'user_id']);
    expect(columnChanges(before, resolve('', before)).dropped.map(({ column }) => column)).toEqual(all);
    const ruled = edited(
      'event_time: occurred_at\n',
      "event_time: occurred_at\nrules: [{ name: a, expression: 'id > 0' }]\n",
    );
    expect(columnChanges(before, ruled).added).toMatchObject([
      { column: 'id', views: ['product_stats', 'user_clicks'] },
    ]);
  });
});
