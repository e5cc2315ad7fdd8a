/**
 * Readies a database for capture: reads what is there, has it judged (core/preflight.ts), and makes the publications
 * hold the tables that are wanted. Nothing is changed before everything was found in order.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { PostgresTable, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { checkClock } from '@freshet/log/log-time.ts';
import { bindContract } from '../core/contract.ts';
import {
  identityFindings,
  keyFinding,
  routeFindings,
  serverFindings,
  tableFindings,
  throwFindings,
} from '../core/preflight.ts';
import type { DatabaseSession, ServerAnswer, TableToStage } from '../core/source-database.ts';
import type { PublishedTables, SourceState } from '../core/source-state.ts';

/** A difference of clocks that is worth a line in the log; beyond the log's limit capture is refused. */
const CLOCK_WARN_US = 1_000_000;

/** The tables of the routes. Throws SOURCE_NOT_READY with every finding, CLOCK_JUMP when the clocks are far apart. */
export async function preflight(options: {
  readonly wanted: readonly RoutePlan[];
  readonly state: SourceState;
  readonly session: DatabaseSession;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told when the clocks agree, whatever else is found. */
  readonly onClockAgreed?: (() => void) | undefined;
  /** Told of a route whose table tells rows apart otherwise now: it cannot go on, whatever else is found. */
  readonly onRekeyed?: ((route: number, why: FreshetError) => void) | undefined;
}): Promise<readonly TableToStage[]> {
  const { wanted, state, session, clock, logger } = options;
  const server = await compareClocks(session, { clock, logger });
  options.onClockAgreed?.();
  const findings = serverFindings(server, wanted.length === 0 ? 0 : slotsNeeded(wanted, state));
  const tables = new Map<string, TableToStage>();
  for (const plan of wanted) {
    const { schema, table } = tableOf(plan);
    const facts = await session.table(schema, table);
    findings.push(...tableFindings({ schema, table }, facts, server.user));
    if (facts === undefined) continue;
    findings.push(...routeFindings(plan, facts));
    // A table that is streamed is held as soon as its rows do not tell which they are, and everything else flows.
    if (!isLive(state, plan)) {
      const rekeyed = keyFinding(plan, facts);
      findings.push(...identityFindings(plan, facts), ...(rekeyed === undefined ? [] : [rekeyed]));
      if (rekeyed !== undefined) options.onRekeyed?.(plan.route, rekeyed);
    }
    const sent = facts.columns.filter(({ generated }) => !generated);
    tables.set(tableKey(facts), {
      schema,
      table,
      partitioned: facts.kind === 'p',
      columns: sent.map(({ name }) => name),
      typeOids: sent.map(({ typeOid }) => typeOid),
    });
  }
  throwFindings(findings);
  return [...tables.values()];
}

/** What the server says of itself, once its clock was compared with ours. Throws CLOCK_JUMP when they are far apart. */
export async function compareClocks(
  session: DatabaseSession,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): Promise<ServerAnswer> {
  const beforeUs = clock.monotonicUs();
  const server = await session.server();
  const roundTripUs = clock.monotonicUs() - beforeUs;
  const clocks = { localUs: clock.nowUs(), databaseUs: server.databaseUs, roundTripUs };
  checkClock(clocks);
  const differenceUs = Math.abs(clocks.localUs - clocks.databaseUs) - roundTripUs;
  if (differenceUs > CLOCK_WARN_US) logger.warn('the clocks differ', { ms: Math.round(differenceUs / 1000) });
  return server;
}

/** Throws CONTRACT_BROKEN when a table that is to be read has not the shape that the route's contract promises. */
export function checkShape(plan: RoutePlan, table: TableToStage): void {
  const columns = table.columns.map((name, i) => ({
    name,
    typeOid: must(table.typeOids[i]),
    typeModifier: -1,
    identity: false,
  }));
  const contract = must(plan.source?.contract);
  const relation = { id: 0, schema: table.schema, table: table.table, replicaIdentity: 'd', columns };
  bindContract([{ contract }], relation, tableOf(plan).database);
}

function isLive({ routes }: SourceState, plan: RoutePlan): boolean {
  return routes.some(({ route, phase }) => route === plan.route && phase === 'live');
}

/** The permanent slot, and for a snapshot a temporary one. */
function slotsNeeded(wanted: readonly RoutePlan[], state: SourceState): number {
  const live = new Set(state.routes.filter(({ phase }) => phase === 'live').map(({ route }) => route));
  return (state.slot === 'made' ? 0 : 1) + (wanted.every(({ route }) => live.has(route)) ? 0 : 1);
}

/** Makes the publications hold the tables, each in the one of its mode; resolves with what they hold then. */
export async function publish(options: {
  readonly wanted: readonly RoutePlan[];
  readonly tables: readonly TableToStage[];
  readonly slotName: string;
  readonly session: DatabaseSession;
}): Promise<PublishedTables> {
  const { wanted, tables, slotName, session } = options;
  const inMode = (mode: SourceMode): TableToStage[] => {
    const keys = new Set(wanted.filter(({ source }) => source?.mode === mode).map((plan) => tableKey(tableOf(plan))));
    return tables.filter((table) => keys.has(tableKey(table)));
  };
  await session.publish(slotName, { append: inMode(SourceMode.APPEND), mutable: inMode(SourceMode.MUTABLE) });
  return session.published(slotName);
}

/** The table that a route's rows come from. */
export function tableOf(plan: RoutePlan): PostgresTable {
  const origin = must(plan.source).origin;
  return must(origin.case === 'postgres' ? origin.value : undefined);
}

/** A table's name as the key of maps. */
export function tableKey({ schema, table }: { readonly schema: string; readonly table: string }): string {
  return JSON.stringify([schema, table]);
}
