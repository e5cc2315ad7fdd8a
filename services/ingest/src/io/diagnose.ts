/**
 * Reads what databases offer and how their slots stand: the facts that `freshet doctor` judges. Changes nothing, takes
 * no lock, and needs no running capture, so that it also works when ingest does not.
 *
 * R4: each database has so long and no longer; tables are bounded. A database that does not answer is a finding of its
 * own and does not keep the others from being told.
 */
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import type {
  DatabaseDiagnosisSchema,
  NamedTableDiagnosisSchema,
  PublishedTableDiagnosisSchema,
  ServerDiagnosisSchema,
  SlotDiagnosisSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail, toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { leafFindings, unloggedFindings, untoldLeaves } from '../core/leaf-findings.ts';
import { type TableQuestion, tableFindings } from '../core/preflight.ts';
import { quoteLiteral } from '../core/sql.ts';
import { readAccess, readTable } from './catalog.ts';
import { type ConnectionTarget, describeTarget } from './pg/connection-url.ts';
import { type PgConnection, withConnection } from './pg/pg-connection.ts';
import { fromPgError } from './pg/pg-error.ts';
import { publicationNames } from './publications.ts';
import { tableKey } from './source-preflight.ts';

export interface DatabaseToDiagnose {
  readonly name: string;
  readonly target: ConnectionTarget;
  readonly slotName: string;
  /** The tables of it that definitions name. */
  readonly tables: readonly TableQuestion[];
}

export interface DiagnoseOptions {
  /** How long each database has, in milliseconds. */
  readonly patienceMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

type Init<S extends DescMessage> = MessageInitShape<S>;
export type DatabaseDiagnosisInit = Init<typeof DatabaseDiagnosisSchema>;

const TABLES_MAX = 1_000;
const VERSION_WITH_INACTIVE_SINCE = 170_000;

/** One diagnosis per database, in order. Rejects only when the signal aborts or by a fault of ours. */
export function diagnoseDatabases(
  databases: readonly DatabaseToDiagnose[],
  options: DiagnoseOptions,
): Promise<DatabaseDiagnosisInit[]> {
  return Promise.all(databases.map((database) => diagnose(database, options)));
}

async function diagnose(database: DatabaseToDiagnose, options: DiagnoseOptions): Promise<DatabaseDiagnosisInit> {
  const { name, target, slotName } = database;
  const place = describeTarget(target);
  const named = { database: name, target: place, slotName };
  try {
    const facts = await withPatience(place, options, (signal) =>
      withConnection({ target, applicationName: 'freshet doctor' }, signal, async (connection) => {
        const server = await readServer(connection, options.clock);
        const slot = await readSlot(connection, slotName, must(server.version));
        const tables = await readTables(connection, slotName);
        const named = await readNamed(connection, database.tables, { user: server.user ?? '', published: tables });
        return { server, ...(slot && { slot }), tables, named };
      }),
    );
    return { ...named, ...facts };
  } catch (thrown) {
    options.signal.throwIfAborted();
    return { ...named, failure: toErrorDetail(toFreshetError(fromPgError(thrown, place))) };
  }
}

/** The work with a signal that aborts when its time is over; then it throws SOURCE_UNREACHABLE, whatever the work threw. */
async function withPatience<T>(
  place: string,
  { patienceMs, clock, signal }: DiagnoseOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const done = new AbortController();
  const timer = clock.sleep(patienceMs, AbortSignal.any([signal, done.signal])).then(
    () => late.abort(new DOMException('the database took too long', 'TimeoutError')),
    () => undefined,
  );
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } catch (error) {
    if (!late.signal.aborted) throw error;
    throw new FreshetError('SOURCE_UNREACHABLE', `${place} did not answer within ${patienceMs} ms`, {
      remedy: 'see that the server runs and is not stopped or overloaded, and that nothing between drops its packets',
      place,
      cause: error,
    });
  } finally {
    done.abort();
    await timer;
  }
}

async function readServer(connection: PgConnection, clock: Clock): Promise<Init<typeof ServerDiagnosisSchema>> {
  const beganUs = clock.monotonicUs();
  const beganWallUs = clock.nowUs();
  const { rows: clocks } = await connection.query(`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8`);
  const roundTripUs = clock.monotonicUs() - beganUs;
  const { rows } = await connection.query(`
    SELECT current_setting('server_version_num'), pg_is_in_recovery(), current_setting('wal_level'),
           current_setting('max_replication_slots'), (SELECT count(*) FROM pg_replication_slots),
           current_setting('max_wal_senders'), (SELECT count(*) FROM pg_stat_replication),
           (SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
           r.rolsuper OR r.rolreplication
             OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication' AND pg_has_role(m.oid, 'member')),
           has_database_privilege(current_database(), 'CREATE'), current_user
      FROM pg_roles r WHERE r.rolname = current_user`);
  const row = must(rows[0], 'the session has a role');
  const keepMegabytes = Number(row[7] ?? -1);
  return {
    version: Number(row[0]),
    inRecovery: row[1] === 't',
    walLevel: row[2] ?? '',
    replicationSlotsMax: Number(row[3]),
    replicationSlots: Number(row[4]),
    walSendersMax: Number(row[5]),
    walSenders: Number(row[6]),
    slotWalKeepBytes: keepMegabytes < 0 ? -1n : BigInt(keepMegabytes) * 1024n * 1024n,
    mayReplicate: row[8] === 't',
    mayCreate: row[9] === 't',
    user: row[10] ?? '',
    // What the server read lies, as far as we can know, in the middle of the round trip.
    clockAheadUs: BigInt(Number(clocks[0]?.[0] ?? 0) - beganWallUs - Math.round(roundTripUs / 2)),
    roundTripUs: BigInt(roundTripUs),
  };
}

async function readSlot(
  connection: PgConnection,
  name: string,
  version: number,
): Promise<Init<typeof SlotDiagnosisSchema> | undefined> {
  const recent =
    version >= VERSION_WITH_INACTIVE_SINCE
      ? `(extract(epoch FROM s.inactive_since) * 1000000)::int8, coalesce(s.invalidation_reason, '')`
      : `NULL, ''`;
  // A standby has no current position of its own to write; what it replayed is the nearest.
  const current = 'CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END';
  const { rows } = await connection.query(`
    SELECT s.plugin, s.database, s.active, s.active_pid, coalesce(a.application_name, ''),
           greatest(pg_wal_lsn_diff(${current}, s.restart_lsn), 0)::int8,
           greatest(pg_wal_lsn_diff(${current}, s.confirmed_flush_lsn), 0)::int8,
           coalesce(s.wal_status, ''), s.safe_wal_size, ${recent}
      FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
     WHERE s.slot_name = ${quoteLiteral(name)}`);
  const [row] = rows;
  if (row === undefined) return undefined;
  const safe = row[8] ?? null;
  const since = row[9] ?? null;
  return {
    plugin: row[0] ?? '',
    database: row[1] ?? '',
    active: row[2] === 't',
    activePid: Number(row[3] ?? 0),
    activeApplication: row[4] ?? '',
    retainedBytes: BigInt(row[5] ?? 0),
    unconfirmedBytes: BigInt(row[6] ?? 0),
    walStatus: row[7] ?? '',
    ...(safe !== null && { safeWalBytes: BigInt(safe) }),
    ...(since !== null && { inactiveSinceUs: BigInt(since) }),
    invalidationReason: row[10] ?? '',
  };
}

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: ReplicaIdentity.DEFAULT,
  f: ReplicaIdentity.FULL,
  n: ReplicaIdentity.NOTHING,
  i: ReplicaIdentity.INDEX,
};

async function readTables(
  connection: PgConnection,
  slotName: string,
): Promise<Init<typeof PublishedTableDiagnosisSchema>[]> {
  const names = publicationNames(slotName);
  const { rows } = await connection.query(`
    SELECT p.pubname, p.schemaname, p.tablename, c.relreplident,
           CASE c.relreplident
             WHEN 'f' THEN true
             WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
             WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
             ELSE false END
      FROM pg_publication_tables p
      JOIN pg_namespace n ON n.nspname = p.schemaname
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
     WHERE p.pubname IN (${quoteLiteral(names.append)}, ${quoteLiteral(names.mutable)})
     ORDER BY 2, 3 LIMIT ${TABLES_MAX}`);
  return rows.map(([publication, schema, table, identity, identified]) => ({
    schema: schema ?? '',
    table: table ?? '',
    mutable: publication === names.mutable,
    replicaIdentity: IDENTITIES[identity ?? ''] ?? ReplicaIdentity.UNSPECIFIED,
    identified: identified === 't',
  }));
}

async function readNamed(
  connection: PgConnection,
  tables: readonly TableQuestion[],
  of: { readonly user: string; readonly published: readonly Init<typeof PublishedTableDiagnosisSchema>[] },
): Promise<Init<typeof NamedTableDiagnosisSchema>[]> {
  const asked = tables.slice(0, TABLES_MAX);
  if (asked.length === 0) return [];
  const access = await readAccess(connection, asked);
  const mutable = of.published.filter((one) => one.mutable === true);
  const keys = new Set(mutable.map(({ schema = '', table = '' }) => tableKey({ schema, table })));
  const named: Init<typeof NamedTableDiagnosisSchema>[] = [];
  for (const [i, question] of asked.entries()) {
    const { schema, table } = question;
    const problems = tableFindings(question, access[i], of.user);
    if (access[i]?.kind === 'p' && keys.has(tableKey(question))) {
      const facts = await readTable(connection, schema, table);
      if (facts !== undefined)
        problems.push(...untoldLeaves(facts), ...leafFindings(facts), ...unloggedFindings(facts));
    }
    named.push({ schema, table, problems: problems.map(toErrorDetail) });
  }
  return named;
}
