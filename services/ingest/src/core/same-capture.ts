/**
 * Whether a route is captured alike under two sets of definitions: then what is under way for it need not be disturbed. Pure.
 */
import { equals } from '@bufbuild/protobuf';
import { type DefinitionSet, type RoutePlan, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { neededColumns, readColumns } from './row-shape.ts';

/** What decides how routes are captured. */
export interface CapturedBy {
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
}

/** Whether the route is there in both, by the same plan, and the same columns of it are read. */
export function isSameCapture(route: number, before: CapturedBy, after: CapturedBy): boolean {
  const [was, is] = [planOf(route, before), planOf(route, after)];
  if (was === undefined || is === undefined || !equals(RoutePlanSchema, was, is)) return false;
  return (
    isSameSet(neededColumns(was, before.definitions), neededColumns(is, after.definitions)) &&
    isSameSet(readColumns(was, before.definitions), readColumns(is, after.definitions))
  );
}

function planOf(route: number, { wanted }: CapturedBy): RoutePlan | undefined {
  return wanted.find((plan) => plan.route === route);
}

function isSameSet(a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.size === b.size && [...a].every((one) => b.has(one));
}
