/**
 * Looks whether the tables of mutable sources that are streamed still tell their rows apart as the definitions say. What a row
 * that does not is to its route is the stream's (core/relation-identity.ts); here is what it does not tell: a key that changed
 * under REPLICA IDENTITY FULL, or before any row came, and that a table is in order again. Owns no state.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { unloggedFindings } from '../core/leaf-findings.ts';
import { identityFindings, keyFinding, throwFindings, untoldFindings } from '../core/preflight.ts';
import { IdentityRestored } from '../core/relation-identity.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import { tableName } from '../core/sql.ts';
import type { HeldReleases } from './held-releases.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

export interface KeyLook {
  readonly session: DatabaseSession;
  readonly store: Pick<SourceStore, 'state'>;
  readonly held: Pick<HeldReleases, 'isUntold'>;
  readonly stream: Pick<ChangeStream, 'distrust'>;
}

/**
 * What is wrong with a table's key now; undefined: nothing. Throws IdentityRestored when one is in order again of which rows
 * are held that do not tell which they are: its route is to begin anew; SOURCE_NOT_READY when one tells no row from another,
 * so that updates fail at the source, or has a partition that is not logged: its route is to end (core/readiness.ts).
 */
export async function lookAtKeys(
  wanted: readonly RoutePlan[],
  { session, store, held, stream }: KeyLook,
): Promise<FreshetError | undefined> {
  const live = new Set(store.state.routes.filter(({ phase }) => phase === 'live').map(({ route }) => route));
  const problems: FreshetError[] = [];
  for (const plan of wanted) {
    if (!live.has(plan.route) || plan.source?.mode !== SourceMode.MUTABLE) continue;
    const { schema, table } = tableOf(plan);
    const facts = await session.table(schema, table);
    if (facts === undefined) continue;
    throwFindings([...untoldFindings(facts), ...unloggedFindings(facts)]);
    const rekeyed = keyFinding(plan, facts);
    const [problem = rekeyed] = identityFindings(plan, facts);
    // Where old rows tell everything, nothing in the stream says by what they are told apart. What partitions tell, it does.
    stream.distrust(plan.route, facts.replicaIdentity === 'f' ? rekeyed?.message : undefined);
    if (problem !== undefined) problems.push(problem);
    else if (held.isUntold(plan.route)) throw new IdentityRestored(plan.route, tableName(schema, table));
  }
  return problems[0];
}
