/**
 * What is in force in a shard: routes, contracts, views, and their instances; and what each kind of record does to them.
 *
 * Owns when an instance begins, is built, is complete and is over. Does not own the shard's position (../shard-fold.ts),
 * nor what a change does to a key's state (view-instance.ts).
 *
 *      definitions name the view
 *        │ route not begun: fed from its beginning ──the snapshot of the generation has ended──▶ complete
 *        │ else: building ──build at the position, and the snapshot has ended──────────────────▶ complete
 *                                                      │ route begins another generation
 *                                                      ▼
 *                     stands still, offered as it is  +  successor: empty, fed live, offered to nobody
 *                                                      │ the snapshot of the generation has ended
 *                                                      ▼
 *                               the successor is complete and takes the view's place; the old states are garbage
 *
 * A view that is not complete when a generation begins has nothing to stand still: it begins anew. A generation that
 * begins before the last one's snapshot has ended replaces the successors only.
 *
 * Invariants: F1 (everything here follows from records alone, but for the moment at which a build ends); R3 (a view is
 * offered by one instance, which is whole, and changes it in one step).
 */
import { fromBinary } from '@bufbuild/protobuf';
import type { FoldMeta } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type DefinitionSet, DefinitionSetSchema, type ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { RecordKind, RecordReader } from '../record/record-reader.ts';
import type { ColdState, FoldEntry } from '../shard-fold.ts';
import type { RunnableView } from '../state/view-plan.ts';
import { BuildTables } from './build-tables.ts';
import { checkedView } from './checked-view.ts';
import { ContractBook } from './contract-book.ts';
import { eraseIn, readErasure } from './erase.ts';
import { LiveTables, readyRoutes } from './live-tables.ts';
import { RouteProgress } from './route-progress.ts';
import { type CacheUse, noUse } from './state-cache.ts';
import type { TableRows } from './table-rows.ts';
import { type Build, type FoldCounters, ViewInstance } from './view-instance.ts';
import { WatchedCold } from './watched-cold.ts';

const FIRST_GENERATION = 1;

export class Force {
  /** The offset that the fold began at. What lies before it is not known: a route may have begun there. */
  origin = 0;
  definitions: DefinitionSet | undefined;
  nextInstance = 0;
  readonly routes = new Map<number, RouteProgress>();
  readonly contracts = new ContractBook();
  /** The present instance of each view in force, by view id in hex: the one that is offered, once it is complete. */
  readonly views = new Map<string, ViewInstance>();
  /** What takes the place of a present instance that stands still, by view id in hex. */
  readonly successors = new Map<string, ViewInstance>();
  readonly counters: FoldCounters = { expiredEvents: 0, expressionErrors: 0, unknownContracts: 0, joinMisses: 0 };
  readonly use: CacheUse;
  /** The tables that views in force join. */
  readonly tables: LiveTables;
  readonly #cold: WatchedCold;
  readonly #record = new RecordReader();
  /** The instances that may fold the record at an offset, while another may not yet. */
  #ready: { readonly offset: number; readonly instances: ReadonlySet<ViewInstance> } = {
    offset: -1,
    instances: new Set(),
  };
  /** The instances that the live fold feeds: those not being built. */
  #liveByRoute = new Map<number, ViewInstance[]>();

  constructor(cold: ColdState, cacheBytes: number, unknownMax?: number) {
    this.use = noUse(cacheBytes, unknownMax);
    this.#cold = new WatchedCold(cold);
    this.tables = new LiveTables({ cold: this.#cold, use: this.use });
  }

  get generation(): number {
    return Number(this.definitions?.generation ?? 0n);
  }

  /** Every instance that has state: the present ones and their successors. */
  *instances(): Generator<ViewInstance> {
    yield* this.views.values();
    yield* this.successors.values();
  }

  /** The routes that must begin anew for views whose tables are here, but not what these were before. */
  waitingForRoutes(): number[] {
    const waiting = [...this.#waitingForRoutes()];
    return [...new Set(waiting.map(({ view }) => view.route))].sort((a, b) => a - b);
  }

  #waitingForRoutes(): Set<ViewInstance> {
    const isWaiting = ({ awaitsTables, view }: ViewInstance): boolean =>
      awaitsTables && readyRoutes(view, this.routes) !== undefined;
    return new Set([...this.views.values()].filter(isWaiting));
  }

  /** All rows of joined tables: those of the live fold and those of builds. */
  *tableRows(): Generator<TableRows> {
    for (const table of this.tables.all()) yield* table.rows();
    for (const { build } of this.instances()) for (const table of build?.tables?.all() ?? []) yield* table.rows();
  }

  /**
   * Takes one record of the live fold into account. False: it has not, and somebody else should have a turn before it is given
   * the record again (ContributionTree.prepare).
   */
  fold(entry: FoldEntry): boolean {
    const record = this.#record;
    record.load(entry.record);
    switch (record.kind) {
      case RecordKind.CHANGE:
      case RecordKind.TRUNCATE: {
        const instances = this.#liveByRoute.get(record.route) ?? [];
        if (!this.#prepare(instances, entry)) return false;
        const route = this.routes.get(record.route);
        if (route === undefined || !route.accept(record)) return true;
        this.#foldChange(instances, entry);
        // Behind the views: a table joined with itself is joined as it was before the change.
        this.tables.apply(record, entry.offset);
        return true;
      }
      case RecordKind.TABLE:
        if (this.routes.get(record.route)?.accept(record) === true) this.tables.apply(record, entry.offset);
        return true;
      case RecordKind.ROUTE_BEGIN:
        this.#beginRoute(record.route, record.generation, entry);
        return true;
      case RecordKind.SNAPSHOT_END:
        this.#endSnapshot(record.route, record.generation, entry.offset);
        return true;
      case RecordKind.DEFINITIONS: {
        // A copy: what protobuf-es decodes refers to the bytes, and the record is only lent.
        const { kind } = fromBinary(LogRecordSchema, entry.record.slice());
        if (kind.case === 'definitions') this.#define(kind.value, entry.offset);
        return true;
      }
      case RecordKind.ERASE: {
        const erasure = readErasure(entry);
        // A build meets the record when it comes to it; so does one that waits for its tables.
        const fed = [...this.instances()].filter(({ build, awaitsTables }) => build === undefined && !awaitsTables);
        eraseIn(fed, this.definitions, erasure, entry);
        this.tables.erase(erasure);
        return true;
      }
      case RecordKind.ERASED:
        // F3: what was erased still counts as delivered.
        this.routes.get(record.route)?.accept(record);
        return true;
      default:
        // Ticks only carry log time.
        return true;
    }
  }

  /**
   * Who was ready for the record is not asked again when another is not: what is read for one may drive out what was read for the
   * others, and each would begin anew for as long as there is another.
   */
  #prepare(instances: readonly ViewInstance[], { offset, logTimeUs }: FoldEntry): boolean {
    const record = this.#record;
    if (record.kind !== RecordKind.CHANGE) return true;
    const ready = this.#ready.offset === offset ? this.#ready.instances : undefined;
    for (let i = 0; i < instances.length; i++) {
      const instance = instances[i] as ViewInstance;
      if (ready?.has(instance) === true || instance.mutable?.prepare(record, logTimeUs) !== false) continue;
      // A build, which is asked by itself, has nothing to note.
      if (i > 0) this.#ready = { offset, instances: new Set(instances.slice(0, i)) };
      return false;
    }
    return true;
  }

  /**
   * Feeds a build, as far as the live fold is; when it has caught up the view joins the live fold. One that breaks at a
   * record stays where it is, until the view goes or its route begins anew. Also stays before a record that somebody else should
   * have a turn before (fold()). Throws what the cold store fails with.
   */
  foldBuild(instance: ViewInstance, entries: readonly FoldEntry[], livePosition: number): void {
    const { build } = instance;
    if (build === undefined || build.broken !== undefined) return;
    for (const entry of entries) {
      if (build.position >= livePosition) break;
      assert(entry.offset === build.position, `F3: a build at ${build.position} was fed offset ${entry.offset}`);
      let readOn: number | undefined;
      try {
        // A truncation puts a fresh instance into its place, with the same build.
        const now = must(this.views.get(instance.view.viewId));
        this.#record.load(entry.record);
        if (this.#record.route === build.route.route && !this.#prepare([now], entry)) return;
        readOn = this.#foldShadow(now, build, entry);
      } catch (error) {
        if (!isFreshetError(error) || error === this.#cold.failure) throw error;
        build.broken = `record ${entry.offset}: ${error.message}`;
        this.#emptyBuild(must(this.views.get(instance.view.viewId)), build);
        return;
      }
      build.position = readOn ?? entry.offset + 1;
      if (readOn !== undefined) break;
    }
    if (build.position < livePosition) return;
    if (build.tables !== undefined) this.tables.adopt(build.tables);
    const built = must(this.views.get(instance.view.viewId));
    built.build = undefined;
    built.completeAt = this.#isAwaitingSnapshot(built.view.route) ? undefined : livePosition;
    this.#indexRoutes();
  }

  /** A build of which the log no longer has the rest begins anew, with nothing. */
  restartBuild(instance: ViewInstance): void {
    const { build, view } = instance;
    if (build === undefined || build.broken !== undefined) return;
    const { route, tables } = build;
    const position = tables?.position ?? must(this.routes.get(route.route)).beginOffset;
    if (build.position === position) return;
    this.#emptyBuild(instance, { position, route: new RouteProgress(view.plan.route), tables });
  }

  /** Everything as a commit had it. */
  restore(meta: FoldMeta): void {
    this.nextInstance = meta.nextInstance;
    this.origin = Number(meta.origin);
    this.counters.expiredEvents = Number(meta.expiredEvents);
    this.counters.expressionErrors = Number(meta.expressionErrors);
    this.counters.unknownContracts = Number(meta.unknownContracts);
    this.counters.joinMisses = Number(meta.joinMisses);
    for (const route of meta.routes) {
      if (route.generation > 0) this.routes.set(route.route, RouteProgress.fromProto(route));
      for (const contract of route.contracts) this.contracts.add(route.route, contract);
    }
    if (meta.definitions.length === 0) return;
    this.definitions = fromBinary(DefinitionSetSchema, meta.definitions);
    const plans = plansById(this.definitions);
    for (const stored of meta.views) {
      const viewId = toHex(stored.viewId);
      const view = checkedView(must(plans.get(viewId), 'a commit holds a view that its definitions do not'));
      // Commits of versions before 2026-11-23 name no generation, and have no successors.
      const generation = stored.generation || this.#generationOf(view.plan.route);
      const { use, tables } = this;
      const options = { view, number: stored.instance, generation, cold: this.#cold, use, tables, stored };
      (stored.successor ? this.successors : this.views).set(viewId, new ViewInstance(options));
    }
    this.tables.join(joinedRoutes(this.definitions));
    this.tables.restore(meta.tables);
    this.#indexRoutes();
  }

  /** Folds the record that the reader stands at. Returns where to read on, when that is not at the next record. */
  #foldShadow(instance: ViewInstance, { route, tables }: Build, entry: FoldEntry): number | undefined {
    const record = this.#record;
    if (record.kind === RecordKind.ERASE) {
      const erasure = readErasure(entry);
      if (tables?.folds(entry.offset) !== false) eraseIn([instance], this.definitions, erasure, entry);
      tables?.erase(erasure, entry.offset);
      return undefined;
    }
    if (record.route === route.route && tables?.folds(entry.offset) !== false) this.#foldEvent(instance, route, entry);
    return tables?.take(record, entry.offset);
  }

  #foldEvent(instance: ViewInstance, route: RouteProgress, entry: FoldEntry): void {
    const record = this.#record;
    if (record.kind === RecordKind.ROUTE_BEGIN) route.begin(record.generation, entry.offset);
    else if (record.kind === RecordKind.SNAPSHOT_END) route.endSnapshot(record.generation);
    else if (record.kind === RecordKind.ERASED) route.accept(record);
    else if (record.kind === RecordKind.CHANGE || record.kind === RecordKind.TRUNCATE) {
      if (route.accept(record)) this.#foldChange([instance], entry);
    }
  }

  /** Folds the change or truncation that the reader stands at, which counts, into instances of its route. */
  #foldChange(instances: readonly ViewInstance[], entry: FoldEntry): void {
    const record = this.#record;
    if (record.kind === RecordKind.TRUNCATE) {
      // By id, as in #beginRoute.
      const byId = [...instances].sort((a, b) => (a.view.viewId < b.view.viewId ? -1 : 1));
      for (const instance of byId) this.#empty(instance, entry.offset);
      return;
    }
    for (let i = 0; i < instances.length; i++) {
      const instance = instances[i] as ViewInstance;
      instance.fold(record, entry.offset, entry.logTimeUs, this.contracts, this.counters);
    }
  }

  /** The source of a mutable view was emptied: the view is too, at once. Emptying a log of events undoes none of them. */
  #empty(instance: ViewInstance, offset: number): void {
    const { view, build, completeAt } = instance;
    if (!view.reach.mutable) return;
    // The build goes on with the fresh instance.
    instance.build = undefined;
    instance.close();
    const fresh = this.#begin(view, completeAt === undefined ? undefined : offset + 1);
    fresh.build = build;
    fresh.versionsFrom = instance.versionsFrom;
    const isSuccessor = this.successors.get(view.viewId) === instance;
    (isSuccessor ? this.successors : this.views).set(view.viewId, fresh);
    this.#indexRoutes();
  }

  /**
   * A fresh instance stands in the place of one whose build cannot go on: somebody who is erased meanwhile would stay in what that
   * had folded, as a build learns of it where it comes to the record.
   */
  #emptyBuild(instance: ViewInstance, { tables, ...build }: Build): void {
    const { view } = instance;
    instance.close();
    const fresh = this.#begin(view);
    fresh.versionsFrom = instance.versionsFrom;
    const storage = { cold: this.#cold, use: this.use };
    fresh.build = { ...build, tables: tables?.restarted(fresh.number, tables.eventsFrom, storage) };
    this.views.set(view.viewId, fresh);
    this.#indexRoutes();
  }

  #beginRoute(number: number, generation: number, { offset, logTimeUs }: FoldEntry): void {
    let route = this.routes.get(number);
    if (route === undefined) {
      route = new RouteProgress(number);
      this.routes.set(number, route);
    }
    // Before it begins: of a table that is joined with itself nothing is ready from then on.
    const waiting = this.#waitingForRoutes();
    if (!route.begin(generation, offset)) return;
    this.tables.begin(number, offset);
    // Nothing of it was folded yet: what is there is fed, and complete when the snapshot has ended.
    if (generation === FIRST_GENERATION) {
      // A view that joins it has joined nothing before, in any fold.
      const isJoined = ({ view }: ViewInstance): boolean => view.joins.some((join) => join.route === number);
      for (const instance of this.views.values()) if (isJoined(instance)) instance.tablesUnknown = false;
      return;
    }
    // By id, as commits keep them: the order in which views came into force is forgotten by a restart, and the numbers
    // of instances must not tell that there was one (F1).
    for (const [viewId, instance] of [...this.views].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (instance.view.route !== number) continue;
      const next = this.#begin(instance.view);
      if (instance.completeAt === undefined) {
        // The new generation brings every row again: nobody was shown what was folded of the old one.
        instance.close();
        this.views.set(viewId, next);
        const isFed = (!instance.awaitsTables || waiting.has(instance)) && this.tables.have(next.view);
        if (next.view.joins.length > 0 && !isFed) this.#restartJoined(next, instance, offset);
        continue;
      }
      instance.standStill({ position: offset, logTimeUs });
      this.successors.get(viewId)?.close();
      this.successors.set(viewId, next);
    }
    this.#indexRoutes();
  }

  #endSnapshot(number: number, generation: number, offset: number): void {
    if (this.routes.get(number)?.endSnapshot(generation) !== true) return;
    for (const instance of this.#liveByRoute.get(number) ?? []) {
      instance.completeAt ??= offset + 1;
      const viewId = toHex(instance.view.plan.viewId);
      if (this.successors.get(viewId) !== instance) continue;
      this.views.get(viewId)?.close();
      this.views.set(viewId, instance);
      this.successors.delete(viewId);
    }
    if (!this.tables.endSnapshot(number)) return;
    for (const instance of this.views.values()) if (instance.awaitsTables) this.#startJoined(instance, offset);
    this.#indexRoutes();
  }

  #define(definitions: DefinitionSet, offset: number): void {
    if (Number(definitions.generation) <= this.generation) return;
    const isFirstKnown = this.definitions === undefined;
    this.definitions = definitions;
    for (const { route, source } of definitions.routes) {
      if (source?.contract !== undefined) this.contracts.add(route, source.contract);
    }
    const wanted = plansById(definitions);
    for (const [viewId, instance] of this.views) {
      if (isSameRoutes(wanted.get(viewId), instance.view.plan)) continue;
      instance.close();
      this.views.delete(viewId);
      this.successors.get(viewId)?.close();
      this.successors.delete(viewId);
    }
    this.tables.join(joinedRoutes(definitions));
    for (const viewId of [...wanted.keys()].sort()) {
      if (!this.views.has(viewId))
        this.views.set(viewId, this.#bringIntoForce(must(wanted.get(viewId)), offset, isFirstKnown));
    }
    this.#indexRoutes();
  }

  /** A view that new definitions are the first to name. */
  #bringIntoForce(plan: ViewPlan, offset: number, isFirstKnown: boolean): ViewInstance {
    const view = checkedView(plan);
    const instance = this.#begin(view);
    if (view.joins.length > 0) {
      // It may have come into force before what is known.
      instance.tablesUnknown = this.origin > 0 && isFirstKnown;
      return this.#startJoined(instance, offset);
    }
    const route = this.routes.get(plan.route);
    // Nothing of the route can have been missed before it began.
    if (route === undefined) return instance;
    instance.build = { position: route.beginOffset, route: new RouteProgress(plan.route) };
    return instance;
  }

  /**
   * Starts an instance that joins tables, by the record at the offset, or lets it wait for them. It is fed live when the
   * tables are there and nothing of its route can have been missed; else it is built.
   *
   * A fold that began late may know a table only since it was read anew, where others had it before, and have joined with it
   * what lies before. Built here with the table as it is known, the same records would make other rows at the same versions
   * (R1). So such an instance waits until its route begins anew behind its tables, as it then does in every fold.
   */
  #startJoined(instance: ViewInstance, offset: number): ViewInstance {
    const { view, number } = instance;
    const route = this.routes.get(view.plan.route);
    const ready = readyRoutes(view, this.routes);
    if (this.origin > 0 && view.joins.some((join) => !this.routes.has(join.route))) instance.tablesUnknown = true;
    const isUnknown = instance.tablesUnknown && ready?.some(({ generation }) => generation > FIRST_GENERATION) === true;
    instance.awaitsTables = ready === undefined || (isUnknown && route !== undefined && route.beginOffset < offset);
    if (ready === undefined || instance.awaitsTables) return instance;
    instance.tablesUnknown = false;
    // Of a generation that begins here nothing lies before.
    instance.versionsFrom = route?.beginOffset === offset ? 0 : offset;
    if (route === undefined && this.tables.have(view)) return instance;
    const tables = BuildTables.begin(ready, number, route?.beginOffset, { cold: this.#cold, use: this.use });
    instance.build = { position: tables.position, route: new RouteProgress(view.plan.route), tables };
    return instance;
  }

  /**
   * Starts an instance in the place of one that was not done. Where that one was building, this one begins with the same
   * generations of the tables: how far the first came must not show (F1).
   */
  #restartJoined(next: ViewInstance, before: ViewInstance, offset: number): void {
    next.tablesUnknown = before.tablesUnknown;
    const tables = before.build?.tables?.restarted(next.number, offset, { cold: this.#cold, use: this.use });
    if (tables === undefined) this.#startJoined(next, offset);
    else next.build = { position: tables.position, route: new RouteProgress(next.view.plan.route), tables };
  }

  #begin(view: RunnableView, completeAt?: number): ViewInstance {
    const generation = this.#generationOf(view.plan.route);
    const instance = new ViewInstance({
      view,
      number: this.nextInstance++,
      generation,
      cold: this.#cold,
      use: this.use,
      tables: this.tables,
    });
    instance.completeAt = completeAt;
    return instance;
  }

  /** Nothing half is shown: a view waits for the end of its route's snapshot, and for its beginning. */
  #isAwaitingSnapshot(number: number): boolean {
    return this.routes.get(number)?.snapshotEnded !== true;
  }

  /** The generation of the route that an instance which begins now folds. Nothing of a route is as good as its first. */
  #generationOf(number: number): number {
    return Math.max(FIRST_GENERATION, this.routes.get(number)?.generation ?? 0);
  }

  #indexRoutes(): void {
    const live = [...this.instances()].filter(
      ({ build, standing, awaitsTables }) => build === undefined && standing === undefined && !awaitsTables,
    );
    this.#liveByRoute = Map.groupBy(live, ({ view }) => view.route);
  }
}

/** Plans with equal ids are one view, whatever names they have. */
function plansById(definitions: DefinitionSet): Map<string, ViewPlan> {
  return new Map(definitions.views.map((plan) => [toHex(plan.viewId), plan]));
}

/** The routes of all tables that views join. */
function joinedRoutes({ views }: DefinitionSet): Set<number> {
  return new Set(views.flatMap(({ joins }) => joins.map(({ route }) => route)));
}

/** Whether a view's plan still takes its rows and its tables from the same routes. */
function isSameRoutes(wanted: ViewPlan | undefined, { route, joins }: ViewPlan): boolean {
  return wanted?.route === route && wanted.joins.every((join, index) => join.route === joins[index]?.route);
}
