/**
 * Goal: whatever becomes of a table, a view reads in each row that its route may have the column that it means, or has a route
 * whose rows have it. Method: random changes of a table, each followed by an apply of random views over it and joined with it; each column is known by
 * what it truly is, and the engine is asked which one it reads in rows of each version that the route had.
 */
import { create } from '@bufbuild/protobuf';
import { ContractBook } from '@freshet/engine/fold/contract-book.ts';
import {
  type Column,
  type Contract,
  ContractSchema,
  ReplicaIdentity,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseDefinitions } from './parse.ts';
import { type Resolution, resolveDefinitions } from './resolve.ts';

interface TableColumn {
  readonly name: string;
  readonly kind: Kind;
  readonly number: number;
  /** What it is, whatever it is called and whichever table has it; another one when its values are others. */
  readonly is: number;
  /** Since when its values are others, by what the contract tells. */
  readonly since: number;
}

interface Table {
  readonly oid: number;
  readonly isNumbered: boolean;
  readonly columns: readonly TableColumn[];
}

const NAMES = ['a', 'b', 'c'];
const KINDS = [Kind.INT64, Kind.DOUBLE];

type Step =
  | { readonly kind: 'rename' | 'add' | 'drop' | 'retype' | 'rewrite'; readonly name: string; readonly to: string }
  | { readonly kind: 'swap' | 'anew' | 'number' | 'nothing' };

const name = fc.constantFrom(...NAMES);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constantFrom('rename', 'add', 'drop', 'retype', 'rewrite'), name, to: name }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('swap', 'anew', 'number', 'nothing') }) },
);

/**
 * The table after a step; `next` gives numbers that none had, `accepted` are the columns of which old and new values are said to
 * belong together.
 */
function after(table: Table, one: Step, next: () => number, accepted: ReadonlySet<string>): Table {
  const { columns } = table;
  const has = (wanted: string): boolean => columns.some((column) => column.name === wanted);
  const each = (change: (column: TableColumn) => TableColumn): Table => ({ ...table, columns: columns.map(change) });
  switch (one.kind) {
    case 'rename':
      return has(one.to) ? table : each((column) => (column.name === one.name ? { ...column, name: one.to } : column));
    case 'add': {
      if (has(one.name)) return table;
      const number = next();
      return { ...table, columns: [...columns, { name: one.name, kind: Kind.INT64, number, is: number, since: 0 }] };
    }
    case 'drop':
      return { ...table, columns: columns.filter((column) => column.name !== one.name) };
    case 'retype':
      return each((column) =>
        column.name === one.name
          ? { ...column, kind: must(KINDS.find((kind) => kind !== column.kind)), is: next() }
          : column,
      );
    case 'rewrite':
      return each((column) => {
        if (column.name !== one.name) return column;
        return { ...column, since: next(), is: accepted.has(column.name) ? column.is : next() };
      });
    case 'swap': {
      const [a, b] = columns.map((column) => column.name);
      // Of two columns of one type that change names nothing tells but their numbers.
      if (a === undefined || b === undefined || !table.isNumbered) return table;
      return each((column) => ({ ...column, name: column.name === a ? b : column.name === b ? a : column.name }));
    }
    case 'anew':
      return { ...table, oid: next(), columns: columns.map((column, at) => ({ ...column, number: at + 3, since: 0 })) };
    case 'number':
      return { ...table, isNumbered: true };
    case 'nothing':
      return table;
  }
}

function contractOf({ oid, isNumbered, columns }: Table): Contract {
  const all = [
    { name: 'id', kind: Kind.INT64, number: 1, since: 0 },
    { name: 'user_id', kind: Kind.INT64, number: 2, since: 0 },
    ...columns,
  ];
  return create(ContractSchema, {
    source: 'orders',
    columns: all.map(({ name: of, kind, number, since }) => ({
      name: of,
      type: { kind },
      sourceType: String(kind),
      valuesSinceUs: BigInt(since),
      nullable: of !== 'user_id',
      ...(isNumbered && { tableOid: oid, columnNumber: number }),
    })),
    primaryKey: ['id'],
    replicaIdentity: ReplicaIdentity.DEFAULT,
  });
}

const HEAD = `kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: orders
mode: append
postgres: { table: public.orders }
---
kind: Source
name: views
mode: append
postgres: { table: public.views }
`;
const VIEWS = contractOf({ oid: 2, isNumbered: true, columns: [] });

interface Reads {
  /** Columns of which a view has the sum. */
  readonly reads: readonly string[];
  /** Columns that a view of another table joins. */
  readonly joins: readonly string[];
}

function resolve({ reads, joins }: Reads, table: Table, before: Resolution | undefined): Resolution {
  const view = (of: string, rest: string, source = 'orders'): string =>
    `---\nkind: FeatureView\nname: ${of}\nentity: user\nsource: ${source}\n${rest}\n`;
  const join = (column: string): string =>
    `join: [{ table: orders, on: { id: id }, columns: { j: ${column} } }]\nfeatures: { f: { sum: j } }`;
  const has = (column: string): boolean => table.columns.some((each) => each.name === column);
  const text = [
    HEAD,
    view('all', 'features: { f: { count: {} } }'),
    ...reads.filter(has).map((column) => view(`of_${column}`, `features: { f: { sum: ${column} } }`)),
    ...joins.filter(has).map((column) => view(`with_${column}`, join(column), 'views')),
  ].join('');
  return resolveDefinitions({
    definitions: parseDefinitions([{ path: 'a.yaml', text }]),
    contracts: new Map([
      ['orders', contractOf(table)],
      ['views', VIEWS],
    ]),
    previous: before?.resolved,
    highestRoute: before?.highestRoute,
  });
}

/** What is read of the changed table, by which route. */
function readOf({ resolved: { views } }: Resolution): { readonly route: number; readonly column: Column }[] {
  return views.flatMap((view) => [
    ...(view.source === 'orders' ? view.columns.map((column) => ({ route: view.route, column })) : []),
    ...view.joins.flatMap(({ route, columns }) => columns.map(({ column }) => ({ route, column: must(column) }))),
  ]);
}

const steps = fc.array(fc.record({ step, reads: fc.subarray(NAMES), joins: fc.subarray(NAMES) }), {
  minLength: 1,
  maxLength: 8,
});

it('a view reads the column that it means in all rows of its route', () => {
  let shared = 0;
  let own = 0;
  fc.assert(
    fc.property(fc.boolean(), steps, (isNumbered, all) => {
      let number = 10;
      const next = (): number => ++number;
      let table: Table = {
        oid: 1,
        isNumbered,
        columns: ['a', 'b'].map((of, at) => ({ name: of, kind: Kind.INT64, number: at + 3, is: at + 3, since: 0 })),
      };
      let before = resolve({ reads: ['a'], joins: ['b'] }, table, undefined);
      const book = new ContractBook();
      /** By version, what each name is in rows of it; a column that changed its name while nobody read it is in none. */
      const meant = new Map<number, Map<string, number>>();
      const note = ({ resolved }: Resolution): void => {
        for (const { route, source } of resolved.routes) {
          if (source?.name !== 'orders') continue;
          const contract = must(source?.contract);
          book.add(route, contract);
          if (!meant.has(contract.version))
            meant.set(contract.version, new Map(table.columns.map((column) => [column.name, column.is])));
        }
      };
      note(before);
      for (const { step: one, ...wanted } of all) {
        const routes = before.resolved.routes.filter(({ source }) => source?.name === 'orders');
        const version = must(routes[0]?.source?.contract).version;
        const read = new Set(readOf(before).map(({ column }) => column.name));
        const was = table;
        const readOn = [...wanted.reads, ...wanted.joins].filter((column) => read.has(column));
        table = after(was, one, next, new Set(readOn));
        for (const { name: old, is } of was.columns) {
          const now = table.columns.find((column) => column.is === is)?.name;
          if (now !== old && !read.has(old)) meant.get(version)?.delete(old);
        }
        before = resolve(wanted, table, before);
        note(before);
        for (const { route, column } of readOf(before)) {
          const is = must(table.columns.find((each) => each.name === column.name)).is;
          const versions = book.of(route);
          for (const contract of versions) {
            const at = book.position(route, contract, { name: column.name, type: must(column.type) });
            const found = contract.columns[at]?.name ?? '';
            expect(meant.get(contract.version)?.get(found), `${column.name} in version ${contract.version}`).toBe(is);
          }
          if (versions.length > 1) shared++;
          else own++;
        }
      }
    }),
    { numRuns: 300 },
  );
  expect(shared).toBeGreaterThan(50);
  expect(own).toBeGreaterThan(50);
});
