/**
 * Goal: a view over an append source never folds rows that lack what it reads: it shares a route with the rows of before where
 * they have it, and is given its own where they do not; whoever is in force stays. Method: contracts change step by step,
 * each step is resolved on the one before; what a route's rows have is asked of the engine's own reading of them.
 */
import { create } from '@bufbuild/protobuf';
import { ContractBook } from '@freshet/engine/fold/contract-book.ts';
import { type Contract, ContractSchema, ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { diffDefinitions } from './diff.ts';
import { parseDefinitions } from './parse.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

/** `sinceUs`: since when its values are others. */
type Columns = Readonly<Record<string, readonly [number: number, kind: Kind, sinceUs?: bigint]>>;
const BASE = { id: [1, Kind.INT64], user_id: [2, Kind.INT64] } as const satisfies Columns;

function contract(columns: Columns, tableOid = 77): Contract {
  return create(ContractSchema, {
    source: 'orders',
    columns: Object.entries({ ...BASE, ...columns }).map(([name, [columnNumber, kind, sinceUs = 0n]]) => ({
      name,
      valuesSinceUs: sinceUs,
      type: { kind },
      sourceType: String(kind),
      nullable: name !== 'user_id',
      tableOid,
      columnNumber,
    })),
    primaryKey: ['id'],
    replicaIdentity: ReplicaIdentity.DEFAULT,
  });
}

/** Views by name, each with the sum of a column, another aggregate, or a count. */
function resolve(views: Readonly<Record<string, string>>, shape: Contract, before?: Resolution): Resolution {
  const text = Object.entries(views).map(
    ([name, column]) =>
      `---\nkind: FeatureView\nname: ${name}\nentity: user\nsource: orders\n${column.includes('features:') ? column : `features:\n  f: { ${column === '' ? 'count: {}' : column.includes(':') ? column : `sum: ${column}`} }`}\n`,
  );
  const head =
    'kind: Entity\nname: user\nkey: { user_id: int64 }\n---\nkind: Source\nname: orders\nmode: append\npostgres: { table: public.orders }\n';
  return resolveDefinitions({
    definitions: parseDefinitions([{ path: 'a.yaml', text: head + text.join('') }]),
    contracts: new Map([['orders', shape]]),
    previous: before?.resolved,
    highestRoute: before?.highestRoute,
  });
}

const view = ({ resolved }: Resolution, name: string): ViewPlan => {
  const found = resolved.views.find((one) => one.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

/** By version of the contracts that a route had: whether its rows have what the view reads. */
function readable(steps: readonly Resolution[], name: string): (boolean | undefined)[] {
  const plan = view(steps.at(-1) as Resolution, name);
  const book = new ContractBook();
  const sets: DefinitionSet[] = steps.map(({ resolved }) => resolved);
  for (const { routes } of sets) {
    for (const { route, source } of routes) if (source?.contract) book.add(route, source.contract);
  }
  return book
    .of(plan.route)
    .map((of) =>
      plan.columns.every(
        (c) => c.type !== undefined && book.position(plan.route, of, { name: c.name, type: c.type }) >= 0,
      ),
    );
}

/** The route of a view that comes to read v now. */
function routeOfNew(shape: Contract, before: Resolution): number {
  return view(resolve({ n: '', fresh: 'max: v' }, shape, before), 'fresh').route;
}

const V = { v: [3, Kind.INT64] } as const satisfies Columns;
const W = { w: [3, Kind.INT64] } as const satisfies Columns;

describe('a view over an append source whose table changed', () => {
  it('reads a renamed column in rows of before', () => {
    const one = resolve({ spend: 'v', n: '' }, contract(V));
    const two = resolve({ spend: 'w', n: '' }, contract(W), one);
    expect(view(two, 'spend').route).toBe(view(one, 'spend').route);
    expect(readable([one, two], 'spend')).toEqual([true, true]);
    expect(two.notes.join(' ')).not.toContain('read anew');
    expect(two.notes.join(' ')).toContain('(column v is called w now); rows captured before are read as they were');
    const three = resolve({ spend: 'v', n: '' }, contract(V), two);
    expect(view(three, 'spend').route).toBe(view(one, 'spend').route);
    expect(readable([one, two, three], 'spend')).toEqual([true, true, true]);
  });

  it.each<[string, Contract]>([
    ['its table was made anew before', contract({ v: [5, Kind.INT64] }, 78)],
    ['its table was made anew before, with another column', contract({ v: [5, Kind.INT64], x: [6, Kind.INT64] }, 78)],
  ])('reads a renamed column in rows of before also when %s', (_, between) => {
    const one = resolve({ spend: 'v', n: '' }, contract(V));
    const two = resolve({ spend: 'v', n: '' }, between, one);
    const three = resolve({ spend: 'w', n: '' }, contract({ w: [5, Kind.INT64] }, 78), two);
    expect(view(three, 'spend').route).toBe(view(one, 'spend').route);
    expect(readable([one, two, three], 'spend')).toEqual([true, true, true]);
  });

  it('reads a renamed column in rows from before contracts told numbers, when another version came between', () => {
    const untold = contract(V);
    for (const column of untold.columns) Object.assign(column, { tableOid: 0, columnNumber: 0 });
    const one = resolve({ spend: 'v', n: '' }, untold);
    const two = resolve({ spend: 'v', n: '' }, contract({ ...V, x: [4, Kind.INT64] }), one);
    const three = resolve({ spend: 'w', n: '' }, contract({ ...W, x: [4, Kind.INT64] }), two);
    expect(view(three, 'spend').route).toBe(view(one, 'spend').route);
    expect(readable([one, two, three], 'spend')).toEqual([true, true, true]);
  });

  it.each<[string, Columns, Columns]>([
    ['of another type', V, { v: [3, Kind.DOUBLE] }],
    ['renamed, and of another type', V, { w: [3, Kind.DOUBLE] }],
    ['new', {}, V],
    ['another one under its name', V, { v: [4, Kind.INT64] }],
    ['renamed while nobody read it', { ...V, x: [4, Kind.INT64] }, { v: [3, Kind.INT64], y: [4, Kind.INT64] }],
  ])('has a route of its own when a column is %s', (_, before, after) => {
    const name = Object.keys(after).at(-1) ?? '';
    const one = resolve({ n: '', ...('v' in before ? { old: 'v' } : {}) }, contract(before));
    const two = resolve({ n: '', fresh: `max: ${name}` }, contract(after), one);
    expect(view(two, 'n').route).toBe(view(one, 'n').route);
    expect(view(two, 'fresh').route).not.toBe(view(one, 'n').route);
    expect(readable([one, two], 'fresh')).toEqual([true]);
    expect(two.notes.join('\n')).toMatch(
      new RegExp(
        `View fresh: .* captured before have no value of ${name} as it is now, so the table is read anew for it`,
      ),
    );
    // Whoever read the name before reads what has it now.
    if ('v' in before && 'v' in after) expect(view(resolve({ old: name }, contract(after), one), 'old').route).toBe(2);
    // Whoever comes later shares it, and who lacks nothing has the whole history.
    const three = resolve({ n: '', fresh: `max: ${name}`, late: name, ids: 'id' }, contract(after), two);
    expect(view(three, 'late').route).toBe(view(two, 'fresh').route);
    expect(view(three, 'ids').route).toBe(view(one, 'n').route);
    expect(three.notes.join('\n')).not.toContain('read anew');
  });

  describe('with values that were computed anew', () => {
    const anew = (sinceUs: bigint) => contract({ v: [3, Kind.INT64, sinceUs] });

    it('has a route of its own when nobody read the column then, whenever it comes', () => {
      const one = resolve({ n: '' }, contract(V));
      const two = resolve({ n: '' }, anew(5n), one);
      for (const before of [one, two]) {
        const three = resolve({ n: '', fresh: 'max: v' }, anew(5n), before);
        expect(view(three, 'n').route).toBe(view(one, 'n').route);
        expect(view(three, 'fresh').route).not.toBe(view(one, 'n').route);
        expect(three.notes.join('\n')).toMatch(
          /View fresh: .* captured before have no value of v as it is now, so the table is read anew for it/,
        );
        // What its own route has is of now, also when what was known of before is forgotten.
        const four = resolve({ n: '', fresh: 'max: v', late: 'v' }, contract(V), three);
        expect([view(four, 'fresh').route, view(four, 'late').route]).toEqual([2, 2]);
        expect(four.notes.join('\n')).not.toContain('read anew');
      }
    });

    it('keeps its route when somebody read the column, and reads it on: that is what was accepted', () => {
      const one = resolve({ old: 'v' }, contract(V));
      const two = resolve({ old: 'v' }, anew(5n), one);
      expect(view(two, 'old').route).toBe(view(one, 'old').route);
      expect(routeOfNew(anew(5n), two)).toBe(view(one, 'old').route);
      // Of a later change nobody said so.
      const three = resolve({ n: '' }, anew(6n), resolve({ n: '' }, anew(5n), two));
      expect(routeOfNew(anew(6n), three)).not.toBe(view(one, 'old').route);
    });

    it('has a route of its own when who read the column left it with the apply: nothing of it was accepted', () => {
      const one = resolve({ n: '', old: 'v' }, contract(V));
      const two = resolve({ n: '' }, anew(5n), one);
      expect(view(two, 'n').route).toBe(view(one, 'n').route);
      expect(routeOfNew(anew(5n), two)).not.toBe(view(one, 'n').route);
    });

    it('reads the key as it was accepted, as each row is read by it', () => {
      const one = resolve({ n: '' }, contract({}));
      const shape = contract({ user_id: [2, Kind.INT64, 5n] });
      const two = resolve({ n: '' }, shape, one);
      expect(view(resolve({ n: '', keys: 'user_id' }, shape, two), 'keys').route).toBe(view(one, 'n').route);
    });
  });

  it('has what rows lack by what is read of its own route, not of another one of the table', () => {
    const one = resolve({ n: '' }, contract({ w: [4, Kind.INT64] }));
    // It reads w as well, beside a column that the first route has not.
    const both = 'where: v > 0\nfeatures: { f: { sum: w } }';
    const two = resolve({ n: '', both }, contract({ ...V, w: [4, Kind.INT64] }), one);
    expect(view(two, 'both').route).toBe(2);
    const renamed = contract({ ...V, x: [4, Kind.INT64] });
    const three = resolve({ n: '', both: both.replace('w }', 'x }') }, renamed, two);
    expect(view(three, 'both').route).toBe(2);
    // Of the first one nobody read it, so that its rows did not wait for the new name.
    expect(view(resolve({ n: '', fresh: 'max: x' }, renamed, three), 'fresh').route).toBe(2);
  });

  it('takes no number of another table for one of its own', () => {
    const one = resolve({ n: '', a: 'v', b: 'w' }, contract({ v: [3, Kind.INT64], w: [4, Kind.INT64] }));
    const two = resolve({ n: '' }, contract({ w: [3, Kind.INT64], v: [4, Kind.INT64] }), one);
    const three = resolve({ n: '' }, contract({ v: [4, Kind.INT64] }), two);
    const four = resolve({ n: '', a: 'v' }, contract({ v: [3, Kind.INT64] }, 78), three);
    // In rows of the first version, v is what is gone.
    expect(view(four, 'a').route).not.toBe(view(one, 'n').route);
  });

  it('is told in the plan as one that is built anew, though it computes the same', () => {
    const one = resolve({ n: '', old: 'v' }, contract(V));
    const two = resolve({ n: '', old: 'v' }, contract({ v: [4, Kind.INT64] }), one);
    expect(view(two, 'old').viewId).toEqual(view(one, 'old').viewId);
    const changes = diffDefinitions(one.resolved, two.resolved).map(({ subject, effect }) => `${subject}: ${effect}`);
    expect(changes).toContain(
      'view old: a column that it reads is another one now: is built from a first snapshot of its source; until then the services keep what they have',
    );
  });
});
