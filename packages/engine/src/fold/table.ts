/**
 * A joined table as one reader of the log has it: the live fold, or a build in the shadow.
 *
 * Owns that a generation of the table's route is filled aside and takes the place of what was there in one step, at the
 * end of its snapshot; until then rows are joined with the old one. Does not own which records count (route-progress.ts).
 *
 *     route begins ──▶ filling ──snapshot ends──▶ current ──route begins──▶ current + filling ──snapshot ends──▶ current
 */
import { create } from '@bufbuild/protobuf';
import { type TableState, TableStateSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { RecordKind, type RecordReader } from '../record/record-reader.ts';
import type { ColdState } from '../shard-fold.ts';
import type { CacheUse } from './state-cache.ts';
import { TableRows } from './table-rows.ts';

/** Where rows are kept. */
export interface TableStorage {
  readonly cold: ColdState;
  readonly use: CacheUse;
}

/** The tables that a view's joins look into, by route. */
export interface JoinedTables {
  get(route: number): Table | undefined;
}

export class Table {
  readonly route: number;
  readonly #owner: number;
  readonly #storage: TableStorage;
  #current: TableRows | undefined;
  #filling: TableRows | undefined;

  /** `owner` as in TableRows. */
  constructor(route: number, owner: number, storage: TableStorage) {
    this.route = route;
    this.#owner = owner;
    this.#storage = storage;
  }

  /** A table as a commit had it. */
  static fromProto(route: number, owner: number, states: readonly TableState[], storage: TableStorage): Table {
    const table = new Table(route, owner, storage);
    for (const state of states) {
      const place = { route, began: Number(state.began), owner: state.owner };
      const rows = new TableRows(place, { ...storage, storedKeys: Number(state.keys) });
      if (state.filling) table.#filling = rows;
      else table.#current = rows;
    }
    return table;
  }

  /** What rows are joined with; undefined before the first snapshot has ended. */
  get current(): TableRows | undefined {
    return this.#current;
  }

  /** All rows that it has, those it is filled with last. */
  *rows(): Generator<TableRows> {
    if (this.#current !== undefined) yield this.#current;
    if (this.#filling !== undefined) yield this.#filling;
  }

  /** A generation of the route begins. */
  begin(offset: number): void {
    this.#filling?.close();
    this.#filling = this.#make(offset);
  }

  /** The generation's snapshot has ended. Again and again, when ingest says so again: then nothing is filled any more. */
  endSnapshot(): void {
    if (this.#filling === undefined) return;
    this.#current?.close();
    this.#current = this.#filling;
    this.#filling = undefined;
  }

  /** Takes a change or truncation of the route's generation, which the reader stands at. */
  apply(record: RecordReader, offset: number): void {
    const rows = this.#filling ?? this.#current;
    if (rows === undefined) return;
    if (record.kind === RecordKind.TRUNCATE) {
      rows.close();
      if (rows === this.#filling) this.#filling = this.#make(offset);
      else this.#current = this.#make(offset);
      return;
    }
    const { operation } = record;
    if (operation === Operation.DELETE) rows.remove(record.key);
    else if (operation === Operation.INSERT || operation === Operation.READ || operation === Operation.UPDATE) {
      rows.put(record, offset);
    }
  }

  /** Takes the row under a key out, of what is joined with and of what is filled. */
  erase(key: string): void {
    for (const rows of this.rows()) rows.remove(key);
  }

  /** Takes over, from a reader that has come as far, what this one does not have. */
  adopt(other: Table): void {
    if (this.#current === undefined) this.#current = other.#current;
    else other.#current?.close();
    if (this.#filling === undefined) this.#filling = other.#filling;
    else other.#filling?.close();
  }

  /** Gives up everything in memory; the table is over. */
  close(): void {
    for (const rows of this.rows()) rows.close();
  }

  /** What a commit keeps. */
  toProto(): TableState[] {
    return [...this.rows()].map((rows) =>
      create(TableStateSchema, {
        route: this.route,
        began: BigInt(rows.began),
        owner: rows.owner,
        filling: rows === this.#filling,
        keys: BigInt(rows.keys),
      }),
    );
  }

  #make(began: number): TableRows {
    return new TableRows({ route: this.route, began, owner: this.#owner }, this.#storage);
  }
}
