/**
 * The replication stream of one slot: reads, routes, appends, acknowledges.
 *
 *     socket ─read─▶ decoder ─▶ change stream ─batch─▶ append pipeline ─▶ log
 *        ▲                                                  │ durable
 *        └──────────────── status ◀── state file ◀── acknowledger
 *
 * Back-pressure: nothing is read while the pipeline is full, so the socket fills and the server waits; statuses go on
 * meanwhile, or the server would take us for dead. Liveness: while reading, silence of twice wal_sender_timeout ends the
 * connection. Each regular status asks for an answer, so a sound connection is never silent that long.
 *
 * Invariant I1: a status never names a position that is not durable, and that was not saved as acknowledged before.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { Acknowledger } from '../core/acknowledger.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { formatLsn, laterLsn } from '../core/lsn.ts';
import { decodePgOutput, POSTGRES_EPOCH_US } from '../core/pgoutput/decoder.ts';
import { quoteIdentifier, quoteLiteral } from '../core/sql.ts';
import type { PgConnection } from './pg/pg-connection.ts';

const XLOG_DATA = 0x77; // w
const KEEPALIVE = 0x6b; // k
const XLOG_HEADER_BYTES = 25;
/** A batch goes to the log when nothing more has come, or when it is this large, in bytes of memory. */
const BATCH_BYTES = 512 * 1024;
/** How often a new position is told at most; each costs a small durable write. */
const ACKNOWLEDGE_MS = 1_000;
const STATUS_MS_MAX = 10_000;
/** When the server never times out, as with wal_sender_timeout = 0. */
const SENDER_TIMEOUT_MS = 60_000;
/** What is on its way to the log when we stop may take this long. */
const DRAIN_MS_MAX = 4_000;

export interface ReplicationOptions {
  readonly connection: PgConnection;
  readonly slotName: string;
  readonly publications: readonly string[];
  readonly stream: ChangeStream;
  readonly pipeline: AppendPipeline;
  /** What is acknowledged already. */
  readonly acknowledgedLsn: bigint;
  /** Saves a position before it is acknowledged. */
  readonly save: (lsn: bigint) => Promise<void>;
  /** wal_sender_timeout of the session, milliseconds; 0: none. */
  readonly senderTimeoutMs: number;
  readonly clock: Clock;
  /** Ends the stream in order. */
  readonly signal: AbortSignal;
}

/** Positions, for the status. */
export interface ReplicationProgress {
  readonly durableLsn: bigint;
  readonly serverLsn: bigint;
}

export class Replication {
  readonly #options: ReplicationOptions;
  readonly #acknowledger: Acknowledger;
  readonly #timeoutMs: number;
  #acknowledgedLsn: bigint;
  #serverLsn = 0n;
  /** Since when the server is silent; undefined while we do not listen. */
  #silentSinceUs: number | undefined;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#acknowledger = new Acknowledger(options.acknowledgedLsn);
    this.#acknowledgedLsn = options.acknowledgedLsn;
    this.#timeoutMs = options.senderTimeoutMs > 0 ? options.senderTimeoutMs : SENDER_TIMEOUT_MS;
  }

  get progress(): ReplicationProgress {
    return { durableLsn: this.#acknowledger.durable, serverLsn: this.#serverLsn };
  }

  /**
   * Runs until the signal aborts, and then returns once what was read is durable and acknowledged; or throws. `onStreaming`
   * is called when something has come: a server that refuses the slot's publications does so only after it agreed to stream.
   */
  async run(onStreaming: () => void): Promise<void> {
    const { connection, slotName, publications, signal } = this.#options;
    const names = quoteLiteral(publications.map(quoteIdentifier).join(','));
    // The server may have forgotten the last acknowledgement in a crash; it takes the later of its position and this.
    const from = formatLsn(this.#acknowledgedLsn);
    await connection.startCopyBoth(
      `START_REPLICATION SLOT ${quoteIdentifier(slotName)} LOGICAL ${from} (proto_version '1', publication_names ${names})`,
    );
    const ended = new AbortController();
    const statuses = this.#sendStatuses(ended.signal);
    let broken: unknown;
    try {
      await this.#read(onStreaming);
    } catch (error) {
      // What came before a broken contract is settled, so that it does not come again under the contract after it.
      if (isFreshetError(error, 'CONTRACT_BROKEN')) broken = error;
      else if (!signal.aborted || !isAbort(error)) throw error;
    } finally {
      ended.abort();
      await statuses;
    }
    await this.#finish();
    if (broken !== undefined) throw broken;
  }

  async #read(onStreaming: () => void): Promise<void> {
    const { connection, pipeline, clock, signal } = this.#options;
    for (let streaming = false; ; ) {
      this.#silentSinceUs = clock.monotonicUs();
      const payloads = await connection.readCopyData(signal);
      this.#silentSinceUs = undefined;
      const nowUs = clock.nowUs();
      for (const payload of payloads) {
        if (payload[0] === XLOG_DATA) await this.#take(payload, nowUs);
        else if (payload[0] === KEEPALIVE) this.#keepalive(payload);
      }
      // The server answers our first status, so this comes soon even when nothing is committed.
      if (!streaming) onStreaming();
      streaming = true;
      this.#flush();
      await pipeline.room(signal);
    }
  }

  async #take(payload: Buffer, nowUs: number): Promise<void> {
    const { stream, pipeline, signal } = this.#options;
    this.#serverLsn = laterLsn(this.#serverLsn, payload.readBigUInt64BE(9));
    stream.handle(decodePgOutput(payload.subarray(XLOG_HEADER_BYTES)), nowUs);
    if (stream.pendingBytes < BATCH_BYTES) return;
    this.#flush();
    await pipeline.room(signal);
  }

  #keepalive(payload: Buffer): void {
    const { stream } = this.#options;
    const serverLsn = payload.readBigUInt64BE(1);
    this.#serverLsn = laterLsn(this.#serverLsn, serverLsn);
    this.#flush();
    this.#acknowledger.keepalive(serverLsn, stream.inTransaction);
    if (payload[17] === 1) this.#status(false);
  }

  /** Sends what the change stream has made to the log. */
  #flush(): void {
    const batch = this.#options.stream.takeBatch();
    if (batch.isEmpty) {
      if (batch.position !== undefined) this.#acknowledger.passed(batch.position);
      return;
    }
    const id = this.#acknowledger.opened(batch.position);
    this.#options.pipeline.push(batch, () => this.#acknowledger.settled(id));
  }

  /** Tells the server where we are, until the signal; also watches its silence. */
  async #sendStatuses(signal: AbortSignal): Promise<void> {
    const { clock, connection } = this.#options;
    const regularUs = Math.min(this.#timeoutMs / 3, STATUS_MS_MAX) * 1000;
    let lastUs = Number.NEGATIVE_INFINITY;
    try {
      for (;;) {
        const nowUs = clock.monotonicUs();
        await this.#acknowledge();
        if (nowUs - lastUs >= regularUs) {
          this.#status(true);
          lastUs = nowUs;
        }
        const silentUs = this.#silentSinceUs === undefined ? 0 : nowUs - this.#silentSinceUs;
        if (silentUs > 2 * this.#timeoutMs * 1000) throw silent(silentUs);
        await clock.sleep(Math.min(ACKNOWLEDGE_MS, regularUs / 1000), signal);
      }
    } catch (error) {
      if (!signal.aborted) connection.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Acknowledges what has become durable. */
  async #acknowledge(): Promise<void> {
    const { durable } = this.#acknowledger;
    if (durable <= this.#acknowledgedLsn) return;
    await this.#options.save(durable);
    this.#acknowledgedLsn = durable;
    this.#status(false);
  }

  #status(answer: boolean): void {
    const bytes = Buffer.alloc(34);
    bytes.write('r', 0, 'latin1');
    // Written, flushed, applied: the next byte that we want. For a commit that is its end, without one added.
    bytes.writeBigUInt64BE(this.#acknowledgedLsn, 1);
    bytes.writeBigUInt64BE(this.#acknowledgedLsn, 9);
    bytes.writeBigUInt64BE(this.#acknowledgedLsn, 17);
    bytes.writeBigInt64BE(BigInt(this.#options.clock.nowUs() - POSTGRES_EPOCH_US), 25);
    bytes[33] = answer ? 1 : 0;
    this.#options.connection.writeCopyData(bytes);
  }

  async #finish(): Promise<void> {
    const limit = AbortSignal.timeout(DRAIN_MS_MAX);
    try {
      this.#flush();
      await this.#options.pipeline.drained(limit);
    } catch (error) {
      // Not all became durable in time: less is acknowledged, and the rest is sent again.
      if (!isAbort(error)) throw error;
    }
    await this.#acknowledge();
  }
}

function silent(us: number): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', `the database has been silent for ${Math.round(us / 1e6)} s`, {
    remedy: 'The connection is made anew. If it recurs, look for a firewall that forgets idle connections.',
  });
}
