/**
 * The routes that views need, numbered.
 *
 * Owns what makes two routes the same: origin, mode, event time column, max_skew, key columns and their kinds; of a
 * broadcast table, which is no events, origin, mode, key columns and their kinds. The same
 * route keeps its number from one set of definitions to the next, whatever the source or entity is called; a number
 * that was given once is never given to another, since records in the log name routes by it. A route that began anew for
 * columns that the rows of another lack has a number of its own beside that one.
 */
import { clone, create, toBinary } from '@bufbuild/protobuf';
import { ChangePolicy, type Column, HoldScope } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  EntityPlanSchema,
  type LateColumn,
  type RoutePlan,
  RoutePlanSchema,
  SourcePlanSchema,
  type ViewPlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { isLate, lateColumns } from './late-columns.ts';

/** What identifies a route, as bytes: the route without its number, names of definitions, contract, policies and rules. */
export function routeIdentity(route: Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>): Uint8Array {
  const source = route.source === undefined ? create(SourcePlanSchema) : clone(SourcePlanSchema, route.source);
  source.name = '';
  delete source.contract;
  // What is held back never reaches the log: what is in it is folded alike under any policy and any rules.
  source.policy = ChangePolicy.UNSPECIFIED;
  source.hold = HoldScope.UNSPECIFIED;
  source.rules = [];
  if (route.entity === undefined) {
    source.eventTimeColumn = '';
    source.maxSkewUs = 0n;
  }
  const entity = create(EntityPlanSchema, {
    // No entity has such a name: a broadcast table is another route than the same table under an entity's key.
    name: route.entity === undefined ? '*' : '',
    key: keyKinds(route).map((kind) => ({ kind })),
  });
  return toBinary(RoutePlanSchema, create(RoutePlanSchema, { source, entity, keyColumns: route.keyColumns }));
}

/** The kinds of the key that a route's records are filed under, in key order. */
export function keyKinds({ source, entity, keyColumns }: Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>): Kind[] {
  if (entity !== undefined) return entity.key.map(({ kind }) => kind);
  const columns = new Map((source?.contract?.columns ?? []).map(({ name, type }) => [name, type?.kind]));
  return keyColumns.map((name) => columns.get(name) ?? Kind.UNSPECIFIED);
}

function identityText(route: Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>): string {
  return Buffer.from(routeIdentity(route)).toString('latin1');
}

/** A route without what the registry gives it. */
export type RouteParts = Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>;

/** What a view asks of its route. */
export interface Wanting {
  readonly viewId: Uint8Array;
  /** The columns of the source that it reads. */
  readonly columns: readonly Column[];
}

/** A route's number, and of a new one the columns for which there is none among those that are known. */
export interface Given {
  readonly number: number;
  readonly lacking: readonly string[];
}

export class RouteTable {
  /** By identity, numbers ascending. */
  readonly #known = new Map<string, Known[]>();
  /** By view id in hex, the route that a view in force has. */
  readonly #inForce = new Map<string, number>();
  /** By route, the columns that views in force read. */
  readonly #read: ReadonlyMap<number, ReadonlySet<string>>;
  /** Those that were asked for, by number. */
  readonly #taken = new Map<number, Taken>();
  #highest: number;

  /** `highest` is the highest number ever given, also to routes that are no more. */
  constructor(previous: DefinitionSet | undefined, highest: number) {
    this.#highest = highest;
    const routes = [...(previous?.routes ?? [])].sort((a, b) => a.route - b.route);
    for (const plan of routes) {
      this.#knownOf(plan).push({ number: plan.route, plan });
      this.#highest = Math.max(this.#highest, plan.route);
    }
    this.#read = readByRoute(previous?.views ?? []);
    for (const { viewId, route } of previous?.views ?? []) this.#inForce.set(toHex(viewId), route);
  }

  /** The highest number given so far. */
  get highest(): number {
    return this.#highest;
  }

  /**
   * The number of the route that a view folds: of one in force its own, else the first, whose rows have what it reads; or else
   * a new one, which is told with the columns that the others lack.
   */
  numberOf(route: RouteParts, { viewId, columns }: Wanting): Given {
    return this.#firstWith(route, columns, this.#inForce.get(toHex(viewId)));
  }

  /** The number of the route of a table that a view of route `of` joins, likewise: a view joined with its own table has one. */
  numberOfJoin(route: RouteParts, columns: readonly Column[], of: number): Given {
    return this.#firstWith(route, columns, of);
  }

  /** The routes that were asked for, by number ascending. */
  routes(): RoutePlan[] {
    const plans = [...this.#taken].map(([number, { route, known, read }]) =>
      create(RoutePlanSchema, { ...route, lateColumns: [...this.#lateOf(known, route, read)], route: number }),
    );
    return plans.sort((a, b) => a.route - b.route);
  }

  #firstWith(route: RouteParts, columns: readonly Column[], mine: number | undefined): Given {
    const known = this.#knownOf(route);
    const lacking = new Set<string>();
    for (const one of [...known.filter(({ number }) => number === mine), ...known]) {
      const late = this.#lateOf(one, route);
      const missing = columns.filter((column) => isLate(late, column));
      if (missing.length === 0) return { number: this.#take(route, one, columns), lacking: [] };
      for (const { name } of missing) lacking.add(name);
    }
    return { number: this.#take(route, this.#give(route), columns), lacking: [...lacking].sort() };
  }

  #knownOf(route: RouteParts): Known[] {
    const identity = identityText(route);
    const known = this.#known.get(identity) ?? [];
    this.#known.set(identity, known);
    return known;
  }

  #give(route: RouteParts): Known {
    const given: Known = { number: ++this.#highest, plan: undefined };
    this.#knownOf(route).push(given);
    return given;
  }

  #take(route: RouteParts, known: Known, columns: readonly Column[]): number {
    const { number } = known;
    // Several entities may have the same key: the route goes by the first one's name.
    const taken = this.#taken.get(number) ?? { route, known, read: new Set() };
    this.#taken.set(number, taken);
    for (const { name } of columns) taken.read.add(name);
    return number;
  }

  /** `readNow`: once all views are known, the columns that they read. */
  #lateOf({ plan }: Known, { source }: RouteParts, readNow?: ReadonlySet<string>): readonly LateColumn[] {
    const [before, after] = [plan?.source?.contract, source?.contract];
    if (plan === undefined || before === undefined || after === undefined) return [];
    if (before.version === after.version) return plan.lateColumns;
    // Each row is read by them, whoever reads it.
    const always = [...plan.keyColumns, plan.source?.eventTimeColumn ?? ''];
    const read = new Set([...(this.#read.get(plan.route) ?? []), ...always]);
    const now = readNow === undefined ? undefined : new Set([...readNow, ...always]);
    return lateColumns(plan.lateColumns, { before, after, read, readNow: now });
  }
}

/** A number that stands for an identity; `plan` as it was in force, undefined for one that was given now. */
interface Known {
  readonly number: number;
  readonly plan: RoutePlan | undefined;
}

/** A route that was asked for, with the columns that are read of it. */
interface Taken {
  readonly route: RouteParts;
  readonly known: Known;
  readonly read: Set<string>;
}

function readByRoute(views: readonly ViewPlan[]): Map<number, Set<string>> {
  const read = new Map<number, Set<string>>();
  const add = (route: number, column: string): void => {
    read.set(route, (read.get(route) ?? new Set()).add(column));
  };
  for (const { route, columns, joins } of views) {
    for (const { name } of columns) add(route, name);
    for (const join of joins) for (const { column } of join.columns) add(join.route, column?.name ?? '');
  }
  return read;
}
