/** Whether a table, as it is now, keeps the contract in force of a route. Owns no state. */
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { findContract } from '../core/contract.ts';
import { readColumns } from '../core/row-shape.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import { relationOf } from '../core/table-fill.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';

export async function keepsContract(
  plan: RoutePlan,
  { definitions }: Wanted,
  session: DatabaseSession,
): Promise<boolean> {
  const { schema, table } = tableOf(plan);
  const facts = await session.table(schema, table);
  const contract = plan.source?.contract;
  if (facts === undefined || contract === undefined) return false;
  const policy = plan.source?.policy ?? ChangePolicy.EVOLVE;
  return 'under' in findContract([{ contract, policy, read: readColumns(plan, definitions) }], relationOf(facts));
}
