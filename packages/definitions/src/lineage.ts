/**
 * Lineage: which columns a feature is made of, and what a column ends up in. From columns over derived columns, features and
 * on-demand features to services, both ways.
 *
 * Owns the graph and walking it. Pure: made of what is in force, of nothing else. Everything that decides a value counts, not
 * only what is added up: the condition, the key, the event time, what finds a joined row and the rules that keep rows back.
 *
 *     column ──input, where, key, event time, join, rule──▶ feature ──output──▶ service
 *       └──────derived──▶ derived column ──input──▶────┘ └──input──▶ on-demand feature ──output──▶ service
 */
import { create } from '@bufbuild/protobuf';
import { ruleColumnsOf } from '@freshet/contracts/value-rules.ts';
import { compileExpression, type ExpressionColumn } from '@freshet/engine/expression/expression.ts';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet, RoutePlan, ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { tableName } from './plan-cost.ts';

export interface LineageNode {
  /** "feature user_clicks:spend_1h": the kind in words and the name. */
  readonly id: string;
  readonly kind: SubjectKind;
  readonly name: string;
  /** Empty when nobody is named. */
  readonly owner: string;
}

export interface LineageEdge {
  readonly from: string;
  readonly to: string;
  readonly role: string;
  /** Of a reader: how often it read the service, and when last. */
  readonly reads?: bigint;
  readonly lastUs?: bigint;
}

export const KIND_WORDS: Readonly<Record<number, string>> = {
  [SubjectKind.COLUMN]: 'column',
  [SubjectKind.ENTITY]: 'entity',
  [SubjectKind.SOURCE]: 'source',
  [SubjectKind.VIEW]: 'view',
  [SubjectKind.FEATURE]: 'feature',
  [SubjectKind.DERIVED]: 'derived',
  [SubjectKind.ON_DEMAND]: 'on-demand',
  [SubjectKind.SERVICE]: 'service',
  [SubjectKind.READER]: 'reader',
};

/** "feature user_clicks:spend_1h". */
export function nodeId(kind: SubjectKind, name: string): string {
  return `${KIND_WORDS[kind] ?? 'thing'} ${name}`;
}

/** Everything in force as one graph. Immutable once made; make one per generation. */
export class Lineage {
  readonly #nodes = new Map<string, LineageNode>();
  readonly #into = new Map<string, LineageEdge[]>();
  readonly #outOf = new Map<string, LineageEdge[]>();
  readonly #seen = new Set<string>();
  readonly #owners: ReadonlyMap<string, string>;
  /** A column's id by its source's name. */
  readonly #aliases = new Map<string, string>();

  /** `written` is asked for owners only. */
  constructor(set: DefinitionSet, written?: Definitions) {
    this.#owners = ownersOf(written);
    const routes = new Map(set.routes.map((route) => [route.route, route]));
    const views = new Map(set.views.map((view) => [toHex(view.viewId), view]));
    for (const route of set.routes) this.#addSource(route);
    for (const view of set.views) this.#addView(view, routes);
    for (const service of set.services) this.#addService(service, views);
  }

  get nodes(): Iterable<LineageNode> {
    return this.#nodes.values();
  }

  node(id: string): LineageNode | undefined {
    return this.#nodes.get(id);
  }

  /** A column by its table's name or by its source's. */
  findColumn(name: string): LineageNode | undefined {
    return this.#nodes.get(nodeId(SubjectKind.COLUMN, name)) ?? this.#nodes.get(this.#aliases.get(name) ?? '');
  }

  /**
   * The node, what it is made of, and what is made of it. What something else brings into the latter is not in it: only
   * what lies on a way through the node.
   */
  around(id: string): { readonly nodes: LineageNode[]; readonly edges: LineageEdge[] } {
    const nodes = new Set<string>([id]);
    const edges = new Set<LineageEdge>();
    const members = (this.#outOf.get(id) ?? []).filter(({ role }) => role === 'has');
    for (const edge of members) {
      edges.add(edge);
      nodes.add(edge.to);
    }
    const starts = members.length === 0 ? [id] : members.map(({ to }) => to);
    this.#walk(starts, this.#into, (edge) => edge.from, nodes, edges);
    this.#walk(starts, this.#outOf, (edge) => edge.to, nodes, edges);
    return { nodes: [...nodes].flatMap((node) => this.#nodes.get(node) ?? []), edges: [...edges] };
  }

  /** The nodes that are there of these, and what they are made of. */
  upstream(ids: readonly string[]): { readonly nodes: LineageNode[]; readonly edges: LineageEdge[] } {
    const nodes = new Set<string>(ids);
    const edges = new Set<LineageEdge>();
    this.#walk(ids, this.#into, (edge) => edge.from, nodes, edges);
    return { nodes: [...nodes].flatMap((node) => this.#nodes.get(node) ?? []), edges: [...edges] };
  }

  /** The ids of everything made of the node: what a change of it reaches. */
  downstream(id: string): Set<string> {
    const nodes = new Set<string>([id]);
    this.#walk([id], this.#outOf, (edge) => edge.to, nodes, new Set());
    nodes.delete(id);
    return nodes;
  }

  #walk(
    starts: readonly string[],
    along: ReadonlyMap<string, readonly LineageEdge[]>,
    next: (edge: LineageEdge) => string,
    nodes: Set<string>,
    edges: Set<LineageEdge>,
  ): void {
    const seen = new Set<string>(starts);
    const left = [...starts];
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      for (const edge of along.get(id) ?? []) {
        if (edge.role === 'has') continue;
        edges.add(edge);
        const other = next(edge);
        nodes.add(other);
        if (seen.has(other)) continue;
        seen.add(other);
        left.push(other);
      }
    }
  }

  #add(kind: SubjectKind, name: string, belongsTo = ''): string {
    const id = nodeId(kind, name);
    if (!this.#nodes.has(id)) {
      const owner = this.#owners.get(id) ?? this.#owners.get(belongsTo) ?? '';
      this.#nodes.set(id, { id, kind, name, owner });
    }
    return id;
  }

  #edge(from: string, to: string, role: string): void {
    const key = `${from}\n${to}\n${role}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const edge = { from, to, role };
    push(this.#outOf, from, edge);
    push(this.#into, to, edge);
  }

  #column(route: RoutePlan | undefined, column: string): string | undefined {
    const source = route?.source;
    if (source === undefined || column === '') return undefined;
    const sourceId = this.#add(SubjectKind.SOURCE, source.name);
    const id = this.#add(SubjectKind.COLUMN, `${tableName(source)}.${column}`, sourceId);
    this.#aliases.set(`${source.name}.${column}`, id);
    this.#edge(sourceId, id, 'has');
    return id;
  }

  #addSource(route: RoutePlan): void {
    for (const { name } of route.source?.contract?.columns ?? []) this.#column(route, name);
  }

  #addView(view: ViewPlan, routes: ReadonlyMap<number, RoutePlan>): void {
    const viewId = this.#add(SubjectKind.VIEW, view.name);
    const route = routes.get(view.route);
    const scope = new ViewScope(view);
    const derived = new Map(
      view.derived.map(({ name }) => [name, this.#add(SubjectKind.DERIVED, `${view.name}:${name}`, viewId)]),
    );
    // What a name in the view comes from; a joined one also from what finds its row.
    const uses = (name: string, to: string, role: string): void => {
      const own = derived.get(name);
      const join = scope.joinOf(name);
      if (own !== undefined) this.#edge(own, to, role);
      else if (join === undefined) this.#edgeFrom(this.#column(route, name), to, role);
      else {
        const table = routes.get(join.plan.route);
        this.#edgeFrom(this.#column(table, join.column), to, role);
        for (const { column, key } of join.plan.on) {
          this.#edgeFrom(this.#column(route, column), to, 'join');
          this.#edgeFrom(this.#column(table, key?.name ?? ''), to, 'join');
        }
        this.#addRules(table, to);
      }
    };
    for (const { name, names } of scope.derivedUses()) {
      for (const used of names) uses(used, derived.get(name) ?? '', 'derived');
    }
    const whereNames = scope.whereUses();
    for (const { name, input } of view.features) {
      const id = this.#add(SubjectKind.FEATURE, `${view.name}:${name}`, viewId);
      this.#edge(viewId, id, 'has');
      if (input !== '') uses(input, id, 'input');
      for (const used of whereNames) uses(used, id, 'where');
      for (const column of route?.keyColumns ?? []) this.#edgeFrom(this.#column(route, column), id, 'key');
      this.#edgeFrom(this.#column(route, route?.source?.eventTimeColumn ?? ''), id, 'event time');
      this.#addRules(route, id);
    }
  }

  /** A row that breaks a rule is missing to whatever it goes into. */
  #addRules(route: RoutePlan | undefined, to: string): void {
    for (const column of ruleColumnsOf(route?.source).holding) this.#edgeFrom(this.#column(route, column), to, 'rule');
  }

  #edgeFrom(from: string | undefined, to: string, role: string): void {
    if (from !== undefined) this.#edge(from, to, role);
  }

  #addService(service: ServicePlan, views: ReadonlyMap<string, ViewPlan>): void {
    const serviceId = this.#add(SubjectKind.SERVICE, service.name);
    const features = service.features.map(({ viewId, feature }) => {
      const view = views.get(toHex(viewId));
      const name = view?.features[feature]?.name;
      return view === undefined || name === undefined ? undefined : nodeId(SubjectKind.FEATURE, `${view.name}:${name}`);
    });
    for (const feature of features) this.#edgeFrom(feature, serviceId, 'output');
    const onDemand = service.onDemand.map(({ name }) =>
      this.#add(SubjectKind.ON_DEMAND, `${service.name}:${name}`, serviceId),
    );
    service.onDemand.forEach(({ inputs }, index) => {
      const id = onDemand[index] ?? '';
      for (const { source } of inputs) {
        if (source.case === 'feature') this.#edgeFrom(features[source.value], id, 'input');
        else if (source.case === 'onDemand') this.#edgeFrom(onDemand[source.value], id, 'input');
      }
      this.#edge(id, serviceId, 'output');
    });
  }
}

/** What the names in a view's expressions are. */
class ViewScope {
  readonly #view: ViewPlan;
  readonly #joined = new Map<string, { readonly plan: ViewPlan['joins'][number]; readonly column: string }>();
  readonly #all: ExpressionColumn[];

  constructor(view: ViewPlan) {
    this.#view = view;
    const columns = view.columns.map(({ name, type, nullable }) => ({ name, type: known(type), nullable }));
    this.#all = [...columns];
    for (const plan of view.joins) {
      for (const { name, column } of plan.columns) {
        this.#joined.set(name, { plan, column: column?.name ?? '' });
        this.#all.push({ name, type: known(column?.type), nullable: true });
      }
    }
  }

  joinOf(name: string): { readonly plan: ViewPlan['joins'][number]; readonly column: string } | undefined {
    return this.#joined.get(name);
  }

  /** Which names each derived column uses. Adds the derived columns to the scope as it goes; call it before whereUses. */
  derivedUses(): { readonly name: string; readonly names: string[] }[] {
    return this.#view.derived.map(({ name, expression, type }) => {
      const names = this.#uses(expression);
      this.#all.push({ name, type: known(type), nullable: true });
      return { name, names };
    });
  }

  whereUses(): string[] {
    return this.#view.where === '' ? [] : this.#uses(this.#view.where);
  }

  #uses(expression: string): string[] {
    return compileExpression(expression, this.#all).uses.flatMap((index) => this.#all[index]?.name ?? []);
  }
}

function known(type: ValueType | undefined): ValueType {
  return type ?? create(ValueTypeSchema);
}

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}

/** Who answers for what, by the node's id; features fall back to their view, on-demand features to their service. */
function ownersOf(written: Definitions | undefined): Map<string, string> {
  const owners = new Map<string, string>();
  const put = (kind: SubjectKind, name: string, owner: string): void => {
    if (owner !== '') owners.set(nodeId(kind, name), owner);
  };
  for (const { name, owner } of written?.sources ?? []) put(SubjectKind.SOURCE, name, owner);
  for (const view of written?.views ?? []) {
    put(SubjectKind.VIEW, view.name, view.owner);
    for (const { name, owner } of view.features) put(SubjectKind.FEATURE, `${view.name}:${name}`, owner);
  }
  for (const { name, owner } of written?.services ?? []) put(SubjectKind.SERVICE, name, owner);
  return owners;
}
