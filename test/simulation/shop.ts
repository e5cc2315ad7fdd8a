/**
 * The table and the definitions of the simulations, resolved as the registry resolves them: a few sets of views over one
 * source, so that a plan can go from one to another; and what each feature must be in the end, straight from the rows.
 */
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { contractOf } from '../../services/ingest/src/core/contract.ts';
import { drawnDefinitions } from './drawn-definitions.ts';
import { ORDER_SOURCES, ORDER_VIEWS } from './orders.ts';
import { catalogTable, TABLES } from './sim-tables.ts';

const CONTRACTS: ReadonlyMap<string, Contract> = new Map(
  TABLES.map((table) => [table.table, contractOf(table.table, catalogTable(table))]),
);

const HEAD = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: activity
mode: append
postgres: { table: public.activity }
event_time: at
`;

const VIEWS = {
  totals: `
kind: FeatureView
name: totals
entity: user
source: activity
features:
  n: { count: {} }
  spent: { sum: amount }
  n_20s: { count: {}, rolling: 20s }
`,
  recent: `
kind: FeatureView
name: recent
entity: user
source: activity
where: amount > 100
features:
  large_10s: { count: {}, rolling: 10s }
  largest: { max: amount }
  last_amount: { last: amount }
`,
  minutes: `
kind: FeatureView
name: minutes
entity: user
source: activity
features:
  n_minute: { count: {}, tumbling: 5s }
  mean_amount: { mean: amount }
`,
} as const;

const SETS: readonly (readonly (keyof typeof VIEWS)[])[] = [
  ['totals', 'recent'],
  ['totals', 'recent', 'minutes'],
  ['totals'],
  ['totals', 'minutes'],
];

/** Sets from this number on are drawn (drawn-definitions.ts). */
export const FIRST_DRAWN: number = SETS.length;

/** Sets as they were resolved, by the sets that came before them: runs go the same ways again and again. */
const resolvedSets = new Map<string, DefinitionSet>();
const RESOLVED_MAX = 500;
const ways = new WeakMap<DefinitionSet, string>();

/** The definitions of a set, with a generation above that of the set in force. */
export function definitionsOf(set: number, previous: DefinitionSet | undefined): DefinitionSet {
  const way = `${previous === undefined ? '' : ways.get(previous)}/${set}`;
  let resolved = resolvedSets.get(way);
  if (resolved === undefined) {
    if (resolvedSets.size >= RESOLVED_MAX) resolvedSets.clear();
    resolved = resolve(set, previous);
    resolvedSets.set(way, resolved);
    ways.set(resolved, way);
  }
  return resolved;
}

function resolve(set: number, previous: DefinitionSet | undefined): DefinitionSet {
  const text = [HEAD, ORDER_SOURCES, ...ORDER_VIEWS, ...(set < FIRST_DRAWN ? writtenSet(set) : drawnSet(set))].join(
    '\n---\n',
  );
  const definitions = parseDefinitions([{ path: 'shop.yaml', text }]);
  return resolveDefinitions({ definitions, contracts: CONTRACTS, previous }).resolved;
}

function writtenSet(set: number): string[] {
  const views = SETS[set] ?? [];
  const service = `
kind: FeatureService
name: all
features: [${views.map((view) => `"${view}:*"`).join(', ')}, "orders_now:*", "orders_joined:*"]
`;
  return [...views.map((view) => VIEWS[view]), service];
}

function drawnSet(set: number): string[] {
  const { views, services } = drawnDefinitions(set);
  return [VIEWS.totals, ...views, services];
}

/** What the view "totals" must say of a user over all time. */
export interface Total {
  readonly n: bigint;
  readonly spent: bigint;
}

/** By user, straight from the rows. */
export function totalsOf(
  rows: readonly { readonly user: number; readonly amount: number }[],
): ReadonlyMap<number, Total> {
  const totals = new Map<number, Total>();
  for (const { user, amount } of rows) {
    const { n, spent } = totals.get(user) ?? { n: 0n, spent: 0n };
    totals.set(user, { n: n + 1n, spent: spent + BigInt(amount) });
  }
  return totals;
}
