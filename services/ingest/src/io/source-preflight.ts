/**
 * Readies a database for capture: reads what is there, has it judged (core/preflight.ts), and makes the publications
 * hold the tables that are wanted. Nothing is changed before it was looked at.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { PostgresTable, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { type FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { checkClock } from '@freshet/log/log-time.ts';
import { bindContract, type CatalogTable } from '../core/contract.ts';
import { besideFindings, unloggedFindings } from '../core/leaf-findings.ts';
import {
  identityFindings,
  keyFinding,
  routeFindings,
  serverFindings,
  slotFinding,
  tableFindings,
  throwFindings,
} from '../core/preflight.ts';
import { capturedOf, type Examined } from '../core/readiness.ts';
import type { DatabaseSession, PublishedTable, ServerAnswer, TableToStage } from '../core/source-database.ts';
import type { PublishedTables, SourceState } from '../core/source-state.ts';

/** A difference of clocks that is worth a line in the log; beyond the log's limit capture is refused. */
const CLOCK_WARN_US = 1_000_000;

/** What a look at a database found. */
export interface Preflight {
  readonly examined: readonly Examined[];
  /** The tables that are there. */
  readonly tables: readonly TableToStage[];
  /** Why no table can be read for the first time now, which takes a slot for a while; undefined: any can. */
  readonly noSlot: FreshetError | undefined;
}

/** Looks at the tables of the routes. Throws SOURCE_NOT_READY with what is wrong with the server, CLOCK_JUMP when the clocks are far apart. */
export async function preflight(options: {
  readonly wanted: readonly RoutePlan[];
  readonly state: SourceState;
  readonly session: DatabaseSession;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told when the clocks agree, whatever else is found. */
  readonly onClockAgreed?: (() => void) | undefined;
}): Promise<Preflight> {
  const { wanted, state, session, clock, logger } = options;
  const server = await compareClocks(session, { clock, logger });
  options.onClockAgreed?.();
  const tables = new Map<string, TableToStage>();
  const examined: (Examined & { readonly findings: FreshetError[] })[] = [];
  for (const plan of wanted) {
    const { schema, table } = tableOf(plan);
    const facts = await session.table(schema, table);
    const findings = tableFindings({ schema, table }, facts, server.user);
    let misshapen: FreshetError | undefined;
    if (facts !== undefined) {
      findings.push(...routeFindings(plan, facts), ...identityFindings(plan, facts), ...unloggedFindings(facts));
      const rekeyed = keyFinding(plan, facts);
      if (rekeyed !== undefined) findings.push(rekeyed);
      const staged = toStage(facts);
      tables.set(tableKey(facts), staged);
      misshapen = shapeFinding(plan, staged);
    }
    examined.push({ plan, table: facts, findings, misshapen });
  }
  const captured = capturedOf(examined, state);
  for (const { table, findings } of examined) {
    const own = captured.find((one) => one.table.oid === table?.oid);
    if (own !== undefined) findings.push(...besideFindings(own, captured));
  }
  const unready = serverFindings(server);
  // The permanent slot, and for the first snapshot a temporary one. Where the first is there, what is live goes on.
  const unmade = wanted.length > 0 && state.slot !== 'made' ? slotFinding(server, 2, 'to capture it') : undefined;
  if (unmade !== undefined) unready.push(unmade);
  // All at once, so that a person needs one round.
  if (unready.length > 0) throwFindings([...unready, ...examined.flatMap(({ findings }) => findings)]);
  const noSlot = slotFinding(server, 1, 'while a table is read for the first time');
  return { examined, tables: [...tables.values()], noSlot };
}

function toStage(facts: CatalogTable): TableToStage {
  const sent = facts.columns.filter(({ generated }) => !generated);
  return {
    schema: facts.schema,
    table: facts.table,
    partitioned: facts.kind === 'p',
    columns: sent.map(({ name }) => name),
    typeOids: sent.map(({ typeOid }) => typeOid),
  };
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

function shapeFinding(plan: RoutePlan, table: TableToStage): FreshetError | undefined {
  try {
    checkShape(plan, table);
    return undefined;
  } catch (error) {
    if (!isFreshetError(error)) throw error;
    return error;
  }
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

/**
 * Makes the publications hold the tables of the routes, each in the one of its mode; resolves with what they hold then, and
 * with the routes whose table may not be added, each with the SQL for somebody who may. One that is there already, and not to
 * be seen now, stays.
 */
export async function publish(options: {
  readonly wanted: readonly RoutePlan[];
  readonly tables: readonly TableToStage[];
  readonly slotName: string;
  readonly session: DatabaseSession;
}): Promise<{ readonly published: PublishedTables; readonly refused: ReadonlyMap<number, FreshetError> }> {
  const { wanted, tables, slotName, session } = options;
  const known = new Map(tables.map((table) => [tableKey(table), table]));
  const inMode = (mode: SourceMode): PublishedTable[] => {
    const named = wanted.filter(({ source }) => source?.mode === mode).map((plan) => tableOf(plan));
    const keyed = new Map(named.map(({ schema, table }) => [tableKey({ schema, table }), { schema, table }]));
    return [...keyed].map(([key, name]) => known.get(key) ?? { ...name, partitioned: false });
  };
  const refusals = await session.publish(slotName, {
    append: inMode(SourceMode.APPEND),
    mutable: inMode(SourceMode.MUTABLE),
  });
  const refused = wanted.flatMap((plan): [number, FreshetError][] => {
    const key = tableKey(tableOf(plan));
    const mode = plan.source?.mode === SourceMode.MUTABLE ? 'mutable' : 'append';
    const refusal = refusals.find((one) => one.mode === mode && tableKey(one.table) === key);
    return refusal === undefined ? [] : [[plan.route, refusal.why]];
  });
  return { published: await session.published(slotName), refused: new Map(refused) };
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
