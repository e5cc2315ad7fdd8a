/**
 * Reads what Postgres' catalog says of the server, of our slot and of tables. Judges nothing: core/preflight.ts and
 * core/source-state.ts do.
 */
import { must } from '@freshet/kit/assert.ts';
import type { CatalogColumn, CatalogDomain, CatalogLeaf, CatalogTable } from '../core/contract.ts';
import { parseLsn } from '../core/lsn.ts';
import type { ServerFacts, TableAccess, TableQuestion } from '../core/preflight.ts';
import type { SlotFacts } from '../core/source-state.ts';
import { quoteLiteral } from '../core/sql.ts';
import type { PgConnection } from './pg/pg-connection.ts';

/** A clock reading of the server, between two of ours. */
export interface ServerClock {
  readonly databaseUs: number;
}

export async function readServer(connection: PgConnection): Promise<ServerFacts & ServerClock> {
  const { rows } = await connection.query(`
    SELECT current_setting('server_version_num'), current_setting('wal_level'), current_user, current_database(),
           r.rolsuper,
           r.rolreplication OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication' AND pg_has_role(m.oid, 'member')),
           pg_is_in_recovery(), current_setting('max_replication_slots'),
           (SELECT count(*) FROM pg_replication_slots s
             WHERE NOT s.temporary OR NOT EXISTS (SELECT FROM pg_stat_activity a
               WHERE a.pid = s.active_pid AND a.application_name = current_setting('application_name'))),
           current_setting('max_wal_senders'),
           (extract(epoch FROM clock_timestamp()) * 1000000)::int8
      FROM pg_roles r WHERE r.rolname = current_user`);
  const [version, walLevel, user, database, superuser, mayReplicate, inRecovery, slotsMax, slots, senders, now] = must(
    rows[0],
  );
  return {
    version: Number(version),
    walLevel: walLevel ?? '',
    user: user ?? '',
    database: database ?? '',
    superuser: superuser === 't',
    mayReplicate: mayReplicate === 't',
    inRecovery: inRecovery === 't',
    maxReplicationSlots: Number(slotsMax),
    usedReplicationSlots: Number(slots),
    maxWalSenders: Number(senders),
    databaseUs: Number(now),
  };
}

/** The slot of that name; undefined when there is none. */
export async function readSlot(
  connection: PgConnection,
  name: string,
  version: number,
): Promise<SlotFacts | undefined> {
  const reason = version >= 170000 ? "coalesce(invalidation_reason, '')" : "''";
  const { rows } = await connection.query(`
    SELECT plugin, database, active, active_pid, wal_status, ${reason}, confirmed_flush_lsn, safe_wal_size
      FROM pg_replication_slots WHERE slot_name = ${quoteLiteral(name)}`);
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    plugin: row[0] ?? '',
    database: row[1] ?? '',
    active: row[2] === 't',
    activePid: Number(row[3] ?? 0),
    walStatus: row[4] ?? '',
    invalidationReason: row[5] ?? '',
    confirmedLsn: parseLsn(row[6] ?? '') ?? 0n,
    safeWalBytes: row[7] === null || row[7] === undefined ? undefined : Number(row[7]),
  };
}

/**
 * How many rows Postgres believes a table to have, its partitions' together; undefined when it was never analyzed. Not by
 * pg_partition_tree, which waits for a partition that is locked.
 */
export async function readRowsEstimate(
  connection: PgConnection,
  schema: string,
  table: string,
): Promise<bigint | undefined> {
  const { rows } = await connection.query(`
    WITH RECURSIVE tree AS (
      SELECT c.oid, c.relkind, c.reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname = ${quoteLiteral(schema)} AND c.relname = ${quoteLiteral(table)}
      UNION ALL
      SELECT p.oid, p.relkind, p.reltuples FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid AND t.relkind = 'p'
        JOIN pg_class p ON p.oid = i.inhrelid
    )
    SELECT CASE WHEN bool_and(reltuples < 0) THEN NULL ELSE sum(greatest(reltuples, 0))::int8 END FROM tree WHERE relkind <> 'p'`);
  const count = rows[0]?.[0];
  return count === null || count === undefined ? undefined : BigInt(count);
}

/** Whether each of the tables can be read, by one query, in order; undefined where there is none of that name. */
export async function readAccess(
  connection: PgConnection,
  tables: readonly TableQuestion[],
): Promise<(TableAccess | undefined)[]> {
  const asked = JSON.stringify(tables.map(({ schema, table }) => ({ schema, table })));
  const { rows } = await connection.query(`
    SELECT c.relkind, c.relpersistence, ${MAY_SELECT}, pg_get_userbyid(c.relowner), row_security_active(c.oid)
      FROM jsonb_array_elements(${quoteLiteral(asked)}::jsonb) WITH ORDINALITY a (asked, place)
      LEFT JOIN pg_namespace n ON n.nspname = a.asked->>'schema'
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = a.asked->>'table'
     ORDER BY a.place`);
  return rows.map(([kind, persistence, maySelect, owner, rowSecurity]) =>
    kind === null || kind === undefined
      ? undefined
      : {
          kind,
          persistence: persistence ?? '',
          maySelect: maySelect === 't',
          owner: owner ?? '',
          rowSecurity: rowSecurity === 't',
        },
  );
}

const MAY_SELECT = `has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')`;

/** A table as the catalog has it; undefined when there is none of that name. */
export async function readTable(
  connection: PgConnection,
  schema: string,
  table: string,
): Promise<CatalogTable | undefined> {
  const { rows } = await connection.query(`
    SELECT c.oid, c.relkind, c.relpersistence, c.relreplident,
           ${MAY_SELECT}, pg_get_userbyid(c.relowner),
           ${indexColumns('indisprimary')}, ${indexColumns('indisreplident')}, row_security_active(c.oid), c.relispartition
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ${quoteLiteral(schema)} AND c.relname = ${quoteLiteral(table)}`);
  const [row] = rows;
  if (row === undefined) return undefined;
  const oid = Number(row[0]);
  return {
    oid,
    schema,
    table,
    kind: row[1] ?? '',
    persistence: row[2] ?? '',
    replicaIdentity: row[3] ?? '',
    maySelect: row[4] === 't',
    owner: row[5] ?? '',
    primaryKey: names(row[6]),
    identityIndex: names(row[7]),
    rowSecurity: row[8] === 't',
    columns: await readColumns(connection, oid),
    ...(row[1] === 'p' && (await readLeaves(connection, oid))),
    ...(row[9] === 't' && { partitionOf: await readAncestors(connection, oid) }),
  };
}

/**
 * A partitioned table's partitions that do not tell all of old rows, and those that the stream tells nothing of. Not by
 * pg_partition_tree, which locks each of them: one that is being altered would keep a whole database from being captured.
 */
async function readLeaves(
  connection: PgConnection,
  oid: number,
): Promise<Required<Pick<CatalogTable, 'leaves' | 'unlogged'>>> {
  const { rows } = await connection.query(`
    WITH RECURSIVE tree AS (
      SELECT ${oid}::oid AS relid
      UNION ALL
      SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid
    )
    SELECT n.nspname, c.relname, c.relreplident,
           CASE c.relreplident WHEN 'd' THEN ${indexColumns('indisprimary')} WHEN 'i' THEN ${indexColumns('indisreplident')} END,
           c.relkind, c.relkind = 'r' AND c.relpersistence = 'p'
      FROM tree t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind <> 'p' AND (c.relreplident <> 'f' OR c.relkind <> 'r' OR c.relpersistence <> 'p')
     ORDER BY n.nspname, c.relname`);
  const found = rows.map(([schema, table, replicaIdentity, identity, kind, isLogged]) => ({
    leaf: {
      schema: schema ?? '',
      table: table ?? '',
      replicaIdentity: replicaIdentity ?? '',
      identity: names(identity),
    } satisfies CatalogLeaf,
    kind: kind ?? '',
    isLogged: isLogged === 't',
  }));
  const leaves = found.filter(({ leaf, kind }) => kind === 'r' && leaf.replicaIdentity !== 'f').map(({ leaf }) => leaf);
  const unlogged = found.filter(({ isLogged }) => !isLogged);
  return { leaves, unlogged: unlogged.map(({ leaf: { schema, table }, kind }) => ({ schema, table, kind })) };
}

async function readAncestors(connection: PgConnection, oid: number): Promise<NonNullable<CatalogTable['partitionOf']>> {
  const { rows } = await connection.query(`
    SELECT n.nspname, c.relname
      FROM pg_partition_ancestors(${oid}) a JOIN pg_class c ON c.oid = a.relid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid <> ${oid} ORDER BY n.nspname, c.relname`);
  return rows.map(([schema, table]) => ({ schema: schema ?? '', table: table ?? '' }));
}

/** Not of a key that is DEFERRABLE: the server tells no old row by it, and within a transaction two rows may have it at once. */
function indexColumns(which: string): string {
  return `(SELECT json_agg(a.attname ORDER BY k.place)
             FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, place), pg_attribute a
            WHERE i.indrelid = c.oid AND i.${which} AND i.indimmediate AND k.place <= i.indnkeyatts
              AND a.attrelid = c.oid AND a.attnum = k.attnum)`;
}

function names(json: string | null | undefined): string[] {
  return json === null || json === undefined ? [] : (JSON.parse(json) as string[]);
}

/** Of an enum, or of an array of one. */
const ENUM_LABELS = `(SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder)
             FROM pg_enum l WHERE l.enumtypid = b.oid OR l.enumtypid = e.oid)`;

/** The chain of domains, the declared one first. Their NOT NULL is no check, though newer servers list it among them. */
const DOMAINS = `(SELECT json_agg(json_build_object(
               'name', n.nspname || '.' || t.typname, 'baseType', format_type(t.typbasetype, t.typtypmod),
               'notNull', t.typnotnull,
               'checks', (SELECT coalesce(json_agg(k.conname || ' ' || pg_get_constraintdef(k.oid) ORDER BY k.conname), '[]')
                            FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) ORDER BY o.place)
             FROM unnest(c.domains) WITH ORDINALITY o (oid, place)
             JOIN pg_type t ON t.oid = o.oid JOIN pg_namespace n ON n.oid = t.typnamespace)`;

async function readColumns(connection: PgConnection, oid: number): Promise<CatalogColumn[]> {
  // A domain may be over a domain: followed down to a type that is none.
  const { rows } = await connection.query(`
    WITH RECURSIVE typed AS (
      SELECT a.attrelid, a.atttypmod, ARRAY[]::oid[] AS domains, a.attnum, a.attname, a.attnotnull AS not_null, a.attgenerated <> '' AS generated, a.atttypid,
             format_type(a.atttypid, a.atttypmod) AS written, t.oid AS base, t.typtype, t.typbasetype, t.typnotnull,
             CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
       WHERE a.attrelid = ${oid} AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT d.attrelid, d.atttypmod, d.domains || d.base, d.attnum, d.attname, d.not_null OR d.typnotnull, d.generated, d.atttypid,
             d.written, t.oid, t.typtype, t.typbasetype, t.typnotnull,
             CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE d.modifier END
        FROM typed d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
    )
    SELECT c.attname, c.not_null, c.generated, c.atttypid, c.written, c.base, b.typname, b.typcategory,
           coalesce(nullif(e.typbasetype, 0), e.oid, 0), c.modifier, c.atttypmod, pg_get_expr(f.adbin, f.adrelid),
           ${ENUM_LABELS}, ${DOMAINS}, c.attnum
      FROM typed c JOIN pg_type b ON b.oid = c.base LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
           LEFT JOIN pg_attrdef f ON f.adrelid = c.attrelid AND f.adnum = c.attnum
     WHERE c.typtype <> 'd' ORDER BY c.attnum`);
  return rows.map((row) => ({
    name: row[0] ?? '',
    number: Number(row[14]),
    nullable: row[1] !== 't',
    generated: row[2] === 't',
    typeOid: Number(row[3]),
    typeText: row[4] ?? '',
    base: {
      oid: Number(row[5]),
      name: row[6] ?? '',
      category: row[7] ?? '',
      elementOid: Number(row[8]),
      modifier: Number(row[9]),
    },
    typeModifier: Number(row[10]),
    defaultExpression: row[11] ?? '',
    enumLabels: names(row[12]),
    domains: row[13] === null || row[13] === undefined ? [] : (JSON.parse(row[13]) as CatalogDomain[]),
  }));
}
