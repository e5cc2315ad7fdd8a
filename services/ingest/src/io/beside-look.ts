/**
 * Looks whether rows of a table that is streamed come as those of another one that is published, because it was attached to that:
 * its route would get none, and nothing in the stream would say so to it. Of any mode. Owns no state.
 *
 *     it is a partition of one now         its route ends, and waits until it is none (core/readiness.ts)
 *     it was, and rows came as another's   its route begins anew: the stream tells of it in passing (core/part-tells.ts)
 *
 * Not noticed, of a table that was attached and is detached again before it is looked: rows that were told by a connection that
 * broke before the look; a TRUNCATE; and of an append source whose table is itself partitioned, what was told.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { PartTells } from '../core/part-tells.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import type { PublishedTables, RouteState } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import { isSaved } from './part-look.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

export interface BesideLook {
  readonly session: Pick<DatabaseSession, 'ancestors'>;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  /** What the stream told so far. */
  readonly tells: Pick<PartTells, 'isToldAsAnother'>;
  readonly published: PublishedTables;
}

/** Throws SOURCE_NOT_READY when a route is to begin anew, once that is in the state, or is to end. */
export async function lookBeside(wanted: Wanted, { session, store, tells, published }: BesideLook): Promise<void> {
  const names = new Map(wanted.routes.map((plan) => [plan.route, tableOf(plan)]));
  const live = store.state.routes.flatMap((route) => {
    const table = names.get(route.route);
    const isLive = route.phase === 'live' && route.torn === undefined;
    return isLive && table !== undefined ? [{ route, name: tableName(table.schema, table.table) }] : [];
  });
  const torn = live.filter(({ route }) => isToldAsAnother(route, tells));
  const changed = torn.map(({ route, name }): [number, RouteState] => [
    route.route,
    { ...route, torn: `rows of table ${name} came as those of another one, whose partition it was` },
  ]);
  const [first] = torn;
  if (first !== undefined && (await isSaved(new Map(changed), store)))
    throw new FreshetError('SOURCE_NOT_READY', `rows of ${first.name} came as those of another table`, {
      remedy: 'Nothing: it is read anew, as a new generation.',
      place: first.name,
    });
  const ancestors = await session.ancestors(live.map(({ route }) => route.tableOid));
  const oids = new Set(published.values());
  const starved = live.find(({ route }) => ancestors.get(route.tableOid)?.some((oid) => oids.has(oid)));
  if (starved === undefined) return;
  throw new FreshetError('SOURCE_NOT_READY', `${starved.name} is a partition of a table that is published beside it`, {
    remedy: 'Capture one of them.',
    place: starved.name,
  });
}

/** The table itself, or of a mutable source what was seen last as a partition of it. */
function isToldAsAnother({ tableOid, fromLsn, parts }: RouteState, tells: BesideLook['tells']): boolean {
  const oids = [tableOid, ...(parts?.leaves.map(([oid]) => oid) ?? [])];
  return oids.some((oid) => tells.isToldAsAnother(tableOid, oid, fromLsn));
}
