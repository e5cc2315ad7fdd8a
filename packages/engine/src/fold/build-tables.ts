/**
 * The joined tables of a view that is built in the shadow of the fold: a reader of the log of its own.
 *
 *     first reading   from the beginning of the tables' newest generations to the end of the last one's snapshot:
 *                     only the tables are filled
 *     second reading  from the events' beginning to the live position: events are joined as they are folded, and what
 *                     lies behind the first reading changes the tables
 *
 * So an event from before the tables is joined with their first whole state, and any later one with the table as the log
 * had it before the event: whenever the view is built, its values are the same.
 *
 * Invariant F1: where the readings begin and end follows from the records alone.
 */
import { create } from '@bufbuild/protobuf';
import {
  type BuildTable,
  BuildTableSchema,
  RouteStateSchema,
  type ViewBuildState,
} from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { RecordKind, type RecordReader } from '../record/record-reader.ts';
import type { Erasure } from './erase.ts';
import { RouteProgress } from './route-progress.ts';
import { type JoinedTables, Table, type TableStorage } from './table.ts';

interface ShadowTable {
  readonly table: Table;
  readonly progress: RouteProgress;
  /** The offset at which its generation begins. */
  readonly begin: number;
}

export class BuildTables implements JoinedTables {
  readonly #tables = new Map<number, ShadowTable>();
  /** Where the second reading has to begin for the events; undefined: they had not begun when the build did. */
  readonly eventsFrom: number | undefined;
  /** The offset behind the first reading; undefined while it runs. */
  #from: number | undefined;

  private constructor(eventsFrom: number | undefined) {
    this.eventsFrom = eventsFrom;
  }

  /** For an instance with the number, over routes of which each has ended a snapshot of its newest generation. */
  static begin(
    routes: readonly RouteProgress[],
    instance: number,
    eventsFrom: number | undefined,
    storage: TableStorage,
  ): BuildTables {
    const tables = new BuildTables(eventsFrom);
    for (const { route, beginOffset } of routes) {
      const table = new Table(route, instance + 1, storage);
      tables.#tables.set(route, { table, progress: new RouteProgress(route), begin: beginOffset });
    }
    return tables;
  }

  /** The same again, for an instance that takes the place of one which was not done: its events begin anew. */
  restarted(instance: number, eventsFrom: number | undefined, storage: TableStorage): BuildTables {
    const tables = new BuildTables(eventsFrom);
    for (const [route, { begin }] of this.#tables) {
      const table = new Table(route, instance + 1, storage);
      tables.#tables.set(route, { table, progress: new RouteProgress(route), begin });
    }
    return tables;
  }

  /** As a commit had them; undefined for a view without joins. */
  static fromProto(state: ViewBuildState, instance: number, storage: TableStorage): BuildTables | undefined {
    if (state.tables.length === 0) return undefined;
    const tables = new BuildTables(state.eventsFrom === undefined ? undefined : Number(state.eventsFrom));
    if (state.tablesFrom !== undefined) tables.#from = Number(state.tablesFrom);
    for (const { route, begin, rows } of state.tables) {
      const progress = RouteProgress.fromProto(must(route, 'a table of a build without its route'));
      const table = Table.fromProto(progress.route, instance + 1, rows, storage);
      tables.#tables.set(progress.route, { table, progress, begin: Number(begin) });
    }
    return tables;
  }

  /** What a commit keeps, beside the build's own. */
  toProto(): { tables: BuildTable[]; tablesFrom?: bigint; eventsFrom?: bigint } {
    const tables = [...this.#tables.values()].sort((a, b) => a.begin - b.begin);
    return {
      tables: tables.map(({ table, progress, begin }) =>
        create(BuildTableSchema, {
          route: progress.generation === 0 ? create(RouteStateSchema, { route: table.route }) : progress.toProto(),
          begin: BigInt(begin),
          rows: table.toProto(),
        }),
      ),
      ...(this.#from === undefined ? {} : { tablesFrom: BigInt(this.#from) }),
      ...(this.eventsFrom === undefined ? {} : { eventsFrom: BigInt(this.eventsFrom) }),
    };
  }

  /** Where the first reading begins. */
  get position(): number {
    return Math.min(...[...this.#tables.values()].map(({ begin }) => begin));
  }

  /** Whether an event at the offset is folded: in the second reading, of the generation that the build is of. */
  folds(offset: number): boolean {
    return this.#from !== undefined && offset >= (this.eventsFrom ?? 0);
  }

  get(route: number): Table | undefined {
    return this.#tables.get(route)?.table;
  }

  /** All tables. */
  *all(): Generator<Table> {
    for (const { table } of this.#tables.values()) yield table;
  }

  /**
   * Takes the record that the reader stands at, after the view has. Returns where to read on when the first reading ends
   * with it.
   */
  take(record: RecordReader, offset: number): number | undefined {
    const shadow = this.#tables.get(record.route);
    if (shadow === undefined || offset < (this.#from ?? shadow.begin)) return undefined;
    const { table, progress } = shadow;
    switch (record.kind) {
      case RecordKind.ROUTE_BEGIN:
        if (progress.begin(record.generation, offset)) table.begin(offset);
        return undefined;
      case RecordKind.SNAPSHOT_END:
        if (progress.endSnapshot(record.generation)) table.endSnapshot();
        return this.#endFirstReading(offset);
      case RecordKind.CHANGE:
      case RecordKind.TRUNCATE:
      case RecordKind.TABLE:
        if (progress.accept(record)) table.apply(record, offset);
        return undefined;
      case RecordKind.ERASED:
        // F3: what was erased still counts as delivered.
        progress.accept(record);
        return undefined;
      default:
        return undefined;
    }
  }

  /** An entity is forgotten, by the record at the offset. */
  erase({ routes, key }: Erasure, offset: number): void {
    for (const [route, { table, begin }] of this.#tables) {
      if (routes.includes(route) && offset >= (this.#from ?? begin)) table.erase(key);
    }
  }

  /** Gives up everything in memory; the build is over. */
  close(): void {
    for (const table of this.all()) table.close();
  }

  #endFirstReading(offset: number): number | undefined {
    if (this.#from !== undefined) return undefined;
    for (const { current } of this.all()) if (current === undefined) return undefined;
    this.#from = offset + 1;
    return Math.min(this.eventsFrom ?? this.#from, this.#from);
  }
}
