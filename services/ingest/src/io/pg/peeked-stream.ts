/**
 * What a slot would tell again, looked at without a second slot: for a server that has none free. It gives the beginnings and
 * ends of transactions only, which is all that whoever compares histories needs (io/retold.ts), and nothing moves by it.
 *
 * Owns one connection. The server decodes into a store of its own, on its disk if need be, before it answers; a copy of the slot,
 * which streams, is better where there is one to be had. R4: what comes here is a short line a transaction, as the socket gives it.
 */
import { formatLsn, parseLsn } from '../../core/lsn.ts';
import { decodePgOutput } from '../../core/pgoutput/decoder.ts';
import type { ReplicationStream, StreamMessage } from '../../core/source-database.ts';
import { quoteIdentifier, quoteLiteral } from '../../core/sql.ts';
import { LineSplitter } from '../../core/types/copy-text.ts';
import { PgConnection, type PgConnectionOptions } from './pg-connection.ts';
import { fromPgError } from './pg-error.ts';
import type { StreamOptions } from './replication-stream.ts';

/** The first byte of pgoutput's Begin and Commit. */
const FRAMES = '66, 67';
/** Decoding a long backlog is silent for as long as it takes. */
const SILENCE_MS_MAX = 600_000;

export class PgPeekedStream implements ReplicationStream {
  /** No sender gives signs of life: whoever reads must not give up before the connection does. */
  readonly senderTimeoutMs = SILENCE_MS_MAX;
  readonly #connection: PgConnection;
  readonly #options: StreamOptions;
  readonly #lines = new LineSplitter();
  #pieces: AsyncGenerator<Buffer> | undefined;
  #endLsn = 0n;

  private constructor(connection: PgConnection, options: StreamOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Connects. Throws SOURCE_UNREACHABLE or PgError. */
  static async open(options: PgConnectionOptions, stream: StreamOptions, signal: AbortSignal): Promise<PgPeekedStream> {
    const connection = await PgConnection.open({ ...options, silenceMsMax: SILENCE_MS_MAX }, signal);
    return new PgPeekedStream(connection, stream);
  }

  /** It begins where the slot stands, whatever is asked. */
  async start(): Promise<void> {
    const { slotName, publications, place } = this.#options;
    const names = quoteLiteral(publications.map(quoteIdentifier).join(','));
    try {
      const { rows } = await this.#connection.query('SELECT pg_current_wal_flush_lsn()');
      this.#endLsn = parseLsn(rows[0]?.[0] ?? '') ?? 0n;
      this.#pieces = this.#connection.copyOut(
        `COPY (SELECT encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes(${quoteLiteral(slotName)}, ` +
          `${quoteLiteral(formatLsn(this.#endLsn))}, NULL, 'proto_version', '1', 'publication_names', ${names}) ` +
          `WHERE get_byte(data, 0) IN (${FRAMES})) TO STDOUT`,
      );
    } catch (error) {
      throw fromPgError(error, place);
    }
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    const release = this.#connection.destroyOn(signal);
    try {
      for (;;) {
        const piece = await this.#pieces?.next();
        // All that there was.
        if (piece === undefined || piece.done === true)
          return [{ kind: 'keepalive', serverLsn: this.#endLsn, replyWanted: false }];
        const lines = this.#lines.push(piece.value);
        if (lines.length > 0) return lines.map((line) => this.#messageOf(line));
      }
    } catch (error) {
      throw fromPgError(error, this.#options.place);
    } finally {
      release();
    }
  }

  #messageOf(line: string): StreamMessage {
    return { kind: 'change', serverLsn: this.#endLsn, message: decodePgOutput(Buffer.from(line, 'hex')) };
  }

  /** It moves nothing. */
  tell(): void {}

  destroy(reason: Error): void {
    this.#connection.destroy(reason);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}
