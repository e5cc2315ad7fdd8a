/**
 * Goal: what is in force follows from what was written and the live tables, with nothing left open; what cannot work is
 * refused with place and remedy. Method: a whole storefront, one example per refusal, and what does and does not change
 * ids and route numbers.
 */
import { clone, equals, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Definitions, DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { type Contract, ReplicaIdentity, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { ACTIVITY_COLUMNS, column, contractOf, problemsOf, STOREFRONT } from './definitions.testing.ts';
import { parseDefinitions } from './parse.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

interface Options {
  readonly previous?: DefinitionSet;
  readonly highestRoute?: number;
  readonly contract?: Contract;
}

function resolveMessage(definitions: Definitions, options: Options = {}): Resolution {
  const contracts = new Map(definitions.sources.map(({ name }) => [name, options.contract ?? contractOf()]));
  return resolveDefinitions({ definitions, contracts, previous: options.previous, highestRoute: options.highestRoute });
}

const resolve = (text: string, options?: Options): Resolution =>
  resolveMessage(parseDefinitions([{ path: 'f.yaml', text }]), options);

const problems = (text: string, options?: Options): string[] => problemsOf(() => resolve(text, options));

/** The storefront with one text put in the place of another, which must be there. */
function edited(...edits: readonly (readonly [from: string, to: string])[]): string {
  return edits.reduce((text, [from, to]) => {
    expect(text).toContain(from);
    return text.replace(from, to);
  }, STOREFRONT);
}

const viewOf = (resolution: Resolution, name: string) => resolution.resolved.views.find((view) => view.name === name)!;
const idOf = (resolution: Resolution, name: string): string =>
  Buffer.from(viewOf(resolution, name).viewId).toString('hex');

describe('resolveDefinitions', () => {
  it('fills every default in and finds every type', () => {
    const { resolved, notes, highestRoute, changed } = resolve(STOREFRONT);
    expect(resolved.generation).toBe(1n);
    expect([highestRoute, changed]).toEqual([2, true]);
    expect(resolved.routes.map(({ route, entity, keyColumns }) => [route, entity?.name, keyColumns])).toEqual([
      [1, 'user', ['user_id']],
      [2, 'product', ['sku']],
    ]);
    expect(resolved.routes[0]?.source).toMatchObject({
      maxSkewUs: 5_000_000n,
      contract: { source: 'user_activity', version: 1 },
    });
    expect(resolved.views.map(({ name }) => name)).toEqual(['product_stats', 'user_clicks']);
    const clicks = resolved.views[1]!;
    expect(clicks).toMatchObject({
      route: 1,
      source: 'user_activity',
      engineVersion: 1,
      where: 'event_type == "click"',
    });
    expect(clicks.viewId).toHaveLength(16);
    expect(clicks.columns.map(({ name }) => name)).toEqual(['amount', 'event_type', 'occurred_at']);
    expect(clicks.features.map(({ name }) => name)).toEqual([
      'click_count_5min',
      'clicks_by_hour',
      'last_click_at',
      'spend_1h',
    ]);
    const [count, , last, spend] = clicks.features;
    expect(count).toMatchObject({
      resultType: { kind: Kind.INT64 },
      window: { kind: { value: { paneUs: 5_000_000n } } },
    });
    expect(count?.inputType).toBeUndefined();
    expect(last).toMatchObject({ window: { kind: { case: 'lifetime' } }, resultType: { kind: Kind.TIMESTAMP } });
    expect(spend).toMatchObject({
      inputType: { kind: Kind.DECIMAL },
      window: { kind: { value: { paneUs: 60_000_000n } } },
      defaultValue: { kind: { case: 'decimal', value: '0.00' } },
    });
    const stats = resolved.views[0]!;
    expect(stats.derived).toMatchObject([{ name: 'cents', type: { kind: Kind.INT64 } }]);
    expect(stats.columns.map(({ name }) => name)).toEqual(['amount']);
    expect(resolved.services[0]?.features.map(({ output, feature }) => [output, feature])).toEqual([
      ['user_clicks:click_count_5min', 0],
      ['user_clicks:clicks_by_hour', 1],
      ['user_clicks:last_click_at', 2],
      ['user_clicks:spend_1h', 3],
      ['product_stats:views_1h', 1],
    ]);
    expect(notes).toEqual([expect.stringContaining('sku of source user_activity may be null')]);
  });

  it('gives the same again, and the same generation when nothing changed', () => {
    const first = resolve(STOREFRONT);
    const again = resolve(STOREFRONT, { previous: first.resolved });
    expect(again.changed).toBe(false);
    expect(equals(DefinitionSetSchema, again.resolved, first.resolved)).toBe(true);
    const changed = resolve(edited(['5min: { count: {}', '5min: { count: amount']), { previous: first.resolved });
    expect([changed.changed, changed.resolved.generation]).toEqual([true, 2n]);
  });

  it('does the same with definitions that crossed the wire', () => {
    const definitions = parseDefinitions([{ path: 'f.yaml', text: STOREFRONT }]);
    const arrived = fromBinary(DefinitionsSchema, toBinary(DefinitionsSchema, definitions));
    expect(resolveMessage(arrived).resolved).toEqual(resolveMessage(definitions).resolved);
  });

  it('resolves nothing to nothing', () => {
    const empty = resolve('');
    expect([empty.changed, empty.resolved.generation]).toEqual([false, 0n]);
    const first = resolve(STOREFRONT);
    expect(resolve('', { previous: first.resolved })).toMatchObject({
      changed: true,
      resolved: { views: [], generation: 2n },
    });
  });

  it('needs no table for a source that no view uses, and says so', () => {
    const text = 'kind: Source\nname: later\nmode: append\npostgres: { table: later }\n';
    const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
    const { notes, resolved } = resolveDefinitions({ definitions, contracts: new Map(), previous: undefined });
    expect(resolved.routes).toEqual([]);
    expect(notes[0]).toContain('Source later is used by no view');
  });

  it('says what windows mean without an event time', () => {
    const { notes } = resolve(edited(['event_time: occurred_at\n', '']));
    expect(notes.join('\n')).toMatch(
      /View user_clicks: .*time of their commit.*not click_count_5min, spend_1h, clicks_by_hour/,
    );
  });

  it('says that a null event time is quarantined', () => {
    const columns = ACTIVITY_COLUMNS.map((c) => (c.name === 'occurred_at' ? { ...c, nullable: true } : c));
    expect(resolve(STOREFRONT, { contract: contractOf(columns) }).notes[0]).toContain('occurred_at may be null');
  });
});

describe('what is refused', () => {
  const stats = 'views_1h: { count: {}, rolling: 1h, pane: 30s }';
  it.each<[string, string, RegExp]>([
    [
      'a source whose events may lead by more panes than a row has steps for',
      edited(['event_time: occurred_at\n', 'event_time: occurred_at\nmax_skew: 1d\n']),
      /max_skew.*more than 360 panes of 5s.*longer pane/,
    ],
    [
      'a view whose rows could be too long',
      edited([
        'click_count_5min: { count: {}, rolling: 5m }',
        Array.from({ length: 200 }, (_, i) => `n${i}: { count: {}, rolling: 1h, pane: 10s }`).join('\n  '),
      ]),
      /^f\.yaml:\d+:1: View user_clicks: a row .* longer than 1024 KiB.*two views/,
    ],
    [
      'an unknown entity',
      edited(['entity: user\n', 'entity: usr\n']),
      /^f\.yaml:17:1: View user_clicks: there is no entity "usr".*Did you mean "user"/,
    ],
    [
      'an unknown source',
      edited(['source: user_activity', 'source: user_activty']),
      /no source "user_activty".*Did you mean "user_activity"/,
    ],
    [
      'an unknown column',
      edited(['sum: amount', 'sum: amonut']),
      /^f\.yaml:24:3: Feature spend_1h: there is no column "amonut".*Did you mean "amount"/,
    ],
    [
      'an input of a wrong type',
      edited(['sum: amount', 'sum: event_type']),
      /^f\.yaml:24:3: Feature spend_1h: sum takes .*string.*column event_type/,
    ],
    [
      'no input where one is needed',
      edited(['sum: amount', 'sum: {}']),
      /Feature spend_1h: sum needs an input.*Name a column/,
    ],
    [
      'an unknown column in the condition',
      edited(['event_type ==', 'event_tipe ==']),
      /^f\.yaml:21:8: The condition of view user_clicks: .*event_tipe.*line:column 1:1.*Did you mean/,
    ],
    [
      'a condition that is no condition',
      edited(['event_type == "click"', 'event_type']),
      /^f\.yaml:21:8: The condition of view user_clicks must be true or false, but it is string/,
    ],
    [
      'a condition that is no CEL',
      edited(['event_type == "click"', 'event_type = 1']),
      /^f\.yaml:21:8: .*line:column 1:12/,
    ],
    [
      'a type error in a derived column',
      edited(['int(double(amount) * 100.0)', 'amount * 100.0']),
      /^f\.yaml:34:10: Derived column cents of view product_stats/,
    ],
    [
      'a derived column with the name of another',
      edited(['cents: int', 'amount: int']),
      /amount of view product_stats has the name of another column/,
    ],
    [
      'a window that is no multiple of its pane',
      edited([stats, 'views_1h: { count: {}, rolling: 1h, pane: 7s }']),
      /window of 1h is not a whole number of panes of 7s.*pane: 1m/,
    ],
    [
      'too many panes',
      edited([stats, 'views_1h: { count: {}, rolling: 1h, pane: 5s }']),
      /1h in panes of 5s has 720 panes; at most 360.*pane: 10s/,
    ],
    [
      'a window that no default pane divides',
      edited([stats, 'views_1h: { count: {}, rolling: 3153599989s }']),
      /\(the default\) has 3153599989 panes; at most 360/,
    ],
    ['a window of nothing', edited([stats, 'views_1h: { count: {}, rolling: 0s }']), /longer than 0/],
    [
      'a default of another type',
      edited(['sum: amount', 'count: amount'], ['default: 0.00', 'default: none']),
      /^f\.yaml:24:3: .*default is not a value of type int64/,
    ],
    [
      'a fraction for an integer',
      edited(['sum: amount', 'count: amount'], ['default: 0.00', 'default: 0.5']),
      /not a value of type int64/,
    ],
    [
      'an event time of another type',
      edited(['event_time: occurred_at', 'event_time: user_id']),
      /^f\.yaml:11:1: .*"user_id": it is int64, not timestamp.*event_time: occurred_at/,
    ],
    [
      'an event time that is not there',
      edited(['event_time: occurred_at', 'event_time: ocurred_at']),
      /no column "ocurred_at".*event_time: occurred_at/,
    ],
    [
      'a key column that is not there',
      edited(['key: { product_id: sku }\n', '']),
      /no column "product_id" for the key of entity product.*key: \{ product_id:/,
    ],
    [
      'a mapping of no key column',
      edited(['product_id: sku }', 'productid: sku, product_id: sku }']),
      /entity product has no key column "productid"/,
    ],
    [
      'a key of another type',
      edited(['product_id: sku }', 'product_id: id }']),
      /product_id of entity product is string, but column id of source user_activity is int64/,
    ],
    [
      'a mutable source whose old rows do not tell their entity',
      edited(['mode: append', 'mode: mutable']),
      /updated or deleted, the table tells only id of the old row, and not user_id.*ALTER TABLE public.user_activity REPLICA IDENTITY FULL; -- and so for each partition/,
    ],
    [
      'an unknown view in a service',
      edited(['[user_clicks:*', '[user_click:*']),
      /Service recommendations: there is no view "user_click".*Did you mean "user_clicks"/,
    ],
    [
      'an unknown feature in a service',
      edited(['stats:views_1h]', 'stats:views_2h]']),
      /view product_stats has no feature "views_2h".*Did you mean "views_1h"/,
    ],
    ['a service entry that is no feature', edited(['stats:views_1h]', 'stats]']), /"product_stats" names no feature/],
    [
      'a service entry twice',
      edited(['stats:views_1h]', 'stats:views_1h, user_clicks:*]']),
      /lists "user_clicks:\*" twice/,
    ],
    [
      'keys of one name and two types',
      edited(['product_id: string', 'user_id: string'], ['product_id: sku', 'user_id: sku']),
      /key column user_id is int64 in entity user and string in entity product/,
    ],
  ])('%s', (_, text, expected) => {
    expect(problems(text).join('\n')).toMatch(expected);
  });

  it('is no mutable source whose old rows tell everything, or at least the key of their entity', () => {
    const mutable = edited(['mode: append', 'mode: mutable']);
    const withIdentity = (more: Partial<Contract>): Contract => Object.assign(contractOf(), more);
    for (const identity of [
      { replicaIdentity: ReplicaIdentity.FULL },
      { replicaIdentity: ReplicaIdentity.FULL, primaryKey: [] },
      { primaryKey: ['id', 'user_id', 'sku'] },
      { replicaIdentity: ReplicaIdentity.INDEX, replicaIdentityColumns: ['sku', 'user_id', 'id'] },
    ]) {
      const { resolved } = resolve(mutable, { contract: withIdentity(identity) });
      expect(resolved.views.map(({ mode }) => mode)).toEqual([SourceMode.MUTABLE, SourceMode.MUTABLE]);
    }
    for (const identity of [
      { primaryKey: [] },
      { replicaIdentity: ReplicaIdentity.NOTHING, primaryKey: ['user_id', 'sku'] },
      { replicaIdentity: ReplicaIdentity.INDEX, replicaIdentityColumns: ['id'], primaryKey: ['id', 'user_id', 'sku'] },
    ]) {
      expect(() => resolve(mutable, { contract: withIdentity(identity) })).toThrow(
        expect.objectContaining({ remedy: expect.stringContaining('REPLICA IDENTITY FULL') as string }),
      );
    }
  });

  it('may miss large values that did not change, which is told, unless old rows tell everything', () => {
    const mutable = edited(['mode: append', 'mode: mutable']);
    const notesOf = (more: Partial<Contract>): string[] =>
      resolve(mutable, { contract: Object.assign(contractOf(), more) }).notes.filter((note) => note.includes('2 kB'));
    expect(notesOf({ primaryKey: ['id', 'user_id', 'sku'] })).toEqual([
      expect.stringMatching(
        /^View user_clicks: .* in event_type of source user_activity .* REPLICA IDENTITY FULL; \(and so for each partition/,
      ),
    ]);
    expect(notesOf({ replicaIdentity: ReplicaIdentity.FULL })).toEqual([]);
  });

  it('is told all at once', () => {
    const text = edited(
      ['entity: user\n', 'entity: usr\n'],
      ['int(double(amount) * 100.0)', 'nothing'],
      ['stats:views_1h]', 'stats:x]'],
    );
    // The view of the unknown entity is left out, so that what depends on it does not add to the noise.
    expect(problems(text).map((problem) => problem.split(':')[1])).toEqual(['17', '34', '37', '39']);
  });

  it('includes two views that compute the same', () => {
    const copy = STOREFRONT.slice(
      STOREFRONT.indexOf('kind: FeatureView'),
      STOREFRONT.indexOf('---\nkind: FeatureView\nname: product'),
    );
    const text = `${STOREFRONT}---\n${copy.replace('user_clicks', 'other_clicks')}`;
    expect(problems(text).join('\n')).toMatch(/Views user_clicks and other_clicks compute the same/);
  });

  it('includes a used source whose table is not known', () => {
    const definitions = parseDefinitions([{ path: 'f.yaml', text: STOREFRONT }]);
    const told = problemsOf(() => resolveDefinitions({ definitions, contracts: new Map(), previous: undefined }));
    expect(told).toEqual([expect.stringMatching(/^f\.yaml:11:1: The shape of source user_activity is not known/)]);
  });

  it('includes what no YAML can say', () => {
    const definitions = parseDefinitions([{ path: 'f.yaml', text: STOREFRONT }]);
    definitions.entities[0]!.key[0]!.kind = Kind.VECTOR;
    (definitions.sources[0]!.origin.value as { table: string }).table = '';
    definitions.views[0]!.features[0]!.aggregate = 'median';
    definitions.views[0]!.features[0]!.ttlUs = 2n ** 62n;
    definitions.views.push(clone(DefinitionsSchema, definitions).views[0]!);
    const told = problemsOf(() => resolveMessage(definitions)).join('\n');
    for (const text of [
      'cannot be of type vector',
      'no aggregate "median"',
      'longer than 36500d',
      'defined twice',
      'database, schema and table',
    ]) {
      expect(told).toContain(text);
    }
  });
});

describe('a view id', () => {
  const before = resolve(STOREFRONT);

  it.each<[string, string, Options]>([
    [
      'names of view, source and entity',
      edited(
        ['name: user\n', 'name: person\n'],
        ['entity: user\n', 'entity: person\n'],
        ['name: user_activity', 'name: activity'],
        ['source: user_activity', 'source: activity'],
        ['source: user_activity', 'source: activity'],
      ),
      {},
    ],
    [
      'the order of features',
      edited(
        ['  click_count_5min: { count: {}, rolling: 5m }\n', ''],
        ['closed: true }\n', 'closed: true }\n  click_count_5min: { count: {}, rolling: 5m }\n'],
      ),
      {},
    ],
    [
      'a default that is written out',
      edited(['rolling: 5m', 'rolling: 300s, pane: 5s'], ['event_time:', 'max_skew: 5s\nevent_time:']),
      {},
    ],
    ['prose', edited(['rolling: 5m', 'rolling: 5m, description: of late']), {}],
    [
      'columns that it does not read',
      STOREFRONT,
      { contract: contractOf([column('new', Kind.BOOL), ...ACTIVITY_COLUMNS]) },
    ],
    [
      'nullability and length of columns',
      STOREFRONT,
      { contract: contractOf(ACTIVITY_COLUMNS.map((c) => ({ ...c, nullable: true, sourceType: 'varchar(40)' }))) },
    ],
    ['the route number', STOREFRONT, { highestRoute: 40 }],
  ])('does not depend on %s', (_, text, options) => {
    expect(idOf(resolve(text, options), 'user_clicks')).toBe(idOf(before, 'user_clicks'));
  });

  it.each<[string, string, Options]>([
    ['the condition', edited(['"click"', '"view"']), {}],
    ['a window', edited(['rolling: 5m', 'rolling: 10m']), {}],
    ['a pane', edited(['rolling: 5m', 'rolling: 5m, pane: 1s']), {}],
    ['a default', edited(['default: 0.00', 'default: 0']), {}],
    ['a ttl', edited(['ttl: 30d', 'ttl: 31d']), {}],
    ['the name of a feature', edited(['click_count_5min', 'click_count']), {}],
    ['the event time', edited(['event_time: occurred_at\n', '']), {}],
    ['max_skew', edited(['event_time:', 'max_skew: 6s\nevent_time:']), {}],
    ['the table', edited(['public.user_activity', 'other.user_activity']), {}],
    [
      'the type of a column it reads',
      STOREFRONT,
      { contract: contractOf(ACTIVITY_COLUMNS.map((c) => (c.name === 'amount' ? column('amount', Kind.DOUBLE) : c))) },
    ],
    ['the key', edited(['key: { user_id: int64 }', 'key: { id: int64 }']), {}],
  ])('depends on %s', (_, text, options) => {
    const after = resolve(text.replace('double(amount)', 'double(score)'), options);
    expect(idOf(after, 'user_clicks')).not.toBe(idOf(before, 'user_clicks'));
  });

  it('stays what it was when this was written', () => {
    // Ids are at rest in every store: a change of this line makes every deployment fold all its views anew.
    expect(idOf(before, 'user_clicks')).toBe('add2fa202fc8daaab84bf795b3d0baaa');
  });
});

describe('routes', () => {
  const before = resolve(STOREFRONT);

  it('keep their numbers whatever they are called and in whatever order', () => {
    const [entities, ...rest] = STOREFRONT.split('---\nkind: FeatureView');
    const text = [entities, rest[1]!.split('---\n')[0]!, `${rest[0]!.trimEnd()}\n---\n${rest[1]!.split('---\n')[1]!}`]
      .join('---\nkind: FeatureView')
      .replaceAll('user_activity', 'activity')
      .replace('public.activity', 'public.user_activity');
    const after = resolve(text, { previous: before.resolved, highestRoute: 2 });
    expect(after.highestRoute).toBe(2);
    expect(viewOf(after, 'user_clicks').route).toBe(1);
    expect(viewOf(after, 'product_stats').route).toBe(2);
  });

  it('never take a number that was used, not even their own after they were gone', () => {
    const without = resolve('', { previous: before.resolved, highestRoute: before.highestRoute });
    const again = resolve(STOREFRONT, { previous: without.resolved, highestRoute: without.highestRoute });
    expect(again.resolved.routes.map(({ route }) => route)).toEqual([3, 4]);
    expect(again.highestRoute).toBe(4);
  });

  it('are other routes with another key, event time or max_skew', () => {
    const other = resolve(edited(['event_time:', 'max_skew: 6s\nevent_time:']), { previous: before.resolved });
    expect(other.resolved.routes.map(({ route }) => route)).toEqual([3, 4]);
  });

  it('keep their number when the table changes, and the contract takes the next version', () => {
    const added = contractOf([...ACTIVITY_COLUMNS, column('channel', Kind.STRING)]);
    const after = resolve(STOREFRONT, { previous: before.resolved, contract: added });
    expect(after.changed).toBe(true);
    expect(after.resolved.routes.map(({ route, source }) => [route, source?.contract?.version])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(idOf(after, 'user_clicks')).toBe(idOf(before, 'user_clicks'));
    expect(after.notes.join('\n')).toContain('column channel added');
    const same = resolve(STOREFRONT, { previous: after.resolved, contract: added });
    expect(same.resolved.routes[0]?.source?.contract?.version).toBe(2);
    expect(same.changed).toBe(false);
  });
});
