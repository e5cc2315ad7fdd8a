/**
 * One life of a view in a shard: from its coming into force, or its route's new generation, until another takes its
 * place.
 *
 * Owns folding a change into the view: reading columns by the record's contract, derived columns, `where`, expiry, the
 * key's state. Does not own whether a record counts at all (route-progress.ts) or when the instance is complete
 * (shard-fold.ts).
 */
import { create } from '@bufbuild/protobuf';
import {
  ViewInstanceSchema,
  type ViewInstance as ViewInstanceState,
} from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import { NodeCache } from '../contributions/node-cache.ts';
import { isLongerThan } from '../limits.ts';
import type { RecordReader } from '../record/record-reader.ts';
import type { ColdState } from '../shard-fold.ts';
import type { RunnableJoin } from '../state/join-plan.ts';
import { addEvent, clearState, type KeyState } from '../state/key-state.ts';
import { isInReach } from '../state/reach.ts';
import { type RunnableView, rawOfResult } from '../state/view-plan.ts';
import { BuildTables } from './build-tables.ts';
import type { ContractBook } from './contract-book.ts';
import { contributionsName, instanceName } from './instance-name.ts';
import { JoinReader } from './join-reader.ts';
import { MutableFold } from './mutable-fold.ts';
import { RouteProgress } from './route-progress.ts';
import { type CacheUse, StateCache } from './state-cache.ts';
import type { JoinedTables } from './table.ts';

/** What happened to events, since the state was made. */
export interface FoldCounters {
  expiredEvents: number;
  expressionErrors: number;
  unknownContracts: number;
  /** Joined tables that had no row for a row folded. */
  joinMisses: number;
}

/** A fold in the shadow, from the route's beginning up to the live position. */
export interface Build {
  /** The next offset that it folds. */
  position: number;
  /** The view's route as the build has seen it. */
  readonly route: RouteProgress;
  /** The tables as the build has seen them; undefined for a view without joins. */
  readonly tables?: BuildTables | undefined;
  /** Why it cannot go on, if it cannot: part of the record at its position may be folded, so that is not tried again (F3). */
  broken?: string | undefined;
}

/** Since when an instance is not fed any more: everything before is in it. */
export interface Standing {
  /** The offset of the record that began the next generation. */
  readonly position: number;
  /** That record's log time, microseconds. */
  readonly logTimeUs: number;
}

export class ViewInstance {
  readonly view: RunnableView;
  readonly number: number;
  /** The generation of the view's route that it folds; 1 also while the route has not begun. */
  readonly generation: number;
  /** The view's id and the instance's number: what the cold store files the states under. */
  readonly name: string;
  readonly cache: StateCache;
  /** Of a mutable source: what its live rows put in. */
  readonly mutable: MutableFold | undefined;
  /** What the cold store files contributions under; undefined for an append source. */
  readonly contributionsName: string | undefined;
  build: Build | undefined;
  /** Nothing is folded yet: a table that it joins has not ended its first snapshot, or what it was is not known. */
  awaitsTables: boolean;
  /** The fold began late and does not know what the tables were when the view came into force (Force.#startJoined). */
  tablesUnknown: boolean;
  /**
   * No row has a version below this offset. What a build joins old events with depends on when the view came into force (the S of
   * docs/values.md): another life of the same view has other rows of the same events, and a version is one row for ever (R1).
   */
  versionsFrom: number;
  /** The position from which on there are rows to offer; undefined while built, or while its route's snapshot runs. */
  completeAt: number | undefined;
  /**
   * Empty states that an Erase record left may be stored, of records up to this offset; undefined: there are none. Not known of
   * what a commit brings. It is for the sweep, and shows in no value.
   */
  emptiedAt: number | undefined;
  /** Set once a later generation of the route has begun: a successor is fed in its stead. */
  #standing: Standing | undefined;
  /** Rows that changed since they were last handed out for emission. */
  #pending: KeyState[] = [];
  readonly #row: Raw[];
  readonly #tables: JoinedTables;
  readonly #joins: JoinReader | undefined;
  /** By contract version; a version is one contract for ever. */
  readonly #layouts = new Map<number, Layout>();

  constructor(options: {
    readonly view: RunnableView;
    readonly number: number;
    readonly generation: number;
    readonly cold: ColdState;
    readonly use: CacheUse;
    /** The tables of the live fold. */
    readonly tables: JoinedTables;
    /** What a commit knows of the instance; undefined for a new one. */
    readonly stored?: ViewInstanceState | undefined;
  }) {
    const { view, number, generation, cold, use, tables, stored } = options;
    this.view = view;
    this.number = number;
    this.generation = generation;
    this.name = instanceName(view.plan.viewId, number);
    const keys = Number(stored?.keys ?? 0);
    this.cache = new StateCache({ view, instance: this.name, cold, use, isPartial: stored !== undefined, keys });
    if (stored !== undefined) this.emptiedAt = -1;
    if (stored?.completeAt !== undefined) this.completeAt = Number(stored.completeAt);
    if (stored?.build?.route !== undefined) {
      const { position, broken } = stored.build;
      const shadow = BuildTables.fromProto(stored.build, number, { cold, use });
      this.build = { position: Number(position), route: RouteProgress.fromProto(stored.build.route), tables: shadow };
      if (broken !== '') this.build.broken = broken;
    }
    if (stored?.standing !== undefined) {
      this.#standing = {
        position: Number(stored.standing.position),
        logTimeUs: Number(stored.standing.logTimeUs),
      };
    }
    this.awaitsTables = stored?.awaitsTables ?? false;
    this.tablesUnknown = stored?.tablesUnknown ?? false;
    this.versionsFrom = Number(stored?.versionsFrom ?? 0);
    this.#tables = tables;
    this.#joins = view.joins.length === 0 ? undefined : new JoinReader();
    const joined = view.joins.reduce((count, { columns }) => count + columns.length, 0);
    this.#row = new Array<Raw>(view.columns.length + joined + view.derived.length).fill(null);
    const { viewId } = view.plan;
    this.contributionsName = view.reach.mutable ? contributionsName(viewId, number) : undefined;
    this.mutable =
      this.contributionsName === undefined
        ? undefined
        : new MutableFold(
            { view, cache: this.cache, row: this.#row },
            new NodeCache(this.contributionsName, cold, use, stored !== undefined),
          );
  }

  /** Since when nothing is folded into it any more; undefined while something is. */
  get standing(): Standing | undefined {
    return this.#standing;
  }

  /** A later generation of its route begins: it is offered as it is until a successor takes its place. */
  standStill(since: Standing): void {
    this.#standing ??= since;
  }

  /** What a commit keeps of the instance. */
  toProto(successor: boolean): ViewInstanceState {
    const { build, completeAt, generation } = this;
    const standing = this.#standing;
    return create(ViewInstanceSchema, {
      viewId: this.view.plan.viewId,
      instance: this.number,
      keys: BigInt(this.cache.keys),
      ...(build === undefined
        ? {}
        : {
            build: {
              position: BigInt(build.position),
              route: build.route.toProto(),
              broken: build.broken ?? '',
              ...build.tables?.toProto(),
            },
          }),
      awaitsTables: this.awaitsTables,
      tablesUnknown: this.tablesUnknown,
      versionsFrom: BigInt(this.versionsFrom),
      ...(completeAt === undefined ? {} : { completeAt: BigInt(completeAt) }),
      generation,
      successor,
      ...(standing === undefined
        ? {}
        : { standing: { position: BigInt(standing.position), logTimeUs: BigInt(standing.logTimeUs) } }),
    });
  }

  /** Folds a change that is to be folded. */
  fold(record: RecordReader, offset: number, logTimeUs: number, contracts: ContractBook, counters: FoldCounters): void {
    const { operation } = record;
    const isInsert = operation === Operation.INSERT || operation === Operation.READ;
    // Of an append source every inserted row is an event; what becomes of the row does not undo what happened.
    if (!isInsert && this.mutable === undefined) return;
    if (!isInsert && operation !== Operation.UPDATE && operation !== Operation.DELETE) return;
    const layout = this.#layoutOf(record.contractVersion, contracts);
    if (layout === undefined && operation !== Operation.DELETE) counters.unknownContracts++;
    const { mutable } = this;
    if (layout === undefined && mutable === undefined) return;
    // Under a contract that is not known only the row's identity can be read: its old image goes, and no new one comes.
    const isRead = layout !== undefined && operation !== Operation.DELETE;
    const holds = isRead && this.#readRow(record, layout.positions, contracts, counters);
    const { eventTimeUs, key } = record;
    if (mutable !== undefined) {
      if (holds && !isInReach(this.view.reach, eventTimeUs, logTimeUs)) counters.expiredEvents++;
      const changed = mutable.fold(record, holds, layout?.isUnique === true, { offset, logTimeUs });
      if (changed !== undefined) this.#emit(changed);
      return;
    }
    if (!holds) return;
    if (!isInReach(this.view.reach, eventTimeUs, logTimeUs)) {
      counters.expiredEvents++;
      return;
    }
    const state = this.cache.open(key);
    const { sizeBytes } = state;
    addEvent(this.view, state, this.#row, eventTimeUs, offset, logTimeUs);
    this.cache.changed(state, sizeBytes);
    this.#emit(state);
  }

  /** Forgets a key: its state is that of one never seen, and changed with the record at the offset. */
  erase(key: string, offset: number, logTimeUs: number): void {
    this.mutable?.tree.erase(key, offset);
    const state = this.cache.open(key);
    const { sizeBytes } = state;
    clearState(this.view, state, offset, logTimeUs);
    this.emptiedAt = offset;
    this.cache.changed(state, sizeBytes);
    this.#emit(state);
  }

  /** As erase(), while nobody follows the view: the key is one never seen. */
  eraseUntold(key: string, offset: number): void {
    this.mutable?.tree.erase(key, offset);
    const state = this.cache.peek(key);
    if (state === undefined) return;
    this.cache.expect([]);
    this.cache.remove(key, state.storedVersion);
  }

  /** Gives up all that is in memory: the instance is over. */
  close(): void {
    this.cache.close();
    this.mutable?.tree.nodes.close();
    this.build?.tables?.close();
  }

  #emit(state: KeyState): void {
    if (state.emitPending || this.completeAt === undefined) return;
    state.emitPending = true;
    this.#pending.push(state);
  }

  /** The keys whose rows changed since the last call. */
  takePending(): Set<string> | undefined {
    if (this.#pending.length === 0) return undefined;
    const keys = new Set<string>();
    for (const state of this.#pending) {
      state.emitPending = false;
      keys.add(state.key);
    }
    this.cache.expect(this.#pending);
    this.#pending = [];
    return keys;
  }

  /** Fills the row; false when `where` does not hold. */
  #readRow(record: RecordReader, positions: Int32Array, contracts: ContractBook, counters: FoldCounters): boolean {
    const { view } = this;
    const { where } = view;
    const row = this.#row;
    let failed = false;
    for (const index of view.whereColumns) this.#readColumn(record, positions, index);
    if (view.whereJoins.length > 0) this.#join(view.whereJoins, record.key, contracts, counters);
    if (where !== undefined && !view.whereUsesDerived) {
      let holds = false;
      try {
        holds = where.evaluate(row) === true;
      } catch {
        failed = true;
      }
      if (failed) counters.expressionErrors++;
      if (!holds) return false;
    }
    for (const index of view.otherColumns) this.#readColumn(record, positions, index);
    if (view.otherJoins.length > 0) this.#join(view.otherJoins, record.key, contracts, counters);
    for (const { index, expression, kind } of view.derived) {
      try {
        row[index] = rawOfResult(kind, expression.evaluate(row));
      } catch {
        row[index] = null;
        failed = true;
      }
    }
    let holds = true;
    if (where !== undefined && view.whereUsesDerived) {
      try {
        holds = where.evaluate(row) === true;
      } catch {
        holds = false;
        failed = true;
      }
    }
    if (holds && this.#dropLongInputs()) failed = true;
    if (failed) counters.expressionErrors++;
    return holds;
  }

  #join(joins: readonly RunnableJoin[], key: string, contracts: ContractBook, counters: FoldCounters): void {
    const tables = this.build?.tables ?? this.#tables;
    const reader = must(this.#joins, 'a view without joins joins');
    for (const join of joins) if (!reader.read(join, this.#row, key, tables, contracts)) counters.joinMisses++;
  }

  /** Makes null what is too long for a row; whether anything was. Expressions have seen the values as they were. */
  #dropLongInputs(): boolean {
    const { longInputs, valueBytesMax } = this.view;
    let dropped = false;
    for (const index of longInputs) {
      if (!isLongerThan(this.#row[index] as Raw, valueBytesMax)) continue;
      this.#row[index] = null;
      dropped = true;
    }
    return dropped;
  }

  #readColumn(record: RecordReader, positions: Int32Array, index: number): void {
    const column = this.view.columns[index] as (typeof this.view.columns)[number];
    this.#row[index] = record.column(positions[index] as number, column.type);
  }

  /** How rows of a contract are read; undefined: it is not known. */
  #layoutOf(contractVersion: number, contracts: ContractBook): Layout | undefined {
    const known = this.#layouts.get(contractVersion);
    if (known !== undefined) return known;
    const contract = contracts.find(this.view.route, contractVersion);
    if (contract === undefined) return undefined;
    const { columns, route } = this.view;
    const positions = Int32Array.from(columns, (column) => contracts.position(route, contract, column));
    const layout = { positions, isUnique: rowIdentity(contract).unique };
    this.#layouts.set(contractVersion, layout);
    return layout;
  }
}

interface Layout {
  /** For each column of the view its position in rows of the contract, -1 when it has none. */
  readonly positions: Int32Array;
  /** Whether no two live rows share an identity. */
  readonly isUnique: boolean;
}
