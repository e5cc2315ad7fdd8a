/**
 * Goal: a plan says what it changes and whom it touches. Method: one edit of the storefront each, and the sentences
 * that it must give.
 */
import { ChangeKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { ACTIVITY_COLUMNS, column, contractOf, STOREFRONT } from './definitions.testing.ts';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { planHash } from './plan-hash.ts';
import { resolveDefinitions } from './resolve.ts';

function resolve(text: string, previous?: DefinitionSet, contract = contractOf()): DefinitionSet {
  const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
  const contracts = new Map(definitions.sources.map(({ name }) => [name, contract]));
  return resolveDefinitions({ definitions, contracts, previous, highestRoute: 2 }).resolved;
}

const before = resolve(STOREFRONT);

const KINDS: ReadonlyMap<ChangeKind, string> = new Map([
  [ChangeKind.ADDED, '+'],
  [ChangeKind.CHANGED, '~'],
  [ChangeKind.DROPPED, '-'],
]);

function sentences(previous: DefinitionSet | undefined, next: DefinitionSet): string[] {
  return diffDefinitions(previous, next).map(
    ({ kind, subject, effect, services }) => `${KINDS.get(kind)} ${subject}: ${effect} [${services.join()}]`,
  );
}

const after = (from: string, to: string): string[] => sentences(before, resolve(STOREFRONT.replace(from, to), before));

describe('diffDefinitions', () => {
  it('is empty when nothing changes', () => {
    expect(sentences(before, resolve(STOREFRONT, before))).toEqual([]);
  });

  it('tells a first apply and the end of all', () => {
    expect(sentences(undefined, before)).toEqual([
      '+ service recommendations: serves 5 features [recommendations]',
      '+ source user_activity: is captured from postgres default public.user_activity [recommendations]',
      '+ view product_stats: is built from a first snapshot of its source [recommendations]',
      '+ view user_clicks: is built from a first snapshot of its source [recommendations]',
    ]);
    expect(sentences(before, resolve('', before))).toEqual([
      '- service recommendations: can no longer be read [recommendations]',
      '- source user_activity: is no longer captured [recommendations]',
      '- view product_stats: is no longer folded, and its state is deleted [recommendations]',
      '- view user_clicks: is no longer folded, and its state is deleted [recommendations]',
    ]);
  });

  it('tells features that are added, changed and dropped', () => {
    const [service, view, ...more] = after(
      'click_count_5min: { count: {}, rolling: 5m }',
      'clicks_5min: { count: {}, rolling: 5m }\n  by_day: { mean: score, tumbling: 1d }',
    );
    expect(more).toEqual([]);
    expect(service).toContain(
      '~ service recommendations: also returns user_clicks:by_day, user_clicks:clicks_5min; no longer returns user_clicks:click_count_5min',
    );
    expect(view).toContain(
      '~ view user_clicks: feature by_day added; feature clicks_5min added; feature click_count_5min dropped',
    );
    expect(view).toContain("folds from the log's beginning in the background");
    expect(view).toContain('[recommendations]');
  });

  it('tells how a feature changed', () => {
    const told = after('rolling: 5m', 'rolling: 10m, ttl: 1d, default: 3').join('\n');
    expect(told).toContain(
      'feature click_count_5min is count over 10m in panes of 10s for 1d with a default, was count over 5m in panes of 5s',
    );
  });

  it('tells a condition and derived columns that changed', () => {
    expect(after('"click"', '"view"').join('\n')).toContain('its condition changed');
    expect(after('* 100.0', '* 1000.0').join('\n')).toContain('its derived columns changed');
  });

  it('tells a rename that keeps the state', () => {
    const next = resolve(STOREFRONT.replaceAll('user_clicks', 'clicks'), before);
    expect(sentences(before, next)).toEqual([
      expect.stringContaining('~ service recommendations: also returns'),
      '+ view clicks: takes over the state of view user_clicks, which computes the same [recommendations]',
      '- view user_clicks: goes on under another name [recommendations]',
    ]);
  });

  it('tells a renamed source whose capture goes on', () => {
    const text = STOREFRONT.replaceAll('user_activity', 'activity').replace('public.activity', 'public.user_activity');
    expect(sentences(before, resolve(text, before))).toEqual([
      '+ source activity: goes on with what source user_activity captured [recommendations]',
      '- source user_activity: goes on under another name [recommendations]',
    ]);
  });

  it('tells that a source starts over', () => {
    const told = after('event_time: occurred_at\n', 'max_skew: 1m\n');
    expect(told).toContain(
      '~ source user_activity: event time is the time of the commit, was column occurred_at; max_skew is 1m, was 5s; its capture starts over from a new snapshot [recommendations]',
    );
    expect(told.join('\n')).toContain(
      'view user_clicks: its source, entity or columns changed: is built from a first snapshot',
    );
  });

  it('tells that a table changed its shape', () => {
    const columns = [...ACTIVITY_COLUMNS.filter(({ name }) => name !== 'tags'), column('channel', Kind.STRING)];
    const next = resolve(STOREFRONT, before, contractOf(columns));
    expect(sentences(before, next)).toEqual([
      '~ source user_activity: its contract takes version 2 (column channel added, column tags dropped) [recommendations]',
    ]);
  });

  it('tells another order of outputs', () => {
    expect(after('[user_clicks:*, product_stats:views_1h]', '[product_stats:views_1h, user_clicks:*]')).toEqual([
      '~ service recommendations: returns its features in another order [recommendations]',
    ]);
  });
});

describe('planHash', () => {
  it('names what would be in force and what it was planned against', () => {
    const again = resolve(STOREFRONT);
    expect(planHash(again, 0n)).toEqual(planHash(before, 0n));
    expect(planHash(before, 1n)).not.toEqual(planHash(before, 0n));
    expect(planHash(resolve(STOREFRONT.replace('"click"', '"view"')), 0n)).not.toEqual(planHash(before, 0n));
    const longer = contractOf([...ACTIVITY_COLUMNS, column('channel', Kind.STRING)]);
    expect(planHash(resolve(STOREFRONT, undefined, longer), 0n)).not.toEqual(planHash(before, 0n));
  });
});
