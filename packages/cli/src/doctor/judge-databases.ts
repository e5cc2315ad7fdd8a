/**
 * Judges what databases offer, how their slots stand, and whether the tables of definitions may be read. Pure. The facts
 * are ingest's (DiagnoseSources); what else a table needs (event time, key) is judged at each plan.
 */
import type {
  DatabaseDiagnosis,
  NamedTableDiagnosis,
  PublishedTableDiagnosis,
  ServerDiagnosis,
  SlotDiagnosis,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { durationText } from '../output/values.ts';
import { bytesText, type Finding, Findings } from './finding.ts';

export interface DatabasesContext {
  readonly nowUs: number;
  /** Whether ingest runs, so that somebody should be reading the slots. */
  readonly ingestRuns: boolean;
}

const VERSION_MIN = 140_000;
const RETAINED_WARNING_BYTES = 4 * 1024 ** 3;
const RETAINED_PROBLEM_BYTES = 64 * 1024 ** 3;
const INACTIVE_WARNING_US = 3_600_000_000;
const SAFE_SHARE = 0.25;
const TABLES_SHOWN_MAX = 20;

export function judgeDatabases(databases: readonly DatabaseDiagnosis[], context: DatabasesContext): Finding[] {
  const findings = new Findings('databases');
  for (const database of databases) judgeDatabase(findings, database, context);
  return findings.list;
}

function judgeDatabase(findings: Findings, diagnosis: DatabaseDiagnosis, context: DatabasesContext): void {
  const { database, target, failure, server, slot, tables, named } = diagnosis;
  const place = `database ${database}`;
  if (failure !== undefined || server === undefined) {
    findings.problem({
      message: `${target} cannot be looked at: ${failure?.message ?? 'it told nothing'}`,
      remedy: failure?.remedy || `psql "${target.replace(/^/, 'postgres://')}" from this machine shows the same`,
      place,
    });
    return;
  }
  const before = findings.list.length;
  judgeServer(findings, server, slot === undefined, place);
  if (findings.list.slice(before).every(({ level }) => level === 'note')) {
    findings.ok(`${target}: Postgres ${versionText(server.version)}, logical, ${server.user} may replicate`, place);
  }
  judgeSlot(findings, diagnosis, context, place);
  judgeTables(findings, tables, slot !== undefined, place);
  judgeNamed(findings, named, place);
}

function judgeServer(findings: Findings, server: ServerDiagnosis, slotNeeded: boolean, place: string): void {
  const { version, walLevel, user } = server;
  if (version < VERSION_MIN) {
    findings.problem({
      message: `Postgres ${versionText(version)} is too old`,
      remedy: `upgrade to Postgres ${VERSION_MIN / 10_000} or later`,
      place,
    });
  }
  if (server.inRecovery) {
    findings.problem({
      message: 'the server is a standby',
      remedy: 'give the URL of the primary in postgres: of the configuration',
      place,
    });
  }
  if (walLevel !== 'logical') {
    findings.problem({
      message: `wal_level is ${walLevel}`,
      remedy: "ALTER SYSTEM SET wal_level = 'logical'; -- then restart Postgres",
      place,
    });
  }
  if (!server.mayReplicate) {
    findings.problem({
      message: `user ${user} may not replicate`,
      remedy: `ALTER ROLE ${quoted(user)} WITH REPLICATION;`,
      place,
    });
  }
  if (!server.mayCreate) {
    findings.warning({
      message: `user ${user} may not make publications in this database`,
      remedy: `GRANT CREATE ON DATABASE current_database TO ${quoted(user)}; -- with the database's name; or make the publications as their owner, by the SQL that freshet plan shows`,
      place,
    });
  }
  judgeFree(findings, place, 'replication slots', 'max_replication_slots', {
    used: server.replicationSlots,
    max: server.replicationSlotsMax,
    // Ours, and one for as long as initial rows are read.
    wanted: slotNeeded ? 2 : 0,
    lasting: slotNeeded ? 1 : 0,
    hinders: 'no table can be read for the first time or anew, which takes one for a while',
    look: 'SELECT slot_name, active FROM pg_replication_slots;',
  });
  judgeFree(findings, place, 'WAL senders', 'max_wal_senders', {
    used: server.walSenders,
    max: server.walSendersMax,
    // A reader that runs has its own already.
    wanted: slotNeeded ? 1 : 0,
    lasting: slotNeeded ? 1 : 0,
    hinders:
      'a stream that is cut off cannot come back before the server has noticed, and no table can be read for the first time or anew',
    look: 'SELECT application_name, client_addr FROM pg_stat_replication;',
  });
  if (server.slotWalKeepBytes < 0n) {
    findings.note({
      message: 'a slot may keep any amount of WAL: while ingest is away, the disk of the database fills',
      remedy:
        "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); -- a slot beyond it is lost, and its tables are read anew",
      place,
    });
  }
}

interface Supply {
  readonly used: number;
  readonly max: number;
  /** How many more are needed to capture anything. */
  readonly wanted: number;
  /** How many of them are kept. */
  readonly lasting: number;
  /** What cannot be while none is left. */
  readonly hinders: string;
  /** SQL that shows who uses them. */
  readonly look: string;
}

function judgeFree(findings: Findings, place: string, what: string, setting: string, supply: Supply): void {
  const { used, max, wanted, lasting, hinders, look } = supply;
  const remedy = `ALTER SYSTEM SET ${setting} = ${Math.max(10, used + wanted + 2)}; -- then restart Postgres. Or end one that nobody needs: ${look}`;
  if (max === 0 || used + wanted > max) {
    const needed = wanted === 1 ? 'one more is needed' : `${wanted} more are needed`;
    const message = max === 0 ? `${setting} is 0` : `${used} of ${max} ${what} are in use, and ${needed}`;
    findings.problem({ message, remedy, place });
  } else if (used + lasting === max) {
    const last = lasting === 0 ? 'none is left' : 'the stream takes the last';
    findings.warning({ message: `${used} of ${max} ${what} are in use, ${last}: ${hinders}`, remedy, place });
  }
}

function judgeSlot(findings: Findings, diagnosis: DatabaseDiagnosis, context: DatabasesContext, place: string): void {
  const { slot, slotName, tables } = diagnosis;
  if (slot === undefined) {
    if (tables.length === 0) findings.note({ message: `slot ${slotName} is not made yet: nothing is captured`, place });
    else {
      findings.problem({
        message: `slot ${slotName} is gone, although ${tables.length} tables are published for it`,
        remedy: resyncText(diagnosis.database),
        place,
      });
    }
    return;
  }
  const drop = `SELECT pg_drop_replication_slot('${slotName}');`;
  if (slot.walStatus === 'lost' || slot.invalidationReason !== '') {
    const why = slot.invalidationReason === '' ? '' : ` (${slot.invalidationReason})`;
    findings.problem({
      message: `the server gave slot ${slotName} up${why}: changes since are lost to it`,
      remedy: resyncText(diagnosis.database),
      place,
    });
    return;
  }
  if (slot.plugin !== 'pgoutput') {
    findings.problem({
      message: `slot ${slotName} is of plugin ${slot.plugin}; somebody else made it`,
      remedy: `choose another --slot-name, or, if nobody needs it: ${drop}`,
      place,
    });
  }
  judgeReader(findings, slot, { ...context, slotName, drop, place });
  judgeRetained(findings, slot, diagnosis, place);
}

function resyncText(database: string): string {
  return (
    'nothing, if ingest runs: it takes a new slot and reads the tables anew by itself. Where it was started with ' +
    `--on-lost-history halt, start it with --resync=${database}=<a word not used before>`
  );
}

interface ReaderContext extends DatabasesContext {
  readonly slotName: string;
  readonly drop: string;
  readonly place: string;
}

function judgeReader(findings: Findings, slot: SlotDiagnosis, context: ReaderContext): void {
  const { slotName, drop, place, ingestRuns, nowUs } = context;
  if (slot.active) {
    const who = slot.activeApplication === '' ? '' : ` for ${slot.activeApplication}`;
    if (ingestRuns) findings.ok(`slot ${slotName} is read (server process ${slot.activePid}${who})`, place);
    else {
      findings.warning({
        message: `slot ${slotName} is read by somebody${who}, and no ingest of this mesh runs`,
        remedy: `see who it is: SELECT * FROM pg_stat_activity WHERE pid = ${slot.activePid}; end it: SELECT pg_terminate_backend(${slot.activePid});`,
        place,
      });
    }
    return;
  }
  const since = slot.inactiveSinceUs === undefined ? undefined : nowUs - Number(slot.inactiveSinceUs);
  const howLong = since === undefined ? '' : ` for ${durationText(Math.max(0, since))}`;
  const message = `nobody reads slot ${slotName}${howLong}; the server keeps ${bytesText(slot.retainedBytes)} of WAL for it`;
  const remedy = `start the mesh; or, if this deployment is given up: ${drop}`;
  if (ingestRuns || (since ?? 0) > INACTIVE_WARNING_US) findings.warning({ message, remedy, place });
  else findings.note({ message, remedy, place });
}

function judgeRetained(findings: Findings, slot: SlotDiagnosis, diagnosis: DatabaseDiagnosis, place: string): void {
  const retained = Number(slot.retainedBytes);
  const keep = Number(diagnosis.server?.slotWalKeepBytes ?? -1n);
  const safe = slot.safeWalBytes === undefined ? undefined : Number(slot.safeWalBytes);
  const remedy =
    'see that ingest runs and why it is behind (freshet status); meanwhile: ALTER SYSTEM SET max_slot_wal_keep_size = ...; SELECT pg_reload_conf();';
  if (slot.walStatus === 'unreserved' || (safe !== undefined && safe <= 0)) {
    findings.problem({
      message: `the server gives slot ${diagnosis.slotName} up at its next checkpoint (wal_status ${slot.walStatus}, ${bytesText(retained)} kept)`,
      remedy,
      place,
    });
  } else if (retained > RETAINED_PROBLEM_BYTES) {
    findings.problem({ message: `the server keeps ${bytesText(retained)} of WAL for the slot`, remedy, place });
  } else if (safe !== undefined && keep > 0 && safe < keep * SAFE_SHARE) {
    findings.warning({
      message: `after ${bytesText(safe)} more of WAL the server gives slot ${diagnosis.slotName} up`,
      remedy,
      place,
    });
  } else if (retained > RETAINED_WARNING_BYTES) {
    findings.warning({ message: `the server keeps ${bytesText(retained)} of WAL for the slot`, remedy, place });
  }
}

function judgeTables(
  findings: Findings,
  tables: readonly PublishedTableDiagnosis[],
  slotMade: boolean,
  place: string,
): void {
  const bad = tables.filter((table) => table.mutable && !table.identified);
  for (const { schema, table, replicaIdentity } of bad.slice(0, TABLES_SHOWN_MAX)) {
    const name = `${quoted(schema)}.${quoted(table)}`;
    const why =
      replicaIdentity === ReplicaIdentity.DEFAULT ? 'it has no primary key' : 'its replica identity names no column';
    findings.problem({
      message: `UPDATE and DELETE of ${schema}.${table} fail while it is published: ${why}`,
      remedy: `ALTER TABLE ${name} REPLICA IDENTITY FULL; -- or give it a primary key`,
      place,
    });
  }
  if (bad.length > TABLES_SHOWN_MAX) {
    findings.problem({ message: `… and so do those of ${bad.length - TABLES_SHOWN_MAX} more tables`, place });
  }
  if (slotMade && tables.length === 0) {
    findings.note({ message: 'no table is published: nothing is captured', place });
  }
  if (tables.length > 0 && bad.length === 0) findings.ok(`${tables.length} tables are published`, place);
}

/** Tables of definitions that cannot be read: what ingest's preflight would say of them, with its SQL. */
function judgeNamed(findings: Findings, named: readonly NamedTableDiagnosis[], place: string): void {
  const problems = named.flatMap((table) => table.problems);
  for (const { message, remedy } of problems.slice(0, TABLES_SHOWN_MAX)) findings.problem({ message, remedy, place });
  if (problems.length > TABLES_SHOWN_MAX) {
    findings.problem({ message: `… and ${problems.length - TABLES_SHOWN_MAX} more of tables of definitions`, place });
  }
  if (named.length > 0 && problems.length === 0) {
    findings.ok(`${named.length} tables that definitions name may be read`, place);
  }
}

/** "18.4" */
function versionText(version: number): string {
  return `${Math.floor(version / 10_000)}.${version % 10_000}`;
}

function quoted(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
