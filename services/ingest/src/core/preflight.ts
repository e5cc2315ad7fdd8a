/**
 * What keeps a database or a table from being captured, each finding with the SQL or YAML that mends it. All findings
 * are made at once, so that a person needs one round. Pure: judges facts that io/catalog.ts reads.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import { type CatalogTable, contractOf } from './contract.ts';
import { fullIdentity, leafFindings, untoldLeaves } from './leaf-findings.ts';
import { identityName } from './row-shape.ts';
import { quoteIdentifier, tableName } from './sql.ts';
import { valueTypeOf } from './types/type-table.ts';

/** What the server says of itself and of us. */
export interface ServerFacts {
  /** As server_version_num: 180004. */
  readonly version: number;
  readonly walLevel: string;
  readonly user: string;
  readonly database: string;
  readonly superuser: boolean;
  /** The REPLICATION attribute. */
  readonly mayReplicate: boolean;
  readonly inRecovery: boolean;
  readonly maxReplicationSlots: number;
  /** Without temporary ones of our own: those pass, and are used one after the other. */
  readonly usedReplicationSlots: number;
  readonly maxWalSenders: number;
}

const VERSION_MIN = 140000;

/** What is wrong with the server, whatever is captured of it. */
export function serverFindings(server: ServerFacts): FreshetError[] {
  const findings: FreshetError[] = [];
  const add = (message: string, remedy: string): void => {
    findings.push(new FreshetError('SOURCE_NOT_READY', message, { remedy, place: `database ${server.database}` }));
  };
  if (server.version < VERSION_MIN) {
    add(`Postgres ${Math.floor(server.version / 10_000)} is too old`, 'Upgrade to Postgres 14 or later.');
  }
  if (server.inRecovery) {
    add('the server is a standby', 'Give the URL of the primary: --postgres name=postgres://primary/…');
  }
  if (server.walLevel !== 'logical') {
    add(`wal_level is ${server.walLevel}`, "ALTER SYSTEM SET wal_level = 'logical'; -- then restart Postgres");
  }
  if (!server.mayReplicate && !server.superuser) {
    add(`user ${server.user} may not replicate`, `ALTER ROLE ${quoteIdentifier(server.user)} WITH REPLICATION;`);
  }
  if (server.maxWalSenders === 0) {
    add('max_wal_senders is 0', 'ALTER SYSTEM SET max_wal_senders = 10; -- then restart Postgres');
  }
  return findings;
}

/**
 * Why so many slots cannot be made; undefined: they can. It is of what has not begun only: a stream has its slot already.
 * `forWhat`: "to …".
 */
export function slotFinding(server: ServerFacts, slotsNeeded: number, forWhat: string): FreshetError | undefined {
  const { maxReplicationSlots: max, usedReplicationSlots: used, database } = server;
  if (slotsNeeded <= max - used) return undefined;
  const more = slotsNeeded === 1 ? 'one more is' : `${slotsNeeded} more are`;
  const message = `${used} of ${max} replication slots are in use, and ${more} needed ${forWhat}`;
  return new FreshetError('SOURCE_NOT_READY', message, {
    remedy: `ALTER SYSTEM SET max_replication_slots = ${used + slotsNeeded}; -- then restart Postgres. Or drop one that nobody reads: SELECT slot_name, active FROM pg_replication_slots;`,
    place: `database ${database}`,
  });
}

export interface TableQuestion {
  readonly schema: string;
  readonly table: string;
}

/** What decides whether a table can be read at all. */
export type TableAccess = Pick<CatalogTable, 'kind' | 'persistence' | 'maySelect' | 'owner' | 'rowSecurity'>;

/** What is wrong with a table, whatever is asked of its key; undefined: it is not there, or not to be seen. */
export function tableFindings(question: TableQuestion, table: TableAccess | undefined, user: string): FreshetError[] {
  const name = tableName(question.schema, question.table);
  const findings: FreshetError[] = [];
  const add = (message: string, remedy: string): void => {
    findings.push(new FreshetError('SOURCE_NOT_READY', message, { remedy, place: name }));
  };
  if (table === undefined) {
    add(`there is no table ${name}`, 'Correct postgres.table in the definitions (schema.table), or create the table.');
    return findings;
  }
  if (table.kind !== 'r' && table.kind !== 'p') {
    add(
      `${name} is ${RELATION_KINDS[table.kind] ?? 'no table'}; only tables have changes to capture`,
      'Name the table that holds the rows.',
    );
    return findings;
  }
  if (table.persistence !== 'p') {
    add(`${name} is not logged, so its changes are not in the write-ahead log`, `ALTER TABLE ${name} SET LOGGED;`);
  }
  if (!table.maySelect) {
    const grants = [`GRANT SELECT ON ${name} TO ${quoteIdentifier(user)};`];
    if (question.schema !== 'public')
      grants.unshift(`GRANT USAGE ON SCHEMA ${quoteIdentifier(question.schema)} TO ${quoteIdentifier(user)};`);
    add(`user ${user} may not read ${name}`, grants.join(' '));
  }
  if (table.rowSecurity) {
    const bypass = `ALTER ROLE ${quoteIdentifier(user)} BYPASSRLS;`;
    const remedy =
      table.owner === user
        ? `ALTER TABLE ${name} NO FORCE ROW LEVEL SECURITY; -- or: ${bypass}`
        : `${bypass} -- or: ALTER TABLE ${name} DISABLE ROW LEVEL SECURITY;`;
    add(`row-level security hides rows of ${name} from user ${user}`, remedy);
  }
  return findings;
}

const RELATION_KINDS: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  f: 'a foreign table',
  S: 'a sequence',
  i: 'an index',
  I: 'an index',
  c: 'a composite type',
};

/** Without an identity the source's own UPDATE and DELETE would fail as soon as the table is published as a mutable one. */
export function untoldFindings(table: CatalogTable): FreshetError[] {
  const name = tableName(table.schema, table.table);
  const ok =
    table.replicaIdentity === 'f' ||
    (table.replicaIdentity === 'd' && table.primaryKey.length > 0) ||
    (table.replicaIdentity === 'i' && table.identityIndex.length > 0);
  if (ok) return untoldLeaves(table);
  const why =
    table.replicaIdentity === 'd'
      ? 'it has no primary key, or one that is DEFERRABLE'
      : 'its replica identity is NOTHING';
  const remedy =
    table.primaryKey.length > 0
      ? `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT;`
      : `${fullIdentity(table)} -- or give it a primary key`;
  return [
    new FreshetError('SOURCE_NOT_READY', `${name} does not tell which row an UPDATE or DELETE is about: ${why}`, {
      remedy,
      place: name,
    }),
  ];
}

/** What is wrong with a route whose table can be captured as such: its event time. */
export function routeFindings(plan: RoutePlan, table: CatalogTable): FreshetError[] {
  const { source } = plan;
  if (source === undefined) return [];
  const name = tableName(table.schema, table.table);
  const findings: FreshetError[] = [];
  const column = source.eventTimeColumn;
  if (column !== '') {
    const found = table.columns.find((candidate) => candidate.name === column);
    const times = table.columns
      .filter((candidate) => valueTypeOf(candidate.base).kind === Kind.TIMESTAMP)
      .map(({ name: n }) => n);
    const remedy =
      times.length > 0
        ? `In source ${source.name}, write event_time: ${times[0]}`
        : `ALTER TABLE ${name} ADD COLUMN occurred_at timestamptz NOT NULL DEFAULT now(); -- and in source ${source.name}: event_time: occurred_at`;
    if (found === undefined) {
      findings.push(
        new FreshetError('SOURCE_NOT_READY', `${name} has no column ${column}, which is to be the event time`, {
          remedy,
          place: `source ${source.name}`,
        }),
      );
    } else if (valueTypeOf(found.base).kind !== Kind.TIMESTAMP) {
      findings.push(
        new FreshetError('SOURCE_NOT_READY', `column ${column} of ${name} is ${found.typeText}, which is no time`, {
          remedy,
          place: `source ${source.name}`,
        }),
      );
    }
  }
  return findings;
}

/** What keeps the rows of a mutable source's table from being told apart, or from their entity. */
export function identityFindings(plan: RoutePlan, table: CatalogTable): FreshetError[] {
  if (plan.source?.mode !== SourceMode.MUTABLE) return [];
  const name = tableName(table.schema, table.table);
  const findings = [...untoldFindings(table), ...leafFindings(table)];
  if (table.replicaIdentity === 'f') return findings;
  const identity = table.replicaIdentity === 'i' ? table.identityIndex : table.primaryKey;
  const missing = plan.keyColumns.filter((key) => !identity.includes(key));
  if (missing.length > 0 && identity.length > 0) {
    findings.push(
      new FreshetError(
        'SOURCE_NOT_READY',
        `an old row of ${name} does not tell ${missing.join(', ')}, by which entity ${plan.entity?.name ?? ''} is keyed`,
        {
          remedy: fullIdentity(table),
          place: name,
        },
      ),
    );
  }
  return findings;
}

/**
 * How a table tells its rows apart by another key than the definitions were resolved with, and what to do; undefined: as they
 * say, or it is no mutable source's. What was folded by the old key cannot be gone on with.
 */
export function keyFinding(plan: RoutePlan, table: CatalogTable): FreshetError | undefined {
  const contract = plan.source?.contract;
  if (plan.source?.mode !== SourceMode.MUTABLE || contract === undefined) return undefined;
  const was = rowIdentity(contract);
  const now = rowIdentity(contractOf(plan.source.name, table));
  const name = tableName(table.schema, table.table);
  const same = was.unique
    ? now.unique && JSON.stringify(now.columns) === JSON.stringify(was.columns)
    : table.replicaIdentity === 'f';
  if (same) return undefined;
  const told = identityName({ unique: now.unique, identity: now.columns });
  return new FreshetError(
    'SOURCE_NOT_READY',
    `rows of ${name} are told apart by ${told} now; by the definitions, by ${identityName({ unique: was.unique, identity: was.columns })}`,
    {
      remedy:
        'Plan and apply the definitions again (freshet plan, freshet apply): the table is then read anew, as a new generation. ' +
        `Or put its key back as it was${was.unique ? '' : `: ${fullIdentity(table)}`}`,
      place: name,
    },
  );
}

/** One error for many findings: the first, with the others beside it. Nothing when there are none. */
export function throwFindings(findings: readonly FreshetError[]): void {
  const [first, ...rest] = findings;
  if (first === undefined) return;
  throw new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also: rest });
}
