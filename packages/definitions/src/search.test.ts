/** Goal: definitions are found by what people wrote, and what people wrote changes no view's id. */
import { ChangeKind, SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { contractOf, problemsOf, STOREFRONT } from './definitions.testing.ts';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { resolveDefinitions } from './resolve.ts';
import { type SearchQuery, searchDefinitions } from './search.ts';

const DESCRIBED = STOREFRONT.replace('name: user\n', 'name: user\nowner: identity\ntags: [pii]\n')
  .replace('name: user_activity\n', 'name: user_activity\ndescription: What people do in the shop\ntags: [shop]\n')
  .replace('name: user_clicks\n', 'name: user_clicks\nowner: growth\ndescription: Attention\ntags: [shop, gold]\n')
  .replace('rolling: 1h, default: 0.00', 'rolling: 1h, default: 0.00, owner: money, tags: [finance]')
  .replace('owner: growth\nfeatures', 'owner: growth\ntags: [model]\nfeatures');

const parse = (text: string) => parseDefinitions([{ path: 'f.yaml', text }]);
const ANY: SearchQuery = { text: '', tags: [], owner: '', kinds: [] };
const find = (query: Partial<SearchQuery>): string[] =>
  searchDefinitions(parse(DESCRIBED), { ...ANY, ...query }).map(({ name }) => name);

describe('searchDefinitions', () => {
  it('finds by text, tag, owner and kind', () => {
    expect(find({ text: 'ATTENTION' })).toEqual(['user_clicks']);
    expect(find({ text: 'spend' })).toEqual(['user_clicks:spend_1h']);
    expect(find({ text: 'user shop', kinds: [SubjectKind.SOURCE] })).toEqual(['user_activity']);
    expect(find({ tags: ['finance'] })).toEqual(['user_clicks:spend_1h']);
    expect(find({ tags: ['finance', 'gold'] })).toEqual(['user_clicks:spend_1h']);
    expect(find({ owner: 'growth', kinds: [SubjectKind.VIEW, SubjectKind.SERVICE] })).toEqual([
      'recommendations',
      'user_clicks',
    ]);
    expect(find({ owner: 'growth', kinds: [SubjectKind.FEATURE] })).not.toContain('user_clicks:spend_1h');
    expect(find({ text: 'no such word' })).toEqual([]);
  });

  it('puts those first whose name holds the text', () => {
    const hits = find({ text: 'shop' });
    expect(hits).toContain('user_activity');
    expect(find({ text: 'user' })[0]).toBe('user');
  });
});

describe('owners, descriptions and tags', () => {
  it('change nothing of what is computed, so no id of a view; owners are told beside it', () => {
    const resolve = (text: string) => {
      const definitions = parse(text);
      const contracts = new Map(definitions.sources.map(({ name }) => [name, contractOf()]));
      return resolveDefinitions({ definitions, contracts, previous: undefined }).resolved;
    };
    expect(parse(DESCRIBED)).not.toEqual(parse(STOREFRONT));
    const owners = [
      { subject: 'feature user_clicks:spend_1h', owner: 'money' },
      { subject: 'service recommendations', owner: 'growth' },
      { subject: 'view user_clicks', owner: 'growth' },
    ];
    expect(resolve(DESCRIBED).owners).toMatchObject(owners);
    expect(resolve(STOREFRONT).owners).toMatchObject(owners.slice(1, 2));
    expect({ ...resolve(DESCRIBED), owners: [] }).toEqual({ ...resolve(STOREFRONT), owners: [] });
  });

  it('are a change of their own in a plan, which touches no view', () => {
    const [before, after] = [STOREFRONT, DESCRIBED].map((text) => {
      const definitions = parse(text);
      const contracts = new Map(definitions.sources.map(({ name }) => [name, contractOf()]));
      return resolveDefinitions({ definitions, contracts, previous: undefined }).resolved;
    });
    expect(diffDefinitions(before, must(after))).toMatchObject([
      {
        kind: ChangeKind.CHANGED,
        subject: 'owners',
        details: [
          { kind: ChangeKind.ADDED, part: 'owner', name: 'feature user_clicks:spend_1h', after: 'money' },
          { kind: ChangeKind.ADDED, part: 'owner', name: 'view user_clicks', after: 'growth' },
        ],
      },
    ]);
  });

  it('refuses a tag that is none, at its place', () => {
    expect(problemsOf(() => parse(STOREFRONT.replace('owner: growth', 'tags: [Über]')))).toEqual([
      expect.stringMatching(/^f\.yaml:\d+:1: Service recommendations: .*tags/),
    ]);
    expect(problemsOf(() => parse(STOREFRONT.replace('owner: growth', 'tags: gold')))).toEqual([
      expect.stringContaining('must be a list'),
    ]);
  });
});
