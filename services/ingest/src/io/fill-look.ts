/**
 * Looks whether values that were captured are still those of their tables (core/table-fill.ts), and has it remembered. Of a
 * mutable source the route begins anew, as its features are of the rows as they are. Rows of an append source stay as they were
 * inserted: what their columns mean may be another thing from now on, which is told for a day. Owns no state.
 *
 * A table that does not keep the contract in force is left alone: its rows are held (core/shape-gate.ts), and are read anew by
 * whatever contract is accepted.
 */
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { isMutableSource, NO_SHAPE } from '../core/row-shape.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import { type RouteState, withRoutes } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import { isSameFill, rewrittenColumns } from '../core/table-fill.ts';
import { keepsContract } from './kept-contract.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

/** How long it is told. */
const TOLD_US = 86_400_000_000;

export interface FillLook {
  readonly session: DatabaseSession;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  /** Microseconds since the Unix epoch. */
  readonly nowUs: number;
}

/**
 * What to tell of append sources; undefined: nothing. Throws SOURCE_NOT_READY when a route of a mutable one is to begin anew,
 * once that is in the state.
 */
export async function lookAtFills(wanted: Wanted, look: FillLook): Promise<FreshetError | undefined> {
  const { session, store, nowUs } = look;
  const plans = new Map(wanted.routes.map((plan) => [plan.route, plan]));
  const live = store.state.routes.filter(({ route, phase }) => phase === 'live' && plans.has(route));
  const fills = await session.fills(live.map(({ tableOid }) => tableOid));
  const changed = new Map<number, RouteState>();
  const anew: string[] = [];
  for (const route of live) {
    const plan = plans.get(route.route);
    const now = fills.get(route.tableOid);
    if (plan === undefined || now === undefined || (route.fill !== undefined && isSameFill(route.fill, now))) continue;
    const columns = route.fill === undefined ? [] : rewrittenColumns(route.fill, now);
    const isMutable = isMutableSource(plan);
    const isNews = columns.length > 0 && (await keepsContract(plan, wanted, session));
    // Another contract for it is another generation of a mutable source; an append source's says what became of its rows.
    if (columns.length > 0 && !isNews && isMutable) continue;
    const { schema, table } = tableOf(plan);
    if (isNews && isMutable) anew.push(`${tableName(schema, table)} (${columns.join(', ')})`);
    changed.set(route.route, { ...route, fill: now, ...(isNews && rewritten(route, { columns, isMutable, nowUs })) });
  }
  if (changed.size > 0 && !(await isSaved(changed, store))) return noticeOf(wanted, look);
  if (anew.length > 0)
    throw new FreshetError('SOURCE_NOT_READY', `values of ${anew.join(', ')} were computed anew`, {
      remedy: 'Nothing: it is read anew, as a new generation.',
    });
  return noticeOf(wanted, look);
}

/** Not when the disk takes nothing now, which whoever acknowledges tells: the next look finds it again, and the stream goes on. */
async function isSaved(changed: ReadonlyMap<number, RouteState>, store: FillLook['store']): Promise<boolean> {
  try {
    await store.update((state) =>
      withRoutes(
        state,
        state.routes.flatMap((one) => merged(one, changed)),
      ),
    );
    return true;
  } catch (error) {
    if (!isFreshetError(error) || !error.retryable) throw error;
    return false;
  }
}

function rewritten(
  { shape = NO_SHAPE, rewritten: told }: RouteState,
  {
    columns,
    isMutable,
    nowUs,
  }: { readonly columns: readonly string[]; readonly isMutable: boolean; readonly nowUs: number },
): Partial<RouteState> {
  if (isMutable) return { shape: { ...shape, rewritten: [...new Set([...(shape.rewritten ?? []), ...columns])] } };
  const before = told !== undefined && nowUs - told.atUs <= TOLD_US ? told.columns : [];
  return { rewritten: { atUs: nowUs, columns: [...new Set([...before, ...columns])] } };
}

/** What was found, of the generation that it was found of; whatever else became of the route meanwhile stays. */
function merged(route: RouteState, changed: ReadonlyMap<number, RouteState>): RouteState[] {
  const found = changed.get(route.route);
  if (found === undefined || found.generation !== route.generation || found.tableOid !== route.tableOid) return [];
  const { fill, rewritten: told } = found;
  const columns = found.shape?.rewritten;
  const shape = columns === undefined ? route.shape : { ...(route.shape ?? NO_SHAPE), rewritten: columns };
  return [{ ...route, fill, ...(shape && { shape }), ...(told && { rewritten: told }) }];
}

function noticeOf({ routes }: Wanted, { store, nowUs }: FillLook): FreshetError | undefined {
  const plans = new Map(routes.map((plan) => [plan.route, plan]));
  /** By what is to be said of each: several routes may have one table. */
  const found = new Map<string, ReturnType<typeof tableOf>>();
  for (const { route, rewritten: told } of store.state.routes) {
    const plan = plans.get(route);
    if (plan === undefined || told === undefined || nowUs - told.atUs > TOLD_US) continue;
    const table = tableOf(plan);
    found.set(`${tableName(table.schema, table.table)} (${told.columns.join(', ')})`, table);
  }
  const [first] = found.values();
  if (first === undefined) return undefined;
  return new FreshetError(
    'CONTRACT_BROKEN',
    `values of ${[...found.keys()].join(', ')} were computed anew by an ALTER TABLE; rows of before count as they ` +
      'were inserted, and rows since as they come',
    {
      remedy:
        `If old and new values do not belong together, start ingest with --resync ${first.database}=<a word not used before>: ` +
        'tables are then read anew, with the values that they have now. This notice goes after a day.',
      place: tableName(first.schema, first.table),
    },
  );
}
