/** Where a source's rows come from, as text: what identifies a table across definitions, and what people read. */
import type { SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { formatTableName } from '../table-name.ts';

/** "postgres default public.user_activity". */
export function originName(source: Pick<SourcePlan, 'origin'>): string {
  const { origin } = source;
  return origin.case === undefined ? 'nowhere' : `postgres ${origin.value.database} ${formatTableName(origin.value)}`;
}
