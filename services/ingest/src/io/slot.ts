/**
 * Makes replication slots: the permanent one that the stream reads from, and the temporary one whose snapshot an
 * initial copy sees. Both are made over a replication connection, in whose database they then are.
 */
import { must } from '@freshet/kit/assert.ts';
import { parseLsn } from '../core/lsn.ts';
import { quoteIdentifier, quoteLiteral } from '../core/sql.ts';
import { type PgConnection, type PgConnectionOptions, withConnection } from './pg/pg-connection.ts';

/** Makes the permanent slot. Waits for the transactions that are running, up to the session's lock_timeout. */
export async function createSlot(options: PgConnectionOptions, name: string, signal: AbortSignal): Promise<void> {
  await withConnection({ ...options, replication: true }, signal, (connection) =>
    connection.query(`CREATE_REPLICATION_SLOT ${quoteIdentifier(name)} LOGICAL pgoutput NOEXPORT_SNAPSHOT`),
  );
}

/**
 * Runs work on a connection whose transaction sees the database exactly as it is at a consistent point: every commit
 * before it, none after. The point is told to the work.
 */
export async function withSnapshot<T>(
  options: PgConnectionOptions,
  slotName: string,
  signal: AbortSignal,
  work: (connection: PgConnection, fromLsn: bigint) => Promise<T>,
): Promise<T> {
  return withConnection({ ...options, replication: true }, signal, async (exporter) => {
    // The exporter's process id makes the name its own: one that was left behind is no obstacle.
    const name = `${slotName.slice(0, 48)}_s${exporter.backendPid}`;
    const { rows } = await exporter.query(
      `CREATE_REPLICATION_SLOT ${quoteIdentifier(name)} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT`,
    );
    const [, point, snapshot] = must(rows[0]);
    return withConnection(options, signal, async (connection) => {
      await connection.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await connection.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot ?? '')}`);
      // Imported: from here on the transaction keeps the snapshot alive, and the slot would only hold log back.
      await exporter.query(`DROP_REPLICATION_SLOT ${quoteIdentifier(name)}`);
      const result = await work(connection, must(parseLsn(point ?? '')));
      await connection.query('COMMIT');
      return result;
    });
  });
}
