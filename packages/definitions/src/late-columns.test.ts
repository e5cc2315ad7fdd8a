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
import { parseDefinitions } from './parse.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

type Columns = Readonly<Record<string, readonly [number: number, kind: Kind]>>;
const BASE = { id: [1, Kind.INT64], user_id: [2, Kind.INT64] } as const satisfies Columns;

function contract(columns: Columns, tableOid = 77): Contract {
  return create(ContractSchema, {
    source: 'orders',
    columns: Object.entries({ ...BASE, ...columns }).map(([name, [columnNumber, kind]]) => ({
      name,
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
      `---\nkind: FeatureView\nname: ${name}\nentity: user\nsource: orders\nfeatures:\n  f: { ${column === '' ? 'count: {}' : column.includes(':') ? column : `sum: ${column}`} }\n`,
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

  it('shares no route over a column that was renamed in another table of the name, or after one was put in its place', () => {
    const one = resolve({ spend: 'v', n: '' }, contract(V));
    const anew = resolve({ spend: 'v', n: '' }, contract(V, 88), one);
    expect(view(anew, 'spend').route).toBe(view(one, 'spend').route);
    for (const steps of [[one], [one, anew]]) {
      const renamed = resolve({ spend: 'w', n: '' }, contract(W, 88), steps.at(-1));
      expect(view(renamed, 'n').route).toBe(view(one, 'n').route);
      expect(view(renamed, 'spend').route).not.toBe(view(one, 'n').route);
      expect(readable([...steps, renamed], 'spend')).toEqual([true]);
    }
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
});
