/**
 * The replication stream of one slot: reads, routes, appends, acknowledges.
 *
 *     stream ─read─▶ change stream ─batch─▶ append pipeline ─▶ log
 *        ▲                                                  │ durable
 *        └──────────────── tell ◀── state file ◀── acknowledger
 *
 * Back-pressure: nothing is read while the pipeline is full, so the socket fills and the server waits; what we tell goes on
 * meanwhile, or the server would take us for dead. Liveness: while reading, silence of twice wal_sender_timeout ends the
 * connection. Each regular telling asks for an answer, so a sound connection is never silent that long. A state file
 * that cannot be written now holds up the acknowledging, not the capture.
 *
 * R4: of a transaction, whatever its size, memory holds what one read brought, one batch, and what the pipeline may.
 * I1: a position is told only when it is durable, and was saved as acknowledged before. Pure but for the Clock.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { Acknowledger } from './acknowledger.ts';
import type { BatchTaker } from './append-pipeline.ts';
import type { ChangeStream } from './change-stream.ts';
import { earlierLsn, laterLsn } from './lsn.ts';
import type { Relation } from './pgoutput/messages.ts';
import type { ReplicationStream, StreamMessage } from './source-database.ts';

/** A batch goes to the log when nothing more has come, or when it is this large, in bytes of memory. */
const BATCH_BYTES = 512 * 1024;
/** How often a new position is told at most; each costs a small durable write. */
const ACKNOWLEDGE_MS = 1_000;
const TELL_MS_MAX = 10_000;
/** When the server never times out, as with wal_sender_timeout = 0. */
const SENDER_TIMEOUT_MS = 60_000;
/** What is on its way to the log when we stop may take this long: less than the grace that a process has to stop. */
const DRAIN_MS_MAX = 3_000;

export interface ReplicationOptions {
  readonly connection: ReplicationStream;
  readonly stream: ChangeStream;
  readonly pipeline: BatchTaker;
  /** What is acknowledged already. */
  readonly acknowledgedLsn: bigint;
  /** Saves a position before it is acknowledged. */
  readonly save: (lsn: bigint) => Promise<void>;
  /** No position beyond this is acknowledged now: somebody needs what comes after it. Left out or undefined: any may be. */
  readonly holdAt?: (() => bigint | undefined) | undefined;
  /** Asked when all that was read is with the pipeline: true ends the run in order. */
  readonly isDone?: (() => boolean) | undefined;
  /** Waited for before more is read. */
  readonly gate?: (() => Promise<void> | undefined) | undefined;
  /** Asked of each description of a table, and waited for before rows behind it are taken; undefined: nothing. */
  readonly described?: ((relation: Relation, by: DescribedBy) => Promise<void> | undefined) | undefined;
  /** Told why positions cannot be saved now, and undefined when they can again. */
  readonly onUnsaved?: ((why: FreshetError | undefined) => void) | undefined;
  readonly clock: Clock;
  /** Ends the stream in order. */
  readonly signal: AbortSignal;
}

/** What brought a description. */
export interface DescribedBy {
  /** The number of the read. */
  readonly read: number;
  /** The transaction's 32-bit id. */
  readonly xid: number;
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
  #unsaved = false;
  #reads = 0;
  #xid = 0;
  /** Since when the server is silent; undefined while we do not listen. */
  #silentSinceUs: number | undefined;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#acknowledger = new Acknowledger(options.acknowledgedLsn);
    this.#acknowledgedLsn = options.acknowledgedLsn;
    const { senderTimeoutMs } = options.connection;
    this.#timeoutMs = senderTimeoutMs > 0 ? senderTimeoutMs : SENDER_TIMEOUT_MS;
  }

  get progress(): ReplicationProgress {
    return { durableLsn: this.#acknowledger.durable, serverLsn: this.#serverLsn };
  }

  /**
   * Runs until the signal aborts, and then returns once what was read is durable and acknowledged, or the time for that is
   * over; or throws. `onStreaming` is called when something has come: a server that refuses the slot's publications does
   * so only after it agreed to stream. The caller retires the pipeline.
   */
  async run(onStreaming: () => void): Promise<void> {
    const { connection, signal } = this.#options;
    // The server may have forgotten the last acknowledgement in a crash; it takes the later of its position and this.
    await connection.start(this.#acknowledgedLsn);
    const ended = new AbortController();
    const telling = this.#keepTelling(ended.signal);
    let broken: unknown;
    try {
      await this.#read(onStreaming);
    } catch (error) {
      // What came before a broken contract is settled, so that it does not come again under the contract after it; and
      // before a message that cannot be read, so that it does not come to the log again at each look.
      if (isFreshetError(error, 'CONTRACT_BROKEN', 'DATA_DAMAGED')) broken = error;
      else if (!signal.aborted || !isAbort(error)) throw error;
    } finally {
      ended.abort();
      await telling;
    }
    await this.#finish();
    if (broken !== undefined) throw broken;
  }

  async #read(onStreaming: () => void): Promise<void> {
    const { connection, pipeline, clock, signal } = this.#options;
    for (let streaming = false; ; ) {
      this.#silentSinceUs = clock.monotonicUs();
      const messages = await connection.read(signal);
      this.#silentSinceUs = undefined;
      this.#reads += 1;
      const nowUs = clock.nowUs();
      for (const message of messages) {
        if (message.kind === 'change') await this.#take(message, nowUs);
        else this.#keepalive(message);
      }
      // The server answers our first telling, so this comes soon even when nothing is committed.
      if (!streaming) onStreaming();
      streaming = true;
      this.#flush();
      if (this.#options.isDone?.() === true) return;
      await pipeline.room(signal);
      await this.#options.gate?.();
    }
  }

  async #take({ serverLsn, message }: StreamMessage & { kind: 'change' }, nowUs: number): Promise<void> {
    const { stream, pipeline, signal } = this.#options;
    this.#serverLsn = laterLsn(this.#serverLsn, serverLsn);
    if (message.kind === 'begin') this.#xid = message.xid;
    stream.handle(message, nowUs);
    // Before what lacks them is in the log: whoever reads these columns later must know.
    const saved = stream.unsavedHoles();
    if (saved !== undefined) {
      await this.#options.save(this.#acknowledgedLsn);
      saved();
    }
    if (message.kind === 'relation') await this.#described(message.relation);
    if (stream.pendingBytes < BATCH_BYTES) return;
    this.#flush();
    await pipeline.room(signal);
  }

  /** Rows of before need not wait for what is to be known of those behind it. */
  async #described(relation: Relation): Promise<void> {
    const known = this.#options.described?.(relation, { read: this.#reads, xid: this.#xid });
    if (known === undefined) return;
    this.#flush();
    await known;
  }

  #keepalive({ serverLsn, replyWanted }: StreamMessage & { kind: 'keepalive' }): void {
    this.#serverLsn = laterLsn(this.#serverLsn, serverLsn);
    this.#flush();
    this.#acknowledger.keepalive(serverLsn, this.#options.stream.inTransaction);
    if (replyWanted) this.#tell(false);
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
  async #keepTelling(signal: AbortSignal): Promise<void> {
    const { clock, connection } = this.#options;
    const regularUs = Math.min(this.#timeoutMs / 3, TELL_MS_MAX) * 1000;
    let lastUs = Number.NEGATIVE_INFINITY;
    try {
      for (;;) {
        const nowUs = clock.monotonicUs();
        await this.#acknowledge();
        if (nowUs - lastUs >= regularUs) {
          this.#tell(true);
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

  /** Acknowledges what has become durable. What cannot be saved now is left for the next time. */
  async #acknowledge(): Promise<void> {
    const { durable: reached } = this.#acknowledger;
    const durable = earlierLsn(reached, this.#options.holdAt?.()) ?? reached;
    if (durable <= this.#acknowledgedLsn) return;
    try {
      await this.#options.save(durable);
    } catch (error) {
      if (!isFreshetError(error) || !error.retryable) throw error;
      this.#unsaved = true;
      this.#options.onUnsaved?.(error);
      return;
    }
    if (this.#unsaved) this.#options.onUnsaved?.(undefined);
    this.#unsaved = false;
    this.#acknowledgedLsn = durable;
    this.#tell(false);
  }

  #tell(answer: boolean): void {
    // The next byte that we want. For a commit that is its end, without one added.
    this.#options.connection.tell(this.#acknowledgedLsn, this.#options.clock.nowUs(), answer);
  }

  async #finish(): Promise<void> {
    const { clock, pipeline } = this.#options;
    const limit = new AbortController();
    const enough = new AbortController();
    const timing = clock.sleep(DRAIN_MS_MAX, enough.signal).then(
      () => limit.abort(new DOMException('the time to drain is over', 'AbortError')),
      () => undefined,
    );
    try {
      this.#flush();
      await pipeline.drained(limit.signal);
    } catch (error) {
      // Not all became durable in time: less is acknowledged, and the rest is sent again.
      if (!isAbort(error)) throw error;
    } finally {
      enough.abort();
      await timing;
    }
    await this.#acknowledge();
  }
}

function silent(us: number): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', `the database has been silent for ${Math.round(us / 1e6)} s`, {
    remedy: 'The connection is made anew. If it recurs, look for a firewall that forgets idle connections.',
  });
}
