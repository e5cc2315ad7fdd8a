/**
 * Goal: GetFeatures answers what the rows say at one time, and tells callers exactly what is wrong with a request.
 * Method: the handler over rows written down here, with a clock moved by hand; answers are decoded by protobuf-es.
 */
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  type EntityKeysSchema,
  GetFeaturesRequestSchema,
  type GetFeaturesResponse,
  GetFeaturesResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { ViewTable } from '@freshet/replica/view-table.ts';
import { describe, expect, it } from 'vitest';
import type { FeatureSource } from './get-features.ts';
import { Selections } from './selection.ts';
import { handClock, handlerAtOnce, testSource } from './source.testing.ts';

const SECOND = 1_000_000n;
const { PRESENT, ABSENT, DEFAULTED, OUT_OF_RANGE } = ValueStatus;

const clicks: ViewPlan = create(ViewPlanSchema, {
  viewId: new Uint8Array(16).fill(1),
  name: 'clicks',
  entity: { name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] },
  features: [
    {
      name: 'count_5min',
      aggregate: 'count',
      window: { kind: { case: 'rolling', value: { lengthUs: 300n * SECOND, paneUs: 5n * SECOND } } },
      resultType: { kind: Kind.INT64 },
    },
    {
      name: 'last_page',
      aggregate: 'last',
      inputType: { kind: Kind.STRING },
      window: { kind: { case: 'lifetime', value: {} } },
      resultType: { kind: Kind.STRING },
      defaultValue: { kind: { case: 'string', value: '/home' } },
    },
    {
      name: 'spend',
      aggregate: 'sum',
      inputType: { kind: Kind.INT64 },
      window: { kind: { case: 'lifetime', value: {} } },
      resultType: { kind: Kind.INT64 },
    },
  ],
});

const products: ViewPlan = create(ViewPlanSchema, {
  viewId: new Uint8Array(16).fill(2),
  name: 'products',
  entity: {
    name: 'product',
    key: [
      { name: 'shop', kind: Kind.STRING },
      { name: 'sku', kind: Kind.STRING },
    ],
  },
  features: [
    {
      name: 'max_price',
      aggregate: 'max',
      inputType: { kind: Kind.DOUBLE },
      window: { kind: { case: 'lifetime', value: {} } },
      resultType: { kind: Kind.DOUBLE },
    },
  ],
});

const definitions: DefinitionSet = create(DefinitionSetSchema, {
  generation: 3n,
  views: [clicks, products],
  services: [
    {
      name: 'recommendations',
      features: [
        { output: 'clicks:spend', viewId: clicks.viewId, feature: 2 },
        { output: 'clicks:count_5min', viewId: clicks.viewId, feature: 0 },
        { output: 'price', viewId: products.viewId, feature: 0 },
      ],
    },
  ],
});

/** count: 7 until 1,000 s, 2 until 2,000 s, then 0. */
const row7 = {
  version: 41n,
  logTimeUs: 900n * SECOND,
  eventTimeUs: 899n * SECOND,
  timelines: [
    { unitUs: SECOND, firstStep: 1000n, gaps: [1000n], hasSteps: true, columns: [{ int64s: [7n, 2n, 0n] }] },
    {
      unitUs: 1n,
      columns: [{ strings: ['/cart'] }, { int64s: [9_223_372_036_854_775_807n] }],
    },
  ],
};

const overflowing = {
  version: 50n,
  logTimeUs: 900n * SECOND,
  timelines: [
    { unitUs: SECOND, columns: [{ int64s: [1n] }] },
    {
      unitUs: 1n,
      columns: [
        { strings: [''], statuses: [ABSENT] },
        { int64s: [0n], statuses: [OUT_OF_RANGE] },
      ],
    },
  ],
};

const source: FeatureSource = testSource(definitions, [
  { view: clicks, key: [7n], row: row7 },
  { view: clicks, key: [-3n], row: overflowing },
  {
    view: products,
    key: ['north', 'a-1'],
    row: { version: 2n, timelines: [{ unitUs: 1n, columns: [{ doubles: [2.5] }] }] },
  },
]);

function reader(nowUs: number, from: FeatureSource = source) {
  const clock = handClock(nowUs);
  const handler = handlerAtOnce(from, clock);
  return {
    clock,
    get: (request: MessageInitShape<typeof GetFeaturesRequestSchema>): GetFeaturesResponse =>
      fromBinary(
        GetFeaturesResponseSchema,
        handler(toBinary(GetFeaturesRequestSchema, create(GetFeaturesRequestSchema, request))),
      ),
  };
}

function ids(...values: bigint[]): MessageInitShape<typeof EntityKeysSchema>[] {
  return [{ name: 'user_id', values: { case: 'int64s', value: { values } } }];
}

function texts(name: string, ...values: string[]) {
  return { name, values: { case: 'strings' as const, value: { values } } };
}

describe('GetFeatures', () => {
  it('R2: answers all features of all entities at one time, with versions and event times when asked', () => {
    const answer = reader(950e6).get({ features: ['clicks:*'], keys: ids(7n, 8n, -3n), rowInfo: true });
    expect(answer.columns.map((column) => column.name)).toEqual([
      'clicks:count_5min',
      'clicks:last_page',
      'clicks:spend',
    ]);
    const [count, page, spend] = answer.columns.map((column) => column.values);
    expect(count).toMatchObject({ int64s: [7n, 0n, 1n], statuses: [] });
    expect(page).toMatchObject({ strings: ['/cart', '/home', '/home'], statuses: [PRESENT, DEFAULTED, DEFAULTED] });
    expect(spend).toMatchObject({ int64s: [2n ** 63n - 1n, 0n, 0n], statuses: [PRESENT, ABSENT, OUT_OF_RANGE] });
    expect(answer.asOfUs).toBe(950n * SECOND);
    expect(answer.rows).toMatchObject([
      { view: 'clicks', versionsPlusOne: [42n, 0n, 51n], eventTimesUs: [899n * SECOND, 0n, 0n] },
    ]);
  });

  it('F2: windows fall to zero by the clock alone, with nothing upstream', () => {
    const { clock, get } = reader(0);
    const count = (us: number): bigint | undefined => {
      clock.us = us;
      return get({ features: ['clicks:count_5min'], keys: ids(7n) }).columns[0]?.values?.int64s[0];
    };
    // Before the row's log time it is answered as of that time.
    expect([0, 899e6, 999_999_999, 1000e6, 1999_999_999, 2000e6, 9e15].map(count)).toEqual([
      7n,
      7n,
      7n,
      2n,
      2n,
      0n,
      0n,
    ]);
  });

  it('reads a service over several entities by the key columns of all of them', () => {
    const keys = [...ids(7n), texts('sku', 'a-1'), texts('shop', 'north')];
    const answer = reader(950e6).get({ service: 'recommendations', keys });
    expect(answer.columns.map(({ name, values }) => [name, values?.int64s[0] ?? values?.doubles[0]])).toEqual([
      ['clicks:spend', 2n ** 63n - 1n],
      ['clicks:count_5min', 7n],
      ['price', 2.5],
    ]);
  });

  it('R1: says the least completeness over the shards of the keys', () => {
    const { get } = reader(950e6);
    const through = (...keys: bigint[]): bigint =>
      get({ features: ['clicks:spend'], keys: ids(...keys) }).completeThroughUs;
    const each = Array.from({ length: 40 }, (_, id) => through(BigInt(id)));
    expect(new Set(each)).toEqual(new Set([1000n, 1001n, 1002n, 1003n]));
    expect(through(...Array.from({ length: 40 }, (_, id) => BigInt(id)))).toBe(1000n);
    expect(through()).toBe(1000n);
  });

  it('R3: is UNAVAILABLE for keys of a shard whose rows the disk lost, and for no others', () => {
    const { views, services, ...catalog } = source.catalog;
    const lostShard = 2;
    const harmed = new Map(
      [...views].map(([name, view]) => {
        const tables = view.tables.map((table, shard) => (shard === lostShard ? ViewTable.lost(table.viewId) : table));
        return [name, { ...view, tables }];
      }),
    );
    const { get } = reader(950e6, { ...source, catalog: { ...catalog, services, views: harmed } });
    const answers = Array.from({ length: 40 }, (_, id) => {
      try {
        return String(get({ features: ['clicks:spend'], keys: ids(BigInt(id)) }).completeThroughUs);
      } catch (error) {
        return (error as FreshetError).code;
      }
    });
    expect(new Set(answers)).toEqual(new Set(['1000', '1001', 'UNAVAILABLE', '1003']));
    expect(() => get({ features: ['clicks:spend'], keys: ids(0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n) })).toThrow(
      expect.objectContaining({ code: 'UNAVAILABLE' }),
    );
  });

  it('answers no entities with empty columns', () => {
    const answer = reader(950e6).get({ features: ['clicks:spend'], keys: ids() });
    expect(answer.columns).toMatchObject([{ name: 'clicks:spend', values: { int64s: [], statuses: [] } }]);
  });
});

it('R4: lists of features are remembered only as far as they have so many outputs together', () => {
  const selections = new Selections();
  const names = ['clicks:spend', 'clicks:count_5min', 'clicks:last_page'];
  let most = 0;
  for (let i = 0; i < 500; i++) {
    const list = Array.from({ length: 480 }, (_, at) => names[(i >> (at % 9)) % 3] ?? '');
    const selection = selections.select(source.catalog, '', list);
    expect(selections.select(source.catalog, '', list)).toBe(selection);
    most = Math.max(most, selections.listedOutputs);
  }
  expect(most).toBeGreaterThan(10_000);
  expect(most).toBeLessThanOrEqual(50_000);
});

describe('a bad request', () => {
  const fails = (request: MessageInitShape<typeof GetFeaturesRequestSchema>, from?: FeatureSource): FreshetError => {
    try {
      reader(950e6, from).get(request);
    } catch (error) {
      return error as FreshetError;
    }
    throw new Error('the request was answered');
  };

  it('names what is unknown and what was meant', () => {
    expect(fails({ service: 'recomendations', keys: [] })).toMatchObject({
      code: 'UNKNOWN_SERVICE',
      message: 'there is no feature service "recomendations"',
      remedy: expect.stringContaining('did you mean "recommendations"?'),
    });
    expect(fails({ features: ['clicks:count_5mn'], keys: ids(1n) })).toMatchObject({
      code: 'UNKNOWN_FEATURE',
      message: 'the view "clicks" has no feature "count_5mn"',
      remedy: expect.stringContaining('did you mean "count_5min"?'),
    });
    expect(fails({ features: ['click:spend'], keys: ids(1n) })).toMatchObject({
      code: 'UNKNOWN_FEATURE',
      remedy: expect.stringContaining('did you mean "clicks"?'),
    });
    expect(fails({ features: ['spend'], keys: ids(1n) })).toMatchObject({ code: 'UNKNOWN_FEATURE' });
    expect(fails({ features: ['clicks:spend'], service: 'recommendations', keys: ids(1n) })).toMatchObject({
      code: 'INVALID_REQUEST',
      place: 'features',
    });
    expect(fails({ keys: ids(1n) })).toMatchObject({ code: 'INVALID_REQUEST', place: 'service' });
  });

  it('WRONG_KEY names the column, what is expected and what was sent', () => {
    const features = ['clicks:spend'];
    const cases: [MessageInitShape<typeof GetFeaturesRequestSchema>, string, string][] = [
      [{ features, keys: [] }, 'keys.user_id', 'the key column "user_id" is missing'],
      [{ features, keys: [texts('user_id', '7')] }, 'keys.user_id', 'of kind int64, but strings were sent'],
      [{ features, keys: [texts('userid', '7')] }, 'keys.userid', '"userid" is not a key column'],
      [{ features, keys: [...ids(1n), ...ids(2n)] }, 'keys.user_id', 'given twice'],
      [{ features, keys: [{ name: 'user_id' }] }, 'keys.user_id', 'has no values'],
      [
        { features: ['products:*'], keys: [texts('shop', 'a', 'b'), texts('sku', 'c')] },
        'keys.sku',
        'has 1 values, but "shop" has 2',
      ],
      [
        { features: ['products:*'], keys: [texts('shop', 'a'), texts('sku', 'x'.repeat(3000))] },
        'keys.sku',
        'longer than 2048 bytes',
      ],
    ];
    for (const [request, place, message] of cases) {
      const error = fails(request);
      expect(error).toMatchObject({ code: 'WRONG_KEY', place, message: expect.stringContaining(message) });
      expect(error.remedy).not.toBe('');
    }
    expect(fails({ features, keys: [texts('userid', '7')] }).remedy).toBe('did you mean "user_id"?');
  });

  it('REQUEST_TOO_LARGE names the limit', () => {
    const many = (count: number) => ids(...Array.from({ length: count }, (_, i) => BigInt(i)));
    expect(reader(0).get({ features: ['clicks:spend'], keys: many(1000) }).columns[0]?.values?.int64s).toHaveLength(
      1000,
    );
    expect(fails({ features: ['clicks:spend'], keys: many(1001) })).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: 'the request has 1001 entities; the limit is 1000',
    });
    expect(fails({ features: new Array<string>(501).fill('clicks:spend'), keys: many(1) })).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: 'the request has 501 features; the limit is 500',
    });
    expect(fails({ features: new Array<string>(200).fill('clicks:*'), keys: many(1) })).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: 'the request has 600 features; the limit is 500',
    });
    expect(fails({ features: new Array<string>(51).fill('clicks:spend'), keys: many(1000) })).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: 'the request has 51000 values (entities × features); the limit is 50000',
    });
    expect(fails({ service: 'x'.repeat(10 * 1024 * 1024) })).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: expect.stringContaining('the limit is 1048576'),
    });
  });

  it('R4: an answer that would be too large is refused, and leaves nothing behind in the next', () => {
    const page = 'p'.repeat(65_536);
    const row = {
      version: 1n,
      timelines: [{ columns: [{ int64s: [1n] }] }, { columns: [{ strings: [page] }, { int64s: [1n] }] }],
    };
    const large = testSource(definitions, [{ view: clicks, key: [1n], row }]);
    const pages = (count: number) => ({
      features: new Array<string>(count).fill('clicks:last_page'),
      keys: ids(...new Array<bigint>(10).fill(1n)),
    });
    const { get } = reader(0, large);
    const before = get(pages(2));
    expect(before.columns[1]?.values?.strings).toEqual(new Array<string>(10).fill(page));
    expect(fails(pages(500), large)).toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: expect.stringMatching(/has \d+ bytes to be answered with; the limit is 67108864$/),
      remedy: expect.stringContaining('fewer'),
    });
    expect(() => get(pages(500))).toThrow();
    expect(get(pages(2))).toEqual(before);
    expect(get(pages(100)).columns).toHaveLength(100);
  });

  it('garbage is INVALID_REQUEST, whatever it is', () => {
    const handler = handlerAtOnce(source, handClock(0));
    const call = (bytes: Buffer): void => {
      handler(bytes);
    };
    expect(() => call(Buffer.from([0x0a, 0x7f]))).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => call(Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
    expect(() => call(Buffer.alloc(20, 0xff))).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
  });

  it('is UNAVAILABLE as long as there are no definitions, or the service is still being built', () => {
    const nothing: FeatureSource = { ...testSource(definitions, [], 0), definitions: undefined };
    expect(fails({ service: 'recommendations' }, nothing)).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    const building: FeatureSource = {
      ...source,
      catalog: {
        ...source.catalog,
        services: new Map(),
        views: new Map(),
        pending: new Set(['service recommendations', 'view clicks']),
      },
    };
    expect(fails({ service: 'recommendations' }, building)).toMatchObject({ code: 'UNAVAILABLE' });
    expect(fails({ features: ['clicks:spend'] }, building)).toMatchObject({ code: 'UNAVAILABLE' });
  });
});
