/**
 * What a view's name for the machine is: a hash over everything that decides its values, and over nothing else.
 *
 * Owns what goes in. In: the route's identity (where rows come from, which are refused, whose key), the columns read
 * and their types, derived columns, condition, features with windows, types, defaults and ttl, and the engine's
 * version. Out: names of view, source and entity, the route's number, the columns' source types and nullability.
 */
import { createHash } from 'node:crypto';
import { clone, toBinary } from '@bufbuild/protobuf';
import { type RoutePlan, type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { routeIdentity } from './routes.ts';

/** Length of a view's id, in bytes. */
export const VIEW_ID_BYTES = 16;

/** The id of a view over a route. */
export function viewIdOf(view: ViewPlan, route: Pick<RoutePlan, 'source' | 'entity' | 'keyColumns'>): Uint8Array {
  const canonical = clone(ViewPlanSchema, view);
  canonical.viewId = new Uint8Array();
  canonical.route = 0;
  canonical.name = '';
  canonical.source = '';
  delete canonical.entity;
  for (const column of canonical.columns) {
    column.nullable = false;
    column.sourceType = '';
    column.sourceTypeOid = 0;
  }
  const identity = routeIdentity(route);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(identity.length);
  const hash = createHash('sha256').update(length).update(identity).update(toBinary(ViewPlanSchema, canonical));
  return Uint8Array.from(hash.digest().subarray(0, VIEW_ID_BYTES));
}
