/**
 * What is in force in a shard: routes, contracts, views, and their instances; and what each kind of record does to them.
 *
 * Owns when an instance begins, is built, is complete and is over. Does not own the shard's position (../shard-fold.ts),
 * nor what a change does to a key's state (view-instance.ts).
 *
 *      definitions name the view                      route begins generation 2, 3, …
 *        │ route not begun: complete                    │ a new instance, empty, fed live
 *        │ else: building ──build at the position──▶ complete        complete when the snapshot has ended
 *
 * Invariant F1: everything here follows from records alone, but for the moment at which a build ends.
 */
import { fromBinary } from '@bufbuild/protobuf';
import type { FoldMeta } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type DefinitionSet, DefinitionSetSchema, type ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { RecordKind, RecordReader } from '../record/record-reader.ts';
import type { ColdState, FoldEntry } from '../shard-fold.ts';
import { type RunnableView, runnableView } from '../state/view-plan.ts';
import { engineVersion } from '../windows.ts';
import { ContractBook } from './contract-book.ts';
import { eraseIn } from './erase.ts';
import { RouteProgress } from './route-progress.ts';
import type { CacheUse } from './state-cache.ts';
import { type FoldCounters, ViewInstance } from './view-instance.ts';

export class Force {
  definitions: DefinitionSet | undefined;
  nextInstance = 0;
  readonly routes = new Map<number, RouteProgress>();
  readonly contracts = new ContractBook();
  /** The present instance of each view in force, by view id in hex. */
  readonly views = new Map<string, ViewInstance>();
  readonly counters: FoldCounters = { expiredEvents: 0, expressionErrors: 0, unknownContracts: 0 };
  readonly use: CacheUse = { bytes: 0, dirtyBytes: 0 };
  readonly #cold: ColdState;
  readonly #record = new RecordReader();
  /** The instances that the live fold feeds: those not being built. */
  #liveByRoute = new Map<number, ViewInstance[]>();

  constructor(cold: ColdState) {
    this.#cold = cold;
  }

  get generation(): number {
    return Number(this.definitions?.generation ?? 0n);
  }

  /** Takes one record of the live fold into account. */
  fold(entry: FoldEntry): void {
    const record = this.#record;
    record.load(entry.record);
    switch (record.kind) {
      case RecordKind.CHANGE:
      case RecordKind.TRUNCATE: {
        const route = this.routes.get(record.route);
        if (route === undefined) return;
        this.#foldChange(route, this.#liveByRoute.get(record.route) ?? [], entry);
        return;
      }
      case RecordKind.ROUTE_BEGIN:
        this.#beginRoute(record.route, record.generation, entry.offset);
        return;
      case RecordKind.SNAPSHOT_END:
        this.#endSnapshot(record.route, record.generation, entry.offset);
        return;
      case RecordKind.DEFINITIONS: {
        // A copy: what protobuf-es decodes refers to the bytes, and the record is only lent.
        const { kind } = fromBinary(LogRecordSchema, entry.record.slice());
        if (kind.case === 'definitions') this.#define(kind.value, entry.offset);
        return;
      }
      case RecordKind.ERASE:
        eraseIn(
          [...this.views.values()].filter(({ build }) => build === undefined),
          entry,
        );
        return;
      case RecordKind.ERASED:
        // F3: what was erased still counts as delivered.
        this.routes.get(record.route)?.accept(record);
        return;
      default:
      // Ticks only carry log time. Broadcast tables are written by no version that this one
      // reads.
    }
  }

  /** Feeds a build, as far as the live fold is; when it has caught up the view joins the live fold. */
  foldBuild(instance: ViewInstance, entries: readonly FoldEntry[], livePosition: number): void {
    const { build } = instance;
    if (build === undefined) return;
    for (const entry of entries) {
      if (build.position >= livePosition) break;
      assert(entry.offset === build.position, `F3: a build at ${build.position} was fed offset ${entry.offset}`);
      // A truncation puts a fresh instance into its place, with the same build.
      this.#foldShadow(must(this.views.get(instance.view.viewId)), build.route, entry);
      build.position = entry.offset + 1;
    }
    if (build.position < livePosition) return;
    const built = must(this.views.get(instance.view.viewId));
    built.build = undefined;
    built.completeAt = this.#isAwaitingSnapshot(built.view.route) ? undefined : livePosition;
    this.#indexRoutes();
  }

  /** Everything as a commit had it. */
  restore(meta: FoldMeta): void {
    this.nextInstance = meta.nextInstance;
    this.counters.expiredEvents = Number(meta.expiredEvents);
    this.counters.expressionErrors = Number(meta.expressionErrors);
    this.counters.unknownContracts = Number(meta.unknownContracts);
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
      const options = { view, number: stored.instance, cold: this.#cold, use: this.use, stored };
      this.views.set(viewId, new ViewInstance(options));
    }
    this.#indexRoutes();
  }

  #foldShadow(instance: ViewInstance, route: RouteProgress, entry: FoldEntry): void {
    const record = this.#record;
    record.load(entry.record);
    if (record.kind === RecordKind.ERASE) eraseIn([instance], entry);
    if (record.route !== route.route) return;
    if (record.kind === RecordKind.ROUTE_BEGIN) route.begin(record.generation, entry.offset);
    else if (record.kind === RecordKind.SNAPSHOT_END) route.endSnapshot(record.generation);
    else if (record.kind === RecordKind.ERASED) route.accept(record);
    else if (record.kind === RecordKind.CHANGE || record.kind === RecordKind.TRUNCATE) {
      this.#foldChange(route, [instance], entry);
    }
  }

  /** Folds the change or truncation that the reader stands at into instances of its route. */
  #foldChange(route: RouteProgress, instances: readonly ViewInstance[], entry: FoldEntry): void {
    const record = this.#record;
    if (!route.accept(record)) return;
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
    instance.close();
    const fresh = this.#begin(view, completeAt === undefined ? undefined : offset + 1);
    fresh.build = build;
    this.views.set(view.viewId, fresh);
    this.#indexRoutes();
  }

  #beginRoute(number: number, generation: number, offset: number): void {
    let route = this.routes.get(number);
    if (route === undefined) {
      route = new RouteProgress(number);
      this.routes.set(number, route);
    }
    const isFirst = route.generation === 0;
    if (!route.begin(generation, offset) || isFirst) return;
    // By id, as commits keep them: the order in which views came into force is forgotten by a restart, and the numbers
    // of instances must not tell that there was one (F1).
    for (const [viewId, instance] of [...this.views].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (instance.view.route !== number) continue;
      // The new generation brings every row again: what was folded of the old one must not stay.
      instance.close();
      this.views.set(viewId, this.#begin(instance.view, undefined));
    }
    this.#indexRoutes();
  }

  #endSnapshot(number: number, generation: number, offset: number): void {
    if (this.routes.get(number)?.endSnapshot(generation) !== true) return;
    for (const instance of this.#liveByRoute.get(number) ?? []) instance.completeAt ??= offset + 1;
  }

  #define(definitions: DefinitionSet, offset: number): void {
    if (Number(definitions.generation) <= this.generation) return;
    this.definitions = definitions;
    for (const { route, source } of definitions.routes) {
      if (source?.contract !== undefined) this.contracts.add(route, source.contract);
    }
    const wanted = plansById(definitions);
    for (const [viewId, instance] of this.views) {
      if (wanted.get(viewId)?.route === instance.view.route) continue;
      instance.close();
      this.views.delete(viewId);
    }
    for (const viewId of [...wanted.keys()].sort()) {
      if (!this.views.has(viewId)) this.views.set(viewId, this.#bringIntoForce(must(wanted.get(viewId)), offset));
    }
    this.#indexRoutes();
  }

  /** A view that the definitions at the offset are the first to name. */
  #bringIntoForce(plan: ViewPlan, offset: number): ViewInstance {
    const view = checkedView(plan);
    const route = this.routes.get(plan.route);
    // Nothing of the route can have been missed before it began.
    if (route === undefined) return this.#begin(view, offset + 1);
    const instance = this.#begin(view, undefined);
    instance.build = { position: route.beginOffset, route: new RouteProgress(plan.route) };
    return instance;
  }

  #begin(view: RunnableView, completeAt: number | undefined): ViewInstance {
    const instance = new ViewInstance({ view, number: this.nextInstance++, cold: this.#cold, use: this.use });
    instance.completeAt = completeAt;
    return instance;
  }

  /** A first generation is shown while its snapshot is folded; a later one replaces what was shown, so it is not. */
  #isAwaitingSnapshot(number: number): boolean {
    const route = this.routes.get(number);
    return route !== undefined && route.generation > 1 && !route.snapshotEnded;
  }

  #indexRoutes(): void {
    const live = [...this.views.values()].filter(({ build }) => build === undefined);
    this.#liveByRoute = Map.groupBy(live, ({ view }) => view.route);
  }
}

/** Plans with equal ids are one view, whatever names they have. */
function plansById(definitions: DefinitionSet): Map<string, ViewPlan> {
  return new Map(definitions.views.map((plan) => [toHex(plan.viewId), plan]));
}

function checkedView(plan: ViewPlan): RunnableView {
  if (plan.engineVersion > engineVersion) {
    throw new FreshetError(
      'INVALID_DEFINITION',
      `View ${plan.name} needs engine version ${plan.engineVersion}; this is version ${engineVersion}.`,
      { remedy: 'Upgrade every compute node before the registry, then apply again.' },
    );
  }
  return runnableView(plan);
}
