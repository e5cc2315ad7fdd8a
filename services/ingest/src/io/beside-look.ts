/**
 * Looks whether rows of a table that is streamed come as those of another one that is published, because it was attached to that:
 * its route would get none, and nothing in the stream would say so to it. Of any mode. Owns no state.
 *
 *     it is a partition of one now         its route ends, and waits until it is none (core/readiness.ts)
 *     it was, and rows came as another's   its route begins anew: the stream tells of it in passing (core/told-parts.ts)
 *
 * Not noticed, of a table that was attached and is detached again before it is looked: a TRUNCATE; and of an append source whose
 * table is itself partitioned, what was told.
 */
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import type { PublishedTables } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import { type ToldParts, withTold } from '../core/told-parts.ts';
import { isSaved } from './part-look.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

export interface BesideLook {
  readonly session: Pick<DatabaseSession, 'ancestors'>;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  /** What the stream told so far. */
  readonly tells: ToldParts;
  readonly published: PublishedTables;
}

/** Throws SOURCE_NOT_READY when a route is to begin anew, once that is in the state, or is to end. */
export async function lookBeside(wanted: Wanted, { session, store, tells, published }: BesideLook): Promise<void> {
  const tables = new Map(wanted.routes.map((plan) => [plan.route, tableOf(plan)]));
  const live = store.state.routes.filter(({ route, phase }) => phase === 'live' && tables.has(route));
  const told = live.map((route) => withTold(route, tells)).filter(({ torn }) => torn !== undefined);
  const [first] = told;
  if (first !== undefined && (await isSaved(new Map(told.map((route) => [route.route, route])), store)))
    throw notReady(
      tables.get(first.route),
      'is to be read anew: rows of it came as those of another table, or went untold',
      'Nothing: it is read anew, as a new generation.',
    );
  const ancestors = await session.ancestors(live.map(({ tableOid }) => tableOid));
  const oids = new Set(published.values());
  const starved = live.find(({ tableOid }) => ancestors.get(tableOid)?.some((oid) => oids.has(oid)));
  if (starved !== undefined)
    throw notReady(
      tables.get(starved.route),
      'is a partition of a table that is published beside it',
      'Detach it, or name only one of the two in a source: its rows come as those of the other one.',
    );
}

function notReady(table: PostgresTable | undefined, why: string, remedy: string): FreshetError {
  const place = table === undefined ? '' : tableName(table.schema, table.table);
  return new FreshetError('SOURCE_NOT_READY', `${place} ${why}`, { place, remedy });
}
