/**
 * Goal: a call with on-demand features is checked, computed and bounded: wrong request data is told by field, failures are
 * counted, and a large call lets others run, ends with its caller, and mixes with nothing that happens meanwhile. Method:
 * a source of definitions and rows; a clock that says how much time every look at it took. (What expressions give:
 * test/differential/on-demand.fuzz.test.ts.)
 */
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  type EntityKeysSchema,
  GetFeaturesRequestSchema,
  type GetFeaturesResponse,
  GetFeaturesResponseSchema,
  type GetFeaturesRequestSchema as Request,
  type RequestColumnSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { createFeatureHandler, type FeatureSource } from './get-features.ts';
import { OnDemandErrorCounts } from './on-demand-errors.ts';
import { handClock, testSource } from './source.testing.ts';

const { PRESENT, ABSENT } = ValueStatus;
const USERS = 1000;

const view: ViewPlan = create(ViewPlanSchema, {
  viewId: new Uint8Array(16).fill(1),
  name: 'clicks',
  entity: { name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] },
  features: [
    {
      name: 'n',
      aggregate: 'sum',
      inputType: { kind: Kind.INT64 },
      window: { kind: { case: 'lifetime', value: {} } },
      resultType: { kind: Kind.INT64 },
    },
  ],
});

const stored = { name: 'n', type: { kind: Kind.INT64 }, source: { case: 'feature', value: 0 } } as const;
const request = (name: string, value: number, kind: Kind, element: Kind = Kind.UNSPECIFIED) =>
  ({ name, type: { kind, element }, source: { case: 'request', value } }) as const;

const definitions: DefinitionSet = create(DefinitionSetSchema, {
  generation: 1n,
  views: [view],
  services: [
    {
      name: 'plain',
      features: [{ output: 'clicks:n', viewId: view.viewId, feature: 0 }],
    },
    {
      name: 'risk',
      features: [{ output: 'clicks:n', viewId: view.viewId, feature: 0 }],
      request: [{ name: 'cart', type: { kind: Kind.DOUBLE } }],
      onDemand: [
        {
          name: 'ratio',
          expression: 'cart / double(n)',
          inputs: [request('cart', 0, Kind.DOUBLE), stored],
          type: { kind: Kind.DOUBLE },
        },
        { name: 'rest', expression: '100 / (n - 3)', inputs: [stored], type: { kind: Kind.INT64 } },
      ],
    },
    {
      name: 'texts',
      features: [{ output: 'clicks:n', viewId: view.viewId, feature: 0 }],
      request: [{ name: 'text', type: { kind: Kind.STRING } }],
      onDemand: [
        {
          name: 'long',
          expression: 'text + text',
          inputs: [request('text', 0, Kind.STRING)],
          type: { kind: Kind.STRING },
        },
        {
          name: 'slow',
          expression: 'text.matches("(a|b)+c")',
          inputs: [request('text', 0, Kind.STRING)],
          type: { kind: Kind.BOOL },
        },
      ],
    },
    {
      name: 'copies',
      features: [{ output: 'clicks:n', viewId: view.viewId, feature: 0 }],
      request: [{ name: 'text', type: { kind: Kind.STRING } }],
      onDemand: ['one', 'two'].map((name) => ({
        name,
        expression: 'text',
        inputs: [request('text', 0, Kind.STRING)],
        type: { kind: Kind.STRING },
      })),
    },
    {
      name: 'kinds',
      features: [{ output: 'clicks:n', viewId: view.viewId, feature: 0 }],
      request: [
        { name: 'i', type: { kind: Kind.INT64 } },
        { name: 'd', type: { kind: Kind.DOUBLE } },
        { name: 'm', type: { kind: Kind.DECIMAL } },
        { name: 't', type: { kind: Kind.TIMESTAMP } },
        { name: 'l', type: { kind: Kind.LIST, element: Kind.INT64 } },
      ],
      onDemand: [
        {
          name: 'all',
          expression: 'string(i) + " " + string(d) + " " + string(m) + " " + string(int(t)) + " " + string(size(l))',
          inputs: [
            request('d', 1, Kind.DOUBLE),
            request('i', 0, Kind.INT64),
            request('l', 4, Kind.LIST, Kind.INT64),
            request('m', 2, Kind.DECIMAL),
            request('t', 3, Kind.TIMESTAMP),
          ],
          type: { kind: Kind.STRING },
        },
      ],
    },
  ],
});

function sourceOf(value: (user: number) => number): FeatureSource {
  const rows = Array.from({ length: USERS }, (_, user) => ({
    view,
    key: [BigInt(user)],
    row: { version: BigInt(user), timelines: [{ unitUs: 1n, columns: [{ int64s: [BigInt(value(user))] }] }] },
  }));
  return testSource(definitions, rows);
}

const source = sourceOf((user) => user);

type Init = MessageInitShape<typeof Request>;
type Column = MessageInitShape<typeof RequestColumnSchema>;

/** A handler; `stepUs` is what passes between two looks at the clock. */
function reader(from: FeatureSource, stepUs = 0) {
  const clock = handClock(1e15);
  const errors = new OnDemandErrorCounts();
  const turns: (() => void)[] = [];
  const handler = createFeatureHandler(from, {
    clock: { ...clock, nowUs: () => 1e15, monotonicUs: () => (clock.us += stepUs) },
    yieldNow: () => new Promise<void>((resolve) => turns.push(resolve)),
    errors,
  });
  const call = (init: Init, signal?: AbortSignal): Buffer | Promise<Buffer> => {
    const bytes = Buffer.from(toBinary(GetFeaturesRequestSchema, create(GetFeaturesRequestSchema, init)));
    return handler(bytes, signal === undefined ? undefined : { signal });
  };
  const decode = (bytes: Buffer): GetFeaturesResponse => fromBinary(GetFeaturesResponseSchema, bytes);
  const get = (init: Init): GetFeaturesResponse => {
    const answer = call(init);
    if (answer instanceof Promise) throw new Error('answered in turns');
    return decode(answer);
  };
  return { call, get, decode, turns, errors };
}

const users = (...values: number[]): MessageInitShape<typeof EntityKeysSchema>[] => [
  { name: 'user_id', values: { case: 'int64s', value: { values: values.map(BigInt) } } },
];
const everyone = Array.from({ length: USERS }, (_, user) => user);
const cart = (doubles: number[], statuses?: ValueStatus[]): Column => ({
  name: 'cart',
  values: { doubles, ...(statuses === undefined ? {} : { statuses }) },
});

describe('on-demand features of a call', () => {
  it('are further columns, computed from request data by entity or for all, and counted when they fail', () => {
    const { get, errors } = reader(source);
    const each = get({ service: 'risk', keys: users(1, 2, 3), request: [cart([5, 0, 9], [PRESENT, ABSENT, PRESENT])] });
    expect(each.columns.map(({ name }) => name)).toEqual(['clicks:n', 'ratio', 'rest']);
    expect(each.columns[1]?.values).toMatchObject({ doubles: [5, 0, 3], statuses: [PRESENT, ABSENT, PRESENT] });
    expect(each.columns[2]?.values).toMatchObject({ int64s: [-50n, -100n, 0n], statuses: [PRESENT, PRESENT, ABSENT] });
    const all = get({ service: 'risk', keys: users(1, 2), request: [cart([5])] });
    expect(all.columns[1]?.values).toMatchObject({ doubles: [5, 2.5], statuses: [] });
    expect(errors.list()).toMatchObject([
      { service: 'risk', feature: 'ratio', errors: 1, lastError: expect.stringContaining('overload') },
      { service: 'risk', feature: 'rest', errors: 1, lastError: expect.stringContaining('zero') },
    ]);
  });

  it('are answered for no entities, and a service without them asks for none', () => {
    const { get } = reader(source);
    expect(get({ service: 'risk', keys: users(), request: [cart([5])] }).columns[1]).toMatchObject({
      name: 'ratio',
      values: { doubles: [] },
    });
    expect(get({ service: 'plain', keys: users(4) }).columns).toHaveLength(1);
  });

  it('take what is exactly the same value from another list', () => {
    const { get } = reader(source);
    const columns: Column[] = [
      { name: 'i', values: { doubles: [7] } },
      { name: 'd', values: { int64s: [8n] } },
      { name: 'm', values: { strings: ['01.50'] } },
      { name: 't', values: { int64s: [9_000_000n] } },
      { name: 'l', values: { lists: [{ elements: [{ kind: { case: 'int64', value: 1n } }, {}] }] } },
    ];
    const answer = get({ service: 'kinds', keys: users(1), request: columns });
    expect(answer.columns[1]?.values?.strings).toEqual(['7 8 1.50 9 2']);
  });
});

describe('wrong request data', () => {
  const fails = (service: string, columns: Column[], keys = users(1, 2)): FreshetError => {
    try {
      reader(source).get({ service, keys, request: columns });
    } catch (error) {
      return error as FreshetError;
    }
    throw new Error('the request was answered');
  };

  it.each<[string, Column[], string, RegExp]>([
    ['missing', [], 'cart', /"cart" is missing/],
    ['unknown', [cart([1]), { name: 'card', values: { doubles: [1] } }], 'card', /is no request data/],
    ['doubled', [cart([1]), cart([1])], 'cart', /given twice/],
    [
      'of another type',
      [{ name: 'cart', values: { strings: ['1'] } }],
      'cart',
      /of type double, but for entity 0 strings were/,
    ],
    ['of two types', [{ name: 'cart', values: { doubles: [1], strings: ['1'] } }], 'cart', /has doubles and strings/],
    ['an integer that no double is', [{ name: 'cart', values: { int64s: [2n ** 60n] } }], 'cart', /int64s were sent/],
    ['of another length', [cart([1, 2, 3])], 'cart', /has 3 values, but 2 entities/],
    ['without values', [{ name: 'cart' }], 'cart', /has 0 values/],
    ['with statuses for others', [cart([1, 2], [PRESENT])], 'cart', /2 values, but 1 statuses/],
    ['present without a value', [cart([], [PRESENT, ABSENT])], 'cart', /entity 0 no value was sent/],
  ])('%s', (_, columns, place, message) => {
    const error = fails('risk', columns);
    expect(error).toMatchObject({ code: 'WRONG_REQUEST_DATA', place: `request.${place}` });
    expect(error.message).toMatch(message);
    expect(error.remedy).not.toBe('');
  });

  it('to a service that takes none, or to features', () => {
    expect(fails('plain', [cart([1])])).toMatchObject({
      code: 'WRONG_REQUEST_DATA',
      remedy: 'it takes no request data',
    });
    const features = (): unknown =>
      reader(source).get({ features: ['clicks:n'], keys: users(1), request: [cart([1])] });
    expect(features).toThrow(expect.objectContaining({ code: 'WRONG_REQUEST_DATA' }));
    expect(fails('risk', [{ name: 'carts', values: { doubles: [1] } }]).remedy).toContain('did you mean "cart"?');
  });

  it('nulls need no list', () => {
    const { get } = reader(source);
    const answer = get({ service: 'risk', keys: users(1, 2), request: [cart([], [ABSENT, ABSENT])] });
    expect(answer.columns[1]?.values?.statuses).toEqual([ABSENT, ABSENT]);
  });

  it('R4: a decimal with an exponent, which could be of any length', () => {
    const columns: Column[] = ['i', 'd', 't'].map((name) => ({ name, values: { int64s: [1n] } }));
    const list: Column = { name: 'l', values: { lists: [{}] } };
    const decimal = (text: string): Column => ({ name: 'm', values: { decimals: [text] } });
    expect(fails('kinds', [...columns, list, decimal('1e100000')])).toMatchObject({ place: 'request.m' });
    expect(fails('kinds', [...columns, list, decimal('x')])).toMatchObject({ place: 'request.m' });
    expect(
      reader(source).get({ service: 'kinds', keys: users(1), request: [...columns, list, decimal('-0.5')] }),
    ).toBeDefined();
  });

  it('R4: too many columns, or bytes that are none', () => {
    expect(fails('risk', new Array<Column>(101).fill(cart([1])))).toMatchObject({ code: 'REQUEST_TOO_LARGE' });
    const handler = createFeatureHandler(source, { clock: handClock(0), yieldNow: () => Promise.resolve() });
    expect(() => handler(Buffer.from([0x2a, 2, 0x0a, 9]))).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
  });
});

describe('a large call', () => {
  const risk: Init = { service: 'risk', keys: users(...everyone), request: [cart([60])] };

  it('lets others run in between, and answers the same', async () => {
    const expected = reader(source).get(risk);
    const { call, decode, turns, get } = reader(source, 600);
    const answer = call(risk);
    expect(answer).toBeInstanceOf(Promise);
    let count = 0;
    while (turns.length > 0) {
      // A small call comes in between, and takes nothing of what the large one has in hand.
      const small = get({ service: 'plain', keys: users(7) });
      expect(small.columns[0]?.values?.int64s).toEqual([7n]);
      count += 1;
      turns.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(count).toBeGreaterThan(3);
    expect(decode(await answer)).toEqual(expected);
  });

  it('two at once answer each its own', async () => {
    const { call, decode, turns } = reader(source, 600);
    const calls = [60, 120].map(async (total) => call({ ...risk, request: [cart([total])] }));
    while (turns.length > 0) {
      turns.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [first, second] = (await Promise.all(calls)).map((bytes) => decode(bytes).columns[1]?.values?.doubles);
    expect([first?.[30], second?.[30]]).toEqual([2, 4]);
  });

  it('of stored features only has turns too', async () => {
    const list = Array.from({ length: 50 }, () => 'clicks:n');
    const { call, decode, turns } = reader(source, 600);
    const answer = call({ features: list, keys: users(...everyone) });
    expect(answer).toBeInstanceOf(Promise);
    while (turns.length > 0) {
      turns.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(decode(await answer).columns[49]?.values?.int64s[999]).toBe(999n);
  });

  it('R4: no more than four go on at a time, and all are answered', async () => {
    const { call, decode, turns } = reader(source, 600);
    const calls = Array.from({ length: 9 }, async (_, i) => call({ ...risk, request: [cart([30 * i])] }));
    let most = 0;
    await new Promise((resolve) => setImmediate(resolve));
    while (turns.length > 0) {
      most = Math.max(most, turns.length);
      for (const turn of turns.splice(0)) turn();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(most).toBe(4);
    const values = (await Promise.all(calls)).map((bytes) => decode(bytes).columns[1]?.values?.doubles[30]);
    expect(values).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('ends with its caller', async () => {
    const { call, turns } = reader(source, 600);
    const controller = new AbortController();
    const answer = call(risk, controller.signal) as Promise<Buffer>;
    controller.abort(new Error('the caller cancelled'));
    turns.shift()?.();
    await expect(answer).rejects.toThrow('the caller cancelled');
    expect(turns).toEqual([]);
  });

  it('R2 R3: reads all again when other tables are served meanwhile', async () => {
    const changing = { ...source };
    const { call, decode, turns } = reader(changing, 600);
    const answer = call({ features: new Array<string>(50).fill('clicks:n'), keys: users(...everyone) });
    turns.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    // The old tables are emptied, as a replica frees what it no longer serves.
    const other = sourceOf((user) => user + 5000);
    for (const { tables } of changing.catalog.views.values()) for (const table of tables) table.rows.clear();
    Object.assign(changing, { catalog: other.catalog });
    while (turns.length > 0) {
      turns.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const values = decode(await answer).columns[0]?.values?.int64s ?? [];
    expect([values[0], values[999]]).toEqual([5000n, 5999n]);
  });
});

describe('R4: what on-demand features of one call may cost', () => {
  const all = users(...everyone);
  const text = (length: number): Column => ({ name: 'text', values: { strings: ['a'.repeat(length)] } });

  it('is bounded', () => {
    const { get } = reader(source);
    expect(get({ service: 'texts', keys: all, request: [text(1000)] }).columns).toHaveLength(3);
    expect(() => get({ service: 'texts', keys: all, request: [text(4000)] })).toThrow(
      expect.objectContaining({ code: 'REQUEST_TOO_LARGE', message: expect.stringContaining('too much to compute') }),
    );
  });

  it('is bounded in what it makes', () => {
    const { get } = reader(sourceOf((user) => user));
    const long = (count: number): unknown =>
      get({ service: 'texts', keys: users(...everyone.slice(0, count)), request: [text(32_768)] });
    expect(() => long(10)).not.toThrow();
    expect(() => long(1000)).toThrow(expect.objectContaining({ code: 'REQUEST_TOO_LARGE' }));
    const copies = (count: number): unknown =>
      get({ service: 'copies', keys: users(...everyone.slice(0, count)), request: [text(65_536)] });
    expect(() => copies(100)).not.toThrow();
    expect(() => copies(1000)).toThrow(
      expect.objectContaining({ message: expect.stringContaining('bytes of on-demand features') }),
    );
  });
});
