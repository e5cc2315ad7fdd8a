/**
 * The routes that views need, numbered.
 *
 * Owns what makes two routes the same: origin, mode, event time column, max_skew, key columns and their kinds; of a
 * broadcast table, which is no events, origin, mode, key columns and their kinds. The same
 * route keeps its number from one set of definitions to the next, whatever the source or entity is called; a number
 * that was given once is never given to another, since records in the log name routes by it.
 */
import { clone, create, toBinary } from '@bufbuild/protobuf';
import { ChangePolicy, HoldScope } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  EntityPlanSchema,
  type RoutePlan,
  RoutePlanSchema,
  SourcePlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';

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

export class RouteTable {
  readonly #known = new Map<string, number>();
  readonly #routes = new Map<number, RoutePlan>();
  #highest: number;

  /** `highest` is the highest number ever given, also to routes that are no more. */
  constructor(previous: DefinitionSet | undefined, highest: number) {
    this.#highest = highest;
    for (const route of previous?.routes ?? []) {
      this.#known.set(identityText(route), route.route);
      this.#highest = Math.max(this.#highest, route.route);
    }
  }

  /** The highest number given so far. */
  get highest(): number {
    return this.#highest;
  }

  /** The number of a route; a new one for a route that is new. */
  number(route: Omit<RoutePlan, 'route' | '$typeName' | '$unknown'>): number {
    const identity = identityText(route);
    let number = this.#known.get(identity);
    if (number === undefined) {
      number = ++this.#highest;
      this.#known.set(identity, number);
    }
    // Several entities may have the same key: the route goes by the first one's name.
    if (!this.#routes.has(number)) this.#routes.set(number, create(RoutePlanSchema, { ...route, route: number }));
    return number;
  }

  /** The routes that were asked for, by number ascending. */
  routes(): RoutePlan[] {
    return [...this.#routes.values()].sort((a, b) => a.route - b.route);
  }
}
