/** Whether a table, as it is now, keeps the contract in force of a route. Owns no state. */
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { findContract } from '../core/contract.ts';
import type { Relation } from '../core/pgoutput/messages.ts';
import { readColumns } from '../core/row-shape.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import { relationOf } from '../core/table-fill.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';

/** As the catalog has it. */
export async function keepsContract(
  plan: RoutePlan,
  { definitions }: Wanted,
  session: DatabaseSession,
): Promise<boolean> {
  const { schema, table } = tableOf(plan);
  const facts = await session.table(schema, table);
  return facts !== undefined && keepsRelation(plan, definitions, relationOf(facts));
}

/** As the stream describes it. */
export function keepsRelation(plan: RoutePlan, definitions: DefinitionSet, relation: Relation): boolean {
  const contract = plan.source?.contract;
  if (contract === undefined) return false;
  const policy = plan.source?.policy ?? ChangePolicy.EVOLVE;
  return 'under' in findContract([{ contract, policy, read: readColumns(plan, definitions) }], relation);
}
