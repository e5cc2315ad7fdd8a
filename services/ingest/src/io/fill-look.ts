/**
 * Looks whether values that were captured are still those of their tables (core/table-fill.ts), has it remembered, and tells the
 * stream, which holds the rows behind it. Of a mutable source the route begins anew, as its features are of the rows as they are.
 * Rows of an append source stay as they were inserted, and those since wait for a contract that knows: which is told for a day.
 * Owns no state.
 *
 * Invariant: what is found is in the state before, or in the same save as, the filling that it was found by, so that no stop
 * makes it forgotten; of two looks that found the same, or one of which is older, one is saved.
 *
 * A table that does not keep the contract in force is left alone where its source is mutable: its rows are held
 * (core/shape-gate.ts), and are read anew by whatever contract is accepted.
 */
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import type { Route } from '../core/route.ts';
import { isMutableSource, NO_SHAPE } from '../core/row-shape.ts';
import { type RouteState, type SourceState, withRoutes } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import {
  acceptedUs,
  type ColumnValues,
  isSameFill,
  NEVER_ACCEPTED_US,
  replacedColumns,
  rewrittenColumns,
  type TableFill,
  unaccepted,
  withValues,
} from '../core/table-fill.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

/** How long it is told. */
const TOLD_US = 86_400_000_000;

export interface FillLook {
  /** By oid, what fills the tables now. */
  readonly fills: ReadonlyMap<number, TableFill>;
  /** Whether a table of a mutable source keeps the contract in force. */
  readonly keeps: (plan: Wanted['routes'][number]) => Promise<boolean>;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  readonly stream: Pick<ChangeStream, 'routes' | 'noteValues'>;
  /** Microseconds since the Unix epoch. */
  readonly nowUs: number;
  /** Whether rows wait for what is found. Else what the disk does not take now, which whoever acknowledges tells, is found again. */
  readonly mustSave: boolean;
}

/** What a look found of a route, and the filling that it was compared with. */
interface Found {
  readonly was: TableFill | undefined;
  readonly now: TableFill;
  /** What to remember beside the filling. */
  readonly columns: readonly Pick<ColumnValues, 'number' | 'name'>[];
}

/**
 * Looks at the routes that a fill is given for; resolves with whether all that was found is remembered, and the stream knows: not
 * when another look was faster. Throws SOURCE_NOT_READY when a route of a mutable source is to begin anew, behind that.
 */
export async function lookAtFills(
  wanted: Pick<Wanted, 'routes'>,
  { fills, keeps, store, stream, nowUs, mustSave }: FillLook,
): Promise<boolean> {
  const plans = new Map(wanted.routes.map((plan) => [plan.route, plan]));
  const changed = new Map<string, Found>();
  const anew: string[] = [];
  for (const route of store.state.routes) {
    const plan = plans.get(route.route);
    const now = fills.get(route.tableOid);
    if (plan === undefined || route.phase === 'ended' || now === undefined) continue;
    if (route.fill !== undefined && isSameFill(route.fill, now)) continue;
    const columns = route.fill === undefined ? [] : rewrittenColumns(route.fill, now);
    if (columns.length > 0 && isMutableSource(plan)) {
      // Another contract for it is another generation.
      if (!(await keeps(plan))) continue;
      const { schema, table } = tableOf(plan);
      anew.push(`${tableName(schema, table)} (${columns.map(({ name }) => name).join(', ')})`);
    }
    changed.set(nameOf(route), { was: route.fill, now, columns });
  }
  if (changed.size > 0) {
    try {
      await store.update((state) => remembered(state, changed, plans, nowUs));
    } catch (error) {
      if (mustSave || !isFreshetError(error) || !error.retryable) throw error;
      return false;
    }
  }
  tellStream(store.state, stream);
  if (!isRemembered(store.state, changed)) return false;
  if (anew.length > 0)
    throw new FreshetError('SOURCE_NOT_READY', `values of ${anew.join(', ')} were computed anew`, {
      remedy: 'Nothing: it is read anew, as a new generation.',
    });
  return true;
}

/**
 * What the stream is to know of the values of a route's table; of a mutable source only of columns for which it begins anew
 * (shapeChange), as nothing else would ever end what is held for them: not of those that only a value rule asks of. What was replaced
 * is held in either until a contract is accepted that has the column that is there.
 */
export function valuesOf(
  { values = [], shape, fill, tableOid }: Pick<RouteState, 'values' | 'shape' | 'fill' | 'tableOid'>,
  { needed, contract }: Pick<Route, 'contract'> & Partial<Pick<Route, 'needed'>>,
): readonly ColumnValues[] {
  const anew = (shape?.rewritten ?? []).filter((name) => needed?.has(name) !== false);
  const rewritten = anew.map((name) => ({ number: 0, name, sinceUs: NEVER_ACCEPTED_US }));
  return [...values, ...rewritten, ...replacedColumns(contract, tableOid, fill)];
}

function tellStream({ routes }: SourceState, stream: FillLook['stream']): void {
  const known = new Map(routes.map((route) => [nameOf(route), route]));
  for (const { route } of stream.routes) {
    const state = known.get(nameOf({ route: route.number, generation: route.generation }));
    if (state !== undefined) stream.noteValues(route.number, valuesOf(state, route));
  }
}

/** What was found, of the generation and the filling that it was found of; whatever else became of the route meanwhile stays. */
function remembered(
  state: SourceState,
  changed: ReadonlyMap<string, Found>,
  plans: ReadonlyMap<number, Wanted['routes'][number]>,
  nowUs: number,
): SourceState {
  const routes = state.routes.flatMap((route): RouteState[] => {
    const found = changed.get(nameOf(route));
    if (found === undefined || route.phase === 'ended' || !isSame(route.fill, found.was)) return [];
    const { now: fill, columns } = found;
    if (columns.length === 0) return [{ ...route, fill }];
    const plan = must(plans.get(route.route), 'a route that was found without its plan');
    if (!isMutableSource(plan)) {
      const since = Math.max(nowUs, acceptedUs(plan.source?.contract) + 1);
      return [{ ...route, fill, values: withValues(route.values ?? [], columns, since) }];
    }
    const shape = route.shape ?? NO_SHAPE;
    const names = new Set([...(shape.rewritten ?? []), ...columns.map(({ name }) => name)]);
    return [{ ...route, fill, shape: { ...shape, rewritten: [...names] } }];
  });
  return withRoutes(state, routes);
}

function isRemembered({ routes }: SourceState, changed: ReadonlyMap<string, Found>): boolean {
  return routes.every((route) => {
    const found = changed.get(nameOf(route));
    return found === undefined || route.phase === 'ended' || isSame(route.fill, found.now);
  });
}

function isSame(a: TableFill | undefined, b: TableFill | undefined): boolean {
  return a === undefined || b === undefined ? a === b : isSameFill(a, b);
}

function nameOf({ route, generation }: Pick<RouteState, 'route' | 'generation'>): string {
  return `${route}/${generation}`;
}

/** What to tell of append sources, until it is accepted; undefined: nothing. */
export function valuesNotice(
  { routes }: Pick<Wanted, 'routes'>,
  { store, nowUs }: Pick<FillLook, 'store' | 'nowUs'>,
): FreshetError | undefined {
  const plans = new Map(routes.map((plan) => [plan.route, plan]));
  /** By what is to be said of each: several routes may have one table. */
  const found = new Map<string, ReturnType<typeof tableOf>>();
  for (const { route, phase, values = [] } of store.state.routes) {
    const plan = plans.get(route);
    const news = values.filter(({ sinceUs }) => nowUs - sinceUs <= TOLD_US);
    if (plan?.source?.contract === undefined || phase === 'ended') continue;
    const told = unaccepted(plan.source.contract, news);
    if (told.length === 0) continue;
    const table = tableOf(plan);
    found.set(`${tableName(table.schema, table.table)} (${told.map(({ name }) => name).join(', ')})`, table);
  }
  const [first] = found.values();
  if (first === undefined) return undefined;
  return new FreshetError(
    'CONTRACT_BROKEN',
    `values of ${[...found.keys()].join(', ')} were computed anew by an ALTER TABLE; rows of before count as they ` +
      'were inserted, and rows since are held where a feature reads such a column',
    {
      remedy:
        'If old and new values belong together, accept the table as it is: freshet contract accept --yes. If they do not, start ' +
        `ingest with --resync ${first.database}=<a word not used before>: tables are then read anew, with the values that they ` +
        'have now. This notice goes once it is accepted, or after a day.',
      place: tableName(first.schema, first.table),
    },
  );
}
