/**
 * The joined tables of the live fold: one for each route that a view in force joins.
 *
 * Owns which tables there are. A route that is joined from its first record on has its table from there; one that was
 * captured before has none until a build brings it, or its next generation does. Does not own the tables' rows (table.ts).
 */
import type { TableState } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import type { RecordReader } from '../record/record-reader.ts';
import type { RunnableView } from '../state/view-plan.ts';
import type { BuildTables } from './build-tables.ts';
import type { Erasure } from './erase.ts';
import type { RouteProgress } from './route-progress.ts';
import { type JoinedTables, Table, type TableStorage } from './table.ts';

/** The owner of what is made for the live fold. */
const LIVE = 0;

export class LiveTables implements JoinedTables {
  readonly #storage: TableStorage;
  readonly #tables = new Map<number, Table>();
  #joined: ReadonlySet<number> = new Set();

  constructor(storage: TableStorage) {
    this.#storage = storage;
  }

  get(route: number): Table | undefined {
    return this.#tables.get(route);
  }

  /** By route ascending. */
  all(): Table[] {
    return [...this.#tables.values()].sort((a, b) => a.route - b.route);
  }

  /** Says which routes are joined from now on; tables of others are over. */
  join(routes: ReadonlySet<number>): void {
    this.#joined = routes;
    for (const [route, table] of this.#tables) {
      if (routes.has(route)) continue;
      table.close();
      this.#tables.delete(route);
    }
  }

  /** Everything as a commit had it; join() comes first. */
  restore(states: readonly TableState[]): void {
    for (const [route, of] of Map.groupBy(states, (state) => state.route)) {
      this.#tables.set(route, Table.fromProto(route, LIVE, of, this.#storage));
    }
  }

  toProto(): TableState[] {
    return this.all().flatMap((table) => table.toProto());
  }

  /** A generation of a route begins. */
  begin(route: number, offset: number): void {
    if (this.#joined.has(route)) this.#made(route).begin(offset);
  }

  /** Whether the route is joined. */
  endSnapshot(route: number): boolean {
    this.#tables.get(route)?.endSnapshot();
    return this.#joined.has(route);
  }

  /** Takes a change or truncation that counts. */
  apply(record: RecordReader, offset: number): void {
    this.#tables.get(record.route)?.apply(record, offset);
  }

  /** An entity is forgotten: tables that lie by its key lose its row. Broadcast tables are nobody's. */
  erase({ routes, key }: Erasure): void {
    for (const route of routes) this.#tables.get(route)?.erase(key);
  }

  /** A build has come as far as the live fold: what this has not is taken over, the rest is the same and goes. */
  adopt(tables: BuildTables): void {
    for (const table of tables.all()) this.#made(table.route).adopt(table);
  }

  /** Whether all tables of the view are here to be joined with. */
  have(view: RunnableView): boolean {
    return view.joins.every(({ route }) => this.#tables.get(route)?.current !== undefined);
  }

  #made(route: number): Table {
    let table = this.#tables.get(route);
    if (table === undefined) {
      table = new Table(route, LIVE, this.#storage);
      this.#tables.set(route, table);
    }
    return table;
  }
}

/** The routes of the view's tables, when the newest generation of each has ended its snapshot. */
export function readyRoutes(
  view: RunnableView,
  routes: ReadonlyMap<number, RouteProgress>,
): RouteProgress[] | undefined {
  const ready: RouteProgress[] = [];
  for (const number of new Set(view.joins.map(({ route }) => route))) {
    const route = routes.get(number);
    if (route === undefined || !route.snapshotEnded) return undefined;
    ready.push(route);
  }
  return ready;
}
