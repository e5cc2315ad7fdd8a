/**
 * Goal: a join in force says everything that the fold needs, its route is shared where it can be, and what cannot work is
 * refused with place and remedy. Method: a storefront with a catalogue and one refusal an example.
 */
import { clone } from '@bufbuild/protobuf';
import { type Contract, ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { ACTIVITY_COLUMNS, column, contractOf, problemsOf, STOREFRONT } from './definitions.testing.ts';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { keyKinds, routeIdentity } from './resolve/routes.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

const SHOP = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: user_activity
mode: append
postgres: { table: public.user_activity }
event_time: occurred_at
---
kind: Source
name: catalog
mode: mutable
postgres: { table: public.catalog }
---
kind: Source
name: profile
mode: mutable
postgres: { table: public.profile }
---
kind: FeatureView
name: spend
entity: user
source: user_activity
join:
  - table: catalog
    on: { sku: code }
    columns: { category: category, list_price: price, weight: weight }
  - table: profile
    on: { user_id: id }
    columns: { country: country }
where: category == "garden" && country != "XX"
derived:
  gap: list_price
features:
  spend_1h: { sum: gap, rolling: 1h }
  listed: { sum: list_price }
`;

const CATALOG = [
  column('code', Kind.STRING),
  column('category', Kind.STRING),
  column('price', Kind.DECIMAL),
  column('weight', Kind.DOUBLE),
];
const PROFILE = [column('id', Kind.INT64), column('country', Kind.STRING)];

function tables(changes: { catalog?: Partial<Contract> } = {}): Map<string, Contract> {
  return new Map([
    ['user_activity', contractOf(ACTIVITY_COLUMNS)],
    ['catalog', { ...contractOf(CATALOG), primaryKey: ['code'], ...changes.catalog }],
    ['profile', contractOf(PROFILE)],
  ]);
}

function resolve(text: string, contracts = tables(), previous?: DefinitionSet): Resolution {
  return resolveDefinitions({ definitions: parseDefinitions([{ path: 'f.yaml', text }]), contracts, previous });
}

function edited(...edits: readonly (readonly [from: string, to: string])[]): string {
  return edits.reduce((text, [from, to]) => {
    expect(text).toContain(from);
    return text.replace(from, to);
  }, SHOP);
}

const id = (resolution: Resolution): string => Buffer.from(resolution.resolved.views[0]!.viewId).toString('hex');

describe('joins in force', () => {
  it('say by what a row is found, what is read of it and by which route it comes', () => {
    const { resolved, notes } = resolve(SHOP);
    const [spend] = resolved.views;
    expect(spend!.joins).toMatchObject([
      {
        table: 'catalog',
        route: 2,
        broadcast: true,
        on: [{ column: 'sku', key: { name: 'code', kind: Kind.STRING } }],
        columns: [
          { name: 'category', column: { name: 'category' } },
          { name: 'list_price', column: { name: 'price', type: { kind: Kind.DECIMAL } } },
        ],
      },
      { table: 'profile', route: 3, broadcast: false, on: [{ column: 'user_id', key: { name: 'id' } }] },
    ]);
    // A broadcast table is found by a column of the row, one of the entity by the row's key.
    expect(spend!.columns.map(({ name }) => name)).toEqual(['sku']);
    expect(spend!.engineVersion).toBe(2);
    expect(
      resolved.routes.map(({ route, source, entity, keyColumns }) => [route, source?.name, entity?.name, keyColumns]),
    ).toEqual([
      [1, 'user_activity', 'user', ['user_id']],
      [2, 'catalog', undefined, ['code']],
      [3, 'profile', 'user', ['id']],
    ]);
    expect(keyKinds(resolved.routes[1]!)).toEqual([Kind.STRING]);
    expect(keyKinds(resolved.routes[2]!)).toEqual([Kind.INT64]);
    expect(notes).toEqual([]);
  });

  it('are part of what a view is; what nothing reads is not', () => {
    const first = id(resolve(SHOP));
    expect(id(resolve(edited([', weight: weight', ''])))).toBe(first);
    expect(
      id(
        resolve(
          edited(['name: catalog', 'name: goods'], ['- table: catalog', '- table: goods']),
          new Map([...tables(), ['goods', tables().get('catalog')!]]),
        ),
      ),
    ).toBe(first);
    expect(
      id(
        resolve(
          edited(['list_price: price', 'list_price: weight']).replace('gap: list_price', 'gap: list_price * 2.0'),
        ),
      ),
    ).not.toBe(first);
    expect(id(resolve(edited(['public.catalog', 'public.catalog2'])))).not.toBe(first);
    expect(id(resolve(edited(['{ user_id: id }', '{ id: id }'])))).not.toBe(first);
    // Another kind of key: rows would be filed under other bytes.
    const decimals = tables({
      catalog: { columns: contractOf([column('code', Kind.BYTES), ...CATALOG.slice(1)]).columns },
    });
    decimals.get('user_activity')!.columns[2]!.type!.kind = Kind.BYTES;
    expect(id(resolve(SHOP, decimals))).not.toBe(first);
  });

  it('share a broadcast route whatever its source says of times, and no entity route', () => {
    const [, broadcast, byUser] = resolve(SHOP).resolved.routes;
    const later = clone(RoutePlanSchema, broadcast!);
    later.source!.maxSkewUs = 1n;
    expect(routeIdentity(later)).toEqual(routeIdentity(broadcast!));
    const broadcastUser = clone(RoutePlanSchema, byUser!);
    delete broadcastUser.entity;
    expect(routeIdentity(broadcastUser)).not.toEqual(routeIdentity(byUser!));
    const apart = clone(RoutePlanSchema, byUser!);
    apart.source!.maxSkewUs = 1n;
    expect(routeIdentity(apart)).not.toEqual(routeIdentity(byUser!));
  });

  it('with the same table twice and with the source itself have their own names', () => {
    const twice = edited([
      '  - table: profile',
      '  - table: user_activity\n    on: { id: id }\n    columns: { old_type: event_type }\n  - table: catalog\n    on: { event_type: code }\n    columns: { other: category }\n  - table: profile',
    ]).replace('country != "XX"', 'country != other && old_type != ""');
    const { resolved } = resolve(twice);
    expect(resolved.views[0]!.joins.map(({ table, route }) => [table, route])).toEqual([
      ['catalog', 2],
      ['user_activity', 3],
      ['catalog', 2],
      ['profile', 4],
    ]);
  });

  it('of which nothing is read are left out, and said so', () => {
    const { resolved, notes } = resolve(edited([' && country != "XX"', '']));
    expect(resolved.views[0]!.joins.map(({ table }) => table)).toEqual(['catalog']);
    expect(notes).toEqual([expect.stringContaining('nothing reads a column of joined table profile')]);
    expect(resolved.routes).toHaveLength(2);
  });

  it('are told in a plan, with the services that they reach', () => {
    const before = resolve(`${SHOP}---\nkind: FeatureService\nname: rec\nfeatures: [spend:*]\n`).resolved;
    const text = `${edited(['{ user_id: id }', '{ id: id }'])}---\nkind: FeatureService\nname: rec\nfeatures: [spend:*]\n`;
    const changes = diffDefinitions(before, resolve(text, tables(), before).resolved);
    expect(changes.find(({ subject }) => subject === 'view spend')?.effect).toContain('its joins changed');
    const added = diffDefinitions(undefined, before).find(({ subject }) => subject === 'source catalog');
    expect(added?.services).toEqual(['rec']);
  });

  it('leave views without joins as they were', () => {
    const definitions = parseDefinitions([{ path: 'f.yaml', text: STOREFRONT }]);
    const contracts = new Map([['user_activity', contractOf()]]);
    const { resolved } = resolveDefinitions({ definitions, contracts, previous: undefined });
    expect(resolved.views.map(({ viewId }) => Buffer.from(viewId).toString('hex'))).toEqual([
      'b97611eb65dddb728e65551967322647',
      'add2fa202fc8daaab84bf795b3d0baaa',
    ]);
  });
});

describe('a join is refused, with a remedy:', () => {
  it.each<[string, string, RegExp, Partial<Contract>?]>([
    [
      'an unknown table',
      edited(['- table: catalog', '- table: catalogue']),
      /join with catalogue: there is no source.*Did you mean "catalog"/,
    ],
    [
      'an unknown column',
      edited(['list_price: price', 'list_price: prize']),
      /no column "prize".*Did you mean "price"/,
    ],
    ['no key column', edited(['{ sku: code }', '{ sku: category }']), /"category" is no key column.*code/],
    ['half a key', SHOP, /must name the whole key; category/, { primaryKey: ['code', 'category'] }],
    ['a key column twice', edited(['{ sku: code }', '{ sku: code, event_type: code }']), /"code" is in `on` twice/],
    [
      'an unknown column of the source',
      edited(['{ sku: code }', '{ skuu: code }']),
      /no column "skuu".*on: \{ sku: code \}/,
    ],
    [
      'keys of two types',
      edited(['{ sku: code }', '{ id: code }']),
      /id of source user_activity is int64, but key column code is string/,
    ],
    ['a table without key', SHOP, /no key by which one row.*primary key/, { primaryKey: [] }],
    [
      'a key that is none',
      SHOP,
      /key column price is double, which cannot be a key/,
      {
        columns: contractOf([...CATALOG.slice(0, 2), column('price', Kind.DOUBLE)]).columns,
        replicaIdentity: ReplicaIdentity.INDEX,
        replicaIdentityColumns: ['price'],
      },
    ],
    ['a name of the source', edited(['list_price: price', 'amount: price']), /the name "amount" is taken/],
    [
      'a name of another join',
      edited(['{ country: country }', '{ category: country }']),
      /the name "category" is taken/,
    ],
    [
      'a derived column of its name',
      edited(['  gap: list_price', '  category: list_price']),
      /Derived column category.*another column/,
    ],
    [
      'more than eight',
      edited([
        '  - table: profile',
        `${'  - { table: profile, on: { id: id }, columns: { c: country } }\n'.repeat(8)}  - table: profile`,
      ]),
      /joins must/,
    ],
  ])('%s', (_, text, expected, catalog) => {
    const fitted = catalog?.replicaIdentity === undefined ? text : text.replace('sku: code', 'score: price');
    const found = problemsOf(() => resolve(fitted, tables(catalog === undefined ? {} : { catalog }))).join('\n');
    expect(found).toMatch(expected);
    expect(found).toContain('f.yaml:');
  });

  it.each([
    [
      'a map',
      edited([
        'join:\n  - table: catalog\n    on: { sku: code }\n',
        'join: { table: catalog }\nx:\n  - on: { sku: code }\n',
      ]),
      /"join" of view spend must be a list/,
    ],
    [
      'an unknown field',
      edited(['    on: { sku: code }', '    onn: { sku: code }']),
      /has no field "onn".*Did you mean "on"/,
    ],
    ['no columns', edited(['    columns: { country: country }\n', '']), /lacks the field "columns"/],
    ['empty columns', edited(['{ country: country }', '{}']), /The field "columns" of join 2 of view spend is empty/],
    [
      'a join that is a text',
      edited(['  - table: profile\n    on: { user_id: id }\n    columns: { country: country }\n', '  - profile\n']),
      /Join 2 of view spend must be a map/,
    ],
  ])('%s', (_, text, expected) => {
    expect(problemsOf(() => resolve(text)).join('\n')).toMatch(expected);
  });
});
