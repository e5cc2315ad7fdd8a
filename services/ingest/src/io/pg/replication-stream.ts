/**
 * A replication stream (core/source-database.ts) on a connection to Postgres: START_REPLICATION and the frames within its
 * two-way COPY. What is in the frames is pgoutput, which the core decodes.
 *
 * Owns one connection. I1: what it tells the server is what it is told to tell; nothing is acknowledged by itself.
 */
import { formatLsn, parseLsn } from '../../core/lsn.ts';
import { decodePgOutput, POSTGRES_EPOCH_US } from '../../core/pgoutput/decoder.ts';
import type { ClusterIdentity, ReplicationStream, StreamMessage } from '../../core/source-database.ts';
import { quoteIdentifier, quoteLiteral } from '../../core/sql.ts';
import { PgConnection, type PgConnectionOptions } from './pg-connection.ts';
import { fromPgError } from './pg-error.ts';

const XLOG_DATA = 0x77; // w
const KEEPALIVE = 0x6b; // k
const XLOG_HEADER_BYTES = 25;
const STATUS_BYTES = 34;

/** What a stream needs of its connection; tests give one by hand. */
export type StreamConnection = Pick<
  PgConnection,
  'startCopyBoth' | 'readCopyData' | 'writeCopyData' | 'destroy' | 'close'
>;

export interface StreamOptions {
  readonly slotName: string;
  readonly publications: readonly string[];
  /** For errors. */
  readonly place: string;
  /** Reads a copy of the slot, which ends with the connection. */
  readonly copy?: 'copy' | undefined;
  /** What the connection leads to. */
  readonly identity?: ClusterIdentity | undefined;
}

export class PgReplicationStream implements ReplicationStream {
  readonly senderTimeoutMs: number;
  readonly identity: ClusterIdentity | undefined;
  readonly #connection: StreamConnection;
  readonly #slotName: string;
  readonly #publications: readonly string[];
  readonly #place: string;

  constructor(
    connection: StreamConnection,
    { slotName, publications, senderTimeoutMs, place, identity }: StreamOptions & { readonly senderTimeoutMs: number },
  ) {
    this.#connection = connection;
    this.#slotName = slotName;
    this.#publications = publications;
    this.senderTimeoutMs = senderTimeoutMs;
    this.#place = place;
    this.identity = identity;
  }

  /** Connects. Throws SOURCE_UNREACHABLE or PgError. */
  static async open(
    options: PgConnectionOptions,
    stream: StreamOptions,
    signal: AbortSignal,
  ): Promise<PgReplicationStream> {
    const connection = await PgConnection.open({ ...options, replication: true }, signal);
    const release = connection.destroyOn(signal);
    try {
      const [system] = (await connection.query('IDENTIFY_SYSTEM')).rows;
      const [systemId, timeline, endLsn] = system ?? [];
      const identity = { systemId: systemId ?? '', timeline: Number(timeline ?? 0), endLsn: parseLsn(endLsn ?? '') };
      const { rows } = await connection.query("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'");
      const slotName = stream.copy === undefined ? stream.slotName : await copySlot(connection, stream.slotName);
      const senderTimeoutMs = Number(rows[0]?.[0] ?? 0);
      return new PgReplicationStream(connection, { ...stream, slotName, senderTimeoutMs, identity });
    } catch (error) {
      await connection.close();
      throw error;
    } finally {
      release();
    }
  }

  async start(from: bigint): Promise<void> {
    const names = quoteLiteral(this.#publications.map(quoteIdentifier).join(','));
    try {
      await this.#connection.startCopyBoth(
        `START_REPLICATION SLOT ${quoteIdentifier(this.#slotName)} LOGICAL ${formatLsn(from)} (proto_version '1', publication_names ${names})`,
      );
    } catch (error) {
      throw fromPgError(error, this.#place);
    }
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    try {
      return messagesOf(await this.#connection.readCopyData(signal));
    } catch (error) {
      throw fromPgError(error, this.#place);
    }
  }

  tell(position: bigint, nowUs: number, answer: boolean): void {
    const bytes = Buffer.alloc(STATUS_BYTES);
    bytes.write('r', 0, 'latin1');
    // Written, flushed, applied.
    bytes.writeBigUInt64BE(position, 1);
    bytes.writeBigUInt64BE(position, 9);
    bytes.writeBigUInt64BE(position, 17);
    bytes.writeBigInt64BE(BigInt(nowUs - POSTGRES_EPOCH_US), 25);
    bytes[33] = answer ? 1 : 0;
    this.#connection.writeCopyData(bytes);
  }

  destroy(reason: Error): void {
    this.#connection.destroy(reason);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

/** Makes a temporary copy of the slot, at the position that it has; returns its name, which is the session's own. */
async function copySlot(connection: PgConnection, slotName: string): Promise<string> {
  const name = `${slotName.slice(0, 48)}_c${connection.backendPid}`;
  await connection.query(
    `SELECT pg_copy_logical_replication_slot(${quoteLiteral(slotName)}, ${quoteLiteral(name)}, true)`,
  );
  return name;
}

/** Decodes as it is iterated, so that of a large read one message at a time is in memory twice. */
function* messagesOf(payloads: readonly Buffer[]): Generator<StreamMessage> {
  for (const payload of payloads) {
    if (payload[0] === XLOG_DATA) {
      const serverLsn = payload.readBigUInt64BE(9);
      yield { kind: 'change', serverLsn, message: decodePgOutput(payload.subarray(XLOG_HEADER_BYTES)) };
    } else if (payload[0] === KEEPALIVE) {
      yield { kind: 'keepalive', serverLsn: payload.readBigUInt64BE(1), replyWanted: payload[17] === 1 };
    }
  }
}
