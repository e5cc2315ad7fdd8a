/**
 * A replication stream of the database in a simulation: what was committed since a position, in order, and keepalives.
 *
 * Owns what a walsender does: it begins where its slot was confirmed, describes a table before its first row and after
 * its shape changed, and gives up a client that it has not heard of for too long. Does not own the commits nor the slots
 * (sim-postgres.ts).
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { ReplicationStream, StreamMessage } from '../../services/ingest/src/core/source-database.ts';
import type { SimPostgres } from './sim-postgres.ts';
import { messageOf, relationOf, type SimTable, shapedTable } from './sim-tables.ts';

export interface Slot {
  confirmedLsn: bigint;
  stream: SimStream | undefined;
}

/** What errors of the database name as their place. */
export const PLACE = 'sim-postgres';
const SENDER_TIMEOUT_MS = 6_000;
const KEEPALIVE_US = 2_000_000;

export class SimStream implements ReplicationStream {
  readonly senderTimeoutMs = SENDER_TIMEOUT_MS;
  readonly #postgres: SimPostgres;
  readonly #process: SimProcess;
  readonly #slot: Slot;
  #position = 0n;
  /** The tables that were described, and whether with a column's other name. */
  readonly #told = new Map<SimTable, boolean>();
  #failure: Error | undefined;
  #keepaliveDue = false;
  #lastTellUs: number;
  #wake: (() => void) | undefined;

  constructor(postgres: SimPostgres, process: SimProcess, slot: Slot) {
    this.#postgres = postgres;
    this.#process = process;
    this.#slot = slot;
    this.#lastTellUs = postgres.scheduler.nowUs;
    postgres.streams.add(this);
  }

  /** Whether the server still takes the client for alive. */
  isHeld(): boolean {
    if (this.#failure !== undefined) return false;
    return this.#postgres.scheduler.nowUs - this.#lastTellUs < SENDER_TIMEOUT_MS * 1000 && this.#process.alive;
  }

  async start(from: bigint): Promise<void> {
    await this.#process.delay(200, 1_000);
    this.#position = from > this.#slot.confirmedLsn ? from : this.#slot.confirmedLsn;
    this.#beat();
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    for (;;) {
      await this.#process.delay(50, 600);
      if (this.#failure !== undefined) throw this.#failure;
      if (signal.aborted) throw new FreshetError('CANCELLED', 'reading was given up');
      const messages = this.#postgres.isSilent ? [] : this.#take();
      if (messages.length > 0) return messages;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }

  tell(position: bigint, _nowUs: number, answer: boolean): void {
    if (this.#postgres.isAway || this.#failure !== undefined) return;
    this.#lastTellUs = this.#postgres.scheduler.nowUs;
    if (position > this.#slot.confirmedLsn) this.#slot.confirmedLsn = position;
    if (!answer) return;
    this.#keepaliveDue = true;
    this.wake();
  }

  destroy(reason: Error): void {
    this.#failure ??= reason;
    this.#postgres.streams.delete(this);
    this.wake();
  }

  async close(): Promise<void> {
    this.destroy(unreachable('the stream is closed'));
  }

  wake(): void {
    // A process that reads is woken as its sockets wake it: in its own time.
    this.#process.after(0, () => this.#wake?.());
  }

  /** The server sends a keepalive now and then, and ends a stream that it has not heard of for too long. */
  #beat(): void {
    this.#postgres.scheduler.after(KEEPALIVE_US, () => {
      if (this.#failure !== undefined) return;
      const silentUs = this.#postgres.scheduler.nowUs - this.#lastTellUs;
      if (silentUs > SENDER_TIMEOUT_MS * 1000) {
        this.destroy(unreachable('terminating walsender process due to replication timeout'));
        return;
      }
      this.#keepaliveDue = true;
      this.wake();
      this.#beat();
    });
  }

  /** What has been committed since, a few transactions at once; a keepalive when there is nothing. */
  #take(): StreamMessage[] {
    const messages: StreamMessage[] = [];
    const serverLsn = this.#postgres.lsn;
    const change = (message: (StreamMessage & { kind: 'change' })['message']): void => {
      messages.push({ kind: 'change', serverLsn, message });
    };
    const { transactions } = this.#postgres;
    // Their ends ascend, and most were sent long ago.
    const sent = transactions.findLastIndex(({ endLsn }) => endLsn <= this.#position);
    for (const { commitLsn, endLsn, commitTimeUs, changes, isRenamed } of transactions.slice(sent + 1)) {
      if (messages.length > 40) return messages;
      this.#position = endLsn;
      change({ kind: 'begin', commitLsn, commitTimeUs, xid: Number(endLsn & 0xffff_ffn) });
      for (const made of changes) {
        if (this.#told.get(made.table) !== isRenamed)
          change({ kind: 'relation', relation: relationOf(shapedTable(made.table, isRenamed)) });
        this.#told.set(made.table, isRenamed);
        change(messageOf(made));
      }
      change({ kind: 'commit', commitLsn, endLsn, commitTimeUs });
    }
    if (messages.length === 0 && this.#keepaliveDue) {
      this.#keepaliveDue = false;
      messages.push({ kind: 'keepalive', serverLsn, replyWanted: false });
    }
    return messages;
  }
}

/** What a client gets of a connection that breaks, or is refused. */
export function unreachable(message: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', message, { place: PLACE });
}
