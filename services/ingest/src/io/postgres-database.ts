/**
 * A database to capture (core/source-database.ts), as Postgres is one.
 *
 * Owns making connections and the sequence of commands on them; each command has its own file. What the database refuses
 * comes out as a FreshetError that names where it is, never as PgError.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { parseLsn } from '../core/lsn.ts';
import type {
  ClusterIdentity,
  DatabaseSession,
  ReplicationStream,
  SnapshotReader,
  SourceDatabase,
} from '../core/source-database.ts';
import { quoteIdentifier, quoteLiteral } from '../core/sql.ts';
import { isSeen } from '../core/table-fill.ts';
import { readServer, readSlot, readTable } from './catalog.ts';
import { type ConnectionTarget, describeTarget } from './pg/connection-url.ts';
import { PgPeekedStream } from './pg/peeked-stream.ts';
import { type PgConnection, type PgConnectionOptions, withConnection } from './pg/pg-connection.ts';
import { fromPgError, isPgError } from './pg/pg-error.ts';
import { PgReplicationStream, type StreamOptions } from './pg/replication-stream.ts';
import { ensurePublications, publicationNames, readPublished, tableReference } from './publications.ts';
import { createSlot, withSnapshot } from './slot.ts';
import { readFills, requireSameFile } from './table-fills.ts';
import { hasRows, readAncestorOids, readParts } from './table-parts.ts';

export interface PostgresDatabaseOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly target: ConnectionTarget;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class PostgresDatabase implements SourceDatabase {
  readonly name: string;
  readonly place: string;
  readonly #options: PgConnectionOptions;
  readonly #logger: Logger;

  constructor({ name, target, clock, logger }: PostgresDatabaseOptions) {
    this.name = name;
    this.place = describeTarget(target);
    this.#options = { target, clock, applicationName: `freshet ingest ${name}` };
    this.#logger = logger;
  }

  /** Runs work on a connection of its own; the database's errors come as operating errors. */
  connect<T>(signal: AbortSignal, work: (connection: PgConnection) => Promise<T>): Promise<T> {
    return this.#told(() => withConnection(this.#options, signal, work));
  }

  look<T>(signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T> {
    return this.connect(signal, async (connection) => {
      // It is idle while what it found is acted on elsewhere, for as long as a copy of the slot tells or a slot is made.
      await connection.query(
        `SELECT set_config('idle_session_timeout', '0', false) WHERE current_setting('idle_session_timeout', true) IS NOT NULL`,
      );
      return work(sessionOn(connection, this.#logger));
    });
  }

  identify(signal: AbortSignal): Promise<ClusterIdentity> {
    return this.#told(() =>
      withConnection({ ...this.#options, replication: true }, signal, async (connection) => {
        const [row] = (await connection.query('IDENTIFY_SYSTEM')).rows;
        return { systemId: row?.[0] ?? '', timeline: Number(row?.[1] ?? 0), endLsn: parseLsn(row?.[2] ?? '') };
      }),
    );
  }

  createSlot(slotName: string, signal: AbortSignal): Promise<void> {
    return this.#told(() => createSlot(this.#options, slotName, signal));
  }

  snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T> {
    return this.#told(() =>
      withSnapshot(this.#options, slotName, signal, (connection, fromLsn) => work(readerOn(connection), fromLsn)),
    );
  }

  openStream(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    return this.#open(slotName, undefined, signal);
  }

  openCopy(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    return this.#open(slotName, 'copy', signal);
  }

  async openRetelling(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    try {
      return await this.openCopy(slotName, signal);
    } catch (error) {
      // All slots are in use. What is live has its own, and must not wait for another.
      if (!isFreshetError(error) || !isPgError(error.cause, '53400')) throw error;
      return this.#told(() => PgPeekedStream.open(this.#options, this.#streamOf(slotName), signal));
    }
  }

  #open(slotName: string, copy: 'copy' | undefined, signal: AbortSignal): Promise<ReplicationStream> {
    return this.#told(() => PgReplicationStream.open(this.#options, { ...this.#streamOf(slotName), copy }, signal));
  }

  #streamOf(slotName: string): StreamOptions {
    const names = publicationNames(slotName);
    return { slotName, publications: [names.append, names.mutable], place: this.place };
  }

  async #told<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fromPgError(error, this.place);
    }
  }
}

function sessionOn(connection: PgConnection, logger: Logger): DatabaseSession {
  let version: number | undefined;
  return {
    server: async () => {
      const server = await readServer(connection);
      version = server.version;
      return server;
    },
    table: (schema, table) => readTable(connection, schema, table),
    slot: async (name) => {
      version ??= (await readServer(connection)).version;
      return readSlot(connection, name, version);
    },
    seen: async () => {
      const { rows } = await connection.query('SELECT txid_current_snapshot()');
      return (xid) => isSeen(rows[0]?.[0] ?? '', xid);
    },
    fills: (oids) => readFills(connection, oids),
    parts: (oids) => readParts(connection, oids),
    ancestors: (oids) => readAncestorOids(connection, oids),
    hasRows: (table, leaf, olderThan) => hasRows(connection, table, leaf, olderThan),
    dropSlot: async (name) => {
      await connection.query(
        `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${quoteLiteral(name)}`,
      );
    },
    published: (slotName) => readPublished(connection, slotName),
    publish: (slotName, tables) => ensurePublications(connection, slotName, tables, logger),
  };
}

function readerOn(connection: PgConnection): SnapshotReader {
  return {
    rowsAbout: async (table) => {
      // The planner's estimate: of the table's pages as they are now, of all partitions, and also where nobody analysed it.
      const { rows } = await connection.query(`EXPLAIN SELECT FROM ${tableReference(table)}`);
      const about = /\brows=(\d+)/.exec(rows[0]?.[0] ?? '')?.[1];
      return about === undefined ? undefined : Number(about);
    },
    copy: async function* (table) {
      const columns = table.columns.map(quoteIdentifier).join(', ');
      yield* connection.copyOut(`COPY (SELECT ${columns} FROM ${tableReference(table)}) TO STDOUT`);
      await requireSameFile(connection, table);
    },
    fills: (oids) => readFills(connection, oids),
    parts: (oids) => readParts(connection, oids),
  };
}
