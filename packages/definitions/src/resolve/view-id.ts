/**
 * What a view's name for the machine is: a hash over everything that decides its values, and over nothing else.
 *
 * Owns what goes in. In: the route's identity (where rows come from, which are refused, whose key), the columns read
 * and their types, the routes of joined tables and what is joined by what, derived columns, condition, features with windows, types, defaults and ttl, and the engine's
 * version. Out: names of view, source, tables and entity, the routes' numbers, whatever else columns tell: source types, limits, nullability.
 */
import { createHash } from 'node:crypto';
import { clearField, clone, toBinary } from '@bufbuild/protobuf';
import { type Column, ColumnSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type RoutePlan, type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { routeIdentity } from './routes.ts';

/** Length of a view's id, in bytes. */
export const VIEW_ID_BYTES = 16;

type RouteOf = Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>;

/** The id of a view over a route; `joinRoutes` are those of its joins, in the plan's order. */
export function viewIdOf(view: ViewPlan, route: RouteOf, joinRoutes: readonly RouteOf[] = []): Uint8Array {
  const canonical = clone(ViewPlanSchema, view);
  canonical.viewId = new Uint8Array();
  canonical.route = 0;
  canonical.name = '';
  canonical.source = '';
  delete canonical.entity;
  for (const column of canonical.columns) clearColumn(column);
  for (const join of canonical.joins) {
    join.table = '';
    join.route = 0;
    for (const { column } of join.columns) if (column !== undefined) clearColumn(column);
  }
  const hash = createHash('sha256');
  for (const one of [route, ...joinRoutes]) {
    const identity = routeIdentity(one);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(identity.length);
    hash.update(length).update(identity);
  }
  hash.update(toBinary(ViewPlanSchema, canonical));
  return Uint8Array.from(hash.digest().subarray(0, VIEW_ID_BYTES));
}

/** By what is kept, so that what a column may come to tell beside is never part of an id. */
function clearColumn(column: Column): void {
  const { name, type } = column;
  for (const field of ColumnSchema.fields) clearField(column, field);
  column.name = name;
  if (type !== undefined) column.type = type;
}
