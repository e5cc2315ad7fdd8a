/**
 * Goal: what a service computes when it is read is known when it is planned: every name means one value, every type is
 * known, and what cannot work is refused with place and remedy. Method: a storefront's service, and one example per
 * refusal.
 */

import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { describe, expect, it } from 'vitest';
import { contractOf, problemsOf, STOREFRONT } from './definitions.testing.ts';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

const SERVICE = `
---
kind: FeatureService
name: checkout_risk
features: [user_clicks:spend_1h, "product_stats:*"]
request: { cart_total: double, country: string, tags: list<string> }
on_demand:
  cart_vs_hour: cart_total / (double(spend_1h) + 1.0)
  is_high: { expression: cart_vs_hour > 3.0 && country != "DE", default: false, description: much }
  seconds: { expression: int(now - timestamp("2020-01-01T00:00:00Z")) + views_1h, default: 0 }
  tag: 'size(tags) > 0 ? tags[0] : "none"'
  plain: product_stats__views_1h
`;

function resolve(service: string): Resolution {
  const definitions = parseDefinitions([{ path: 'f.yaml', text: STOREFRONT + service }]);
  const contracts = new Map(definitions.sources.map(({ name }) => [name, contractOf()]));
  return resolveDefinitions({ definitions, contracts, previous: undefined });
}

const serviceOf = ({ resolved }: Resolution) => resolved.services.find(({ name }) => name === 'checkout_risk')!;
const service = (rest: string): string =>
  `\n---\nkind: FeatureService\nname: checkout_risk\nfeatures: [user_clicks:spend_1h, user_clicks:click_count_5min]\n${rest}`;
const problems = (rest: string): string[] => problemsOf(() => resolve(service(rest)));

describe('on-demand features', () => {
  it('are resolved to where every name comes from, and to their types', () => {
    const { request, onDemand, features } = serviceOf(resolve(SERVICE));
    expect(request.map(({ name, type }) => [name, type?.kind, type?.element])).toEqual([
      ['cart_total', Kind.DOUBLE, 0],
      ['country', Kind.STRING, 0],
      ['tags', Kind.LIST, Kind.STRING],
    ]);
    const outputs = features.map(({ output }) => output);
    const inputs = onDemand.map(({ inputs: all }) =>
      all.map(({ name, source }) =>
        source.case === 'feature' ? `${name}=${outputs[source.value]}` : `${name}=${source.case} ${source.value}`,
      ),
    );
    expect(inputs).toEqual([
      ['cart_total=request 0', 'spend_1h=user_clicks:spend_1h'],
      ['cart_vs_hour=onDemand 0', 'country=request 1'],
      ['now=now true', 'views_1h=product_stats:views_1h'],
      ['tags=request 2'],
      ['product_stats__views_1h=product_stats:views_1h'],
    ]);
    expect(onDemand.map(({ type }) => type?.kind)).toEqual([
      Kind.DOUBLE,
      Kind.BOOL,
      Kind.INT64,
      Kind.STRING,
      Kind.INT64,
    ]);
    expect(onDemand.map(({ defaultValue }) => defaultValue?.kind)).toEqual([
      undefined,
      { case: 'bool', value: false },
      { case: 'int64', value: 0n },
      undefined,
      undefined,
    ]);
  });

  it('change no view', () => {
    const ids = (resolution: Resolution): string[] => resolution.resolved.views.map(({ viewId }) => toHex(viewId));
    expect(ids(resolve(SERVICE))).toEqual(ids(resolve('')));
  });

  it('say which request field nobody uses', () => {
    const { notes } = resolve(service('request: { cart_total: double, other: int64 }\non_demand: { a: cart_total }\n'));
    expect(notes.join('\n')).toContain('request field other is used by no on-demand feature');
    expect(notes.join('\n')).not.toContain('cart_total');
  });

  it('are told by a plan when they change', () => {
    const effect = (from: string, to: string): string => {
      expect(SERVICE).toContain(from);
      const changes = diffDefinitions(resolve(SERVICE).resolved, resolve(SERVICE.replace(from, to)).resolved);
      expect(changes.map(({ subject }) => subject)).toEqual(['service checkout_risk']);
      return changes[0]!.effect;
    };
    expect(effect('> 3.0', '> 4.0')).toBe('computes in another way is_high');
    expect(effect('country: string', 'country: string, extra: bool')).toBe('needs the request data extra');
    expect(effect('  plain:', '  simple:')).toBe('also computes simple; no longer computes plain');
    // Another place of an input is no other way to compute.
    expect(effect('[user_clicks:spend_1h, "product_stats:*"]', '["product_stats:*", user_clicks:spend_1h]')).toBe(
      'returns its features in another order',
    );
  });
});

describe('on-demand mistakes', () => {
  it.each<[string, string, RegExp]>([
    [
      'an unknown name',
      'on_demand: { a: spend_2h > 1 }',
      /^f\.yaml:\d+:17: .*there is no name spend_2h.*Did you mean spend_1h/,
    ],
    ['a type error', 'on_demand: { a: click_count_5min / 2.0 }', /^f\.yaml:\d+:17: .*\/.* Convert one side/],
    ['a decimal computed with', 'on_demand: { a: spend_1h + 1.0 }', /cannot be used with a decimal.*double\(/],
    ['an expression that is none', 'on_demand: { a: "1 +" }', /cannot be read/],
    ['a result that no value can be', 'on_demand: { a: now - now }', /duration.*int\(duration\)/],
    ['a later one', 'on_demand: { a: b, b: 1 }', /there is no name b/],
    ['itself', 'on_demand: { a: a + 1 }', /there is no name a/],
    ['the name of a stored feature', 'on_demand: { spend_1h: 1 }', /taken: by feature user_clicks:spend_1h/],
    ['the name of a request field', 'request: { x: int64 }\non_demand: { x: 1 }', /taken: by request field x/],
    ['a request field of a feature', 'request: { spend_1h: int64 }', /^f\.yaml:\d+:22: .*taken: by feature/],
    ['a request field called now', 'request: { now: int64 }', /taken: by a word of expressions/],
    ['a request field CEL cannot read', 'request: { in: int64 }', /taken: by a word of expressions/],
    ['a request field of a bad name', 'request: { Cart: int64 }', /Request field Cart: the name/],
    ['an unknown type', 'request: { x: strng }', /^f\.yaml:\d+:15: .*"strng".*Did you mean "string"/],
    ['a type of other systems', 'request: { x: float }', /Did you mean "double"/],
    ['a vector', 'request: { x: vector }', /cannot be of type "vector"/],
    ['a list of nothing', 'request: { x: list }', /list<string>/],
    ['a list of lists', 'request: { x: list<list> }', /cannot be of type/],
    [
      'a default of another type',
      'on_demand: { a: { expression: 1 + 1, default: x } }',
      /default is not a value of type int64/,
    ],
    ['no expression', 'on_demand: { a: { default: 1 } }', /^f\.yaml:\d+:\d+: .*has no expression/],
    ['an unknown option', 'on_demand: { a: { expresion: 1 } }', /Did you mean "expression"/],
    ['an expression that is a list', 'on_demand: { a: [1] }', /must be a CEL expression/],
    ['request data that is a list', 'request: [a]', /must be a map/],
  ])('%s', (_, rest, problem) => {
    expect(problems(rest).join('\n')).toMatch(problem);
  });

  it('a name of features of two views is refused, with what to write', () => {
    const twice = `
---
kind: FeatureView
name: more_clicks
entity: user
source: user_activity
features: { spend_1h: { count: {} } }
---
kind: FeatureService
name: checkout_risk
features: [user_clicks:spend_1h, more_clicks:spend_1h]
on_demand: { a: spend_1h + 1 }
`;
    expect(problemsOf(() => resolve(twice)).join()).toMatch(/write user_clicks__spend_1h or more_clicks__spend_1h/);
    const right = serviceOf(resolve(twice.replace('spend_1h + 1', 'more_clicks__spend_1h + 1')));
    expect(right.onDemand[0]?.inputs[0]?.source).toEqual({ case: 'feature', value: 1 });
  });

  it('a view that cannot be resolved brings no problem of a name', () => {
    const broken = `${STOREFRONT.replace('sum: amount', 'sum: amout')}${service('on_demand: { a: spend_1h }')}`;
    const definitions = parseDefinitions([{ path: 'f.yaml', text: broken }]);
    const contracts = new Map([['user_activity', contractOf()]]);
    expect(problemsOf(() => resolveDefinitions({ definitions, contracts, previous: undefined }))).toHaveLength(1);
  });

  it('too many with the stored ones are refused', () => {
    const many = Array.from({ length: 100 }, (_, i) => `  f${i}: 1`).join('\n');
    expect(serviceOf(resolve(service(`on_demand:\n${many}\n`))).onDemand).toHaveLength(100);
    expect(problems(`on_demand:\n${many}\n  more: 1\n`).join()).toContain('max_items');
  });
});
