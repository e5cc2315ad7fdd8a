/**
 * Brings batches to the log and to quarantine, in order, bounded in memory.
 *
 * One append a partition is on its way at a time; what comes meanwhile goes with the next one. The log groups its
 * writes as well, so this costs no time, and it is what makes a failure harmless: after a rejected append nothing later
 * of that partition is in the log, so sending everything again closes the gap. (Were a later record there, a
 * shard's mark would be past the lost one, and its repetition would be skipped.)
 *
 * Owns: the queues and their bound. Limit: `bytesMax`, in memory, queued and on its way; policy: the caller waits in
 * room(); gauge: `bytes`. Uses no clock and no node API.
 * Invariants: I1 (settles a batch only when all of it is durable), R4.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { LogWriter } from '@freshet/log/log.ts';
import type { Batch } from './batch.ts';
import type { QuarantineEntry } from './quarantine.ts';

/** The most that goes in one append; a batch of one large transaction must not become one large write. */
const APPEND_BYTES_MAX = 1024 * 1024;

/** Where rows go that must not reach a fold. Resolves when they are durable. */
export interface QuarantineWriter {
  append(entries: readonly QuarantineEntry[]): Promise<void>;
}

export interface AppendPipelineOptions {
  readonly log: LogWriter;
  readonly quarantine: QuarantineWriter;
  /** The most that may be queued and on its way, in bytes of memory; one batch may go beyond it. */
  readonly bytesMax: number;
  /** Told once, when an append failed; afterwards nothing is taken any more. */
  readonly onFailure?: ((failure: LogFailure) => void) | undefined;
}

interface Load {
  readonly records: readonly Uint8Array[];
  readonly bytes: number;
  readonly done: () => void;
}

interface Queue {
  readonly loads: Load[];
  busy: boolean;
}

export class AppendPipeline {
  readonly #options: AppendPipelineOptions;
  readonly #queues = new Map<number, Queue>();
  #bytes = 0;
  #failure: LogFailure | undefined;
  #waiters: (() => void)[] = [];
  /** Records that are durable in the log, since start. */
  records = 0;
  /** Their bytes. */
  recordBytes = 0;
  /** Rows that belonged to no entity of a route, since start. */
  unkeyed = 0;

  constructor(options: AppendPipelineOptions) {
    this.#options = options;
  }

  /** What is queued and on its way, in bytes of memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a batch; calls back once, when all of it is durable. Throws what an earlier append failed with. */
  push(batch: Batch, durable: () => void): void {
    this.#throwIfFailed();
    this.unkeyed += batch.unkeyed;
    let outstanding = batch.records.size + (batch.quarantine.length > 0 ? 1 : 0);
    if (outstanding === 0) {
      durable();
      return;
    }
    const { bytes } = batch;
    this.#bytes += bytes;
    const done = (): void => {
      outstanding -= 1;
      if (outstanding > 0) return;
      this.#bytes -= bytes;
      durable();
      this.#wake();
    };
    if (batch.quarantine.length > 0)
      this.#options.quarantine.append(batch.quarantine).then(done, (e: unknown) => this.#fail(e));
    for (const [partition, records] of batch.records) {
      this.#enqueue(partition, { records, bytes: records.reduce((sum, record) => sum + record.length, 0), done });
    }
  }

  /** Resolves when there is room for another batch; rejects with what an append failed with. */
  async room(signal: AbortSignal): Promise<void> {
    await this.#until(() => this.#bytes < this.#options.bytesMax, signal);
  }

  /** Resolves when nothing is queued or on its way; rejects with what an append failed with. */
  async drained(signal?: AbortSignal): Promise<void> {
    await this.#until(() => this.#bytes === 0, signal);
  }

  #enqueue(partition: number, load: Load): void {
    let queue = this.#queues.get(partition);
    if (queue === undefined) {
      queue = { loads: [], busy: false };
      this.#queues.set(partition, queue);
    }
    queue.loads.push(load);
    if (!queue.busy) void this.#run(partition, queue);
  }

  async #run(partition: number, queue: Queue): Promise<void> {
    queue.busy = true;
    try {
      while (queue.loads.length > 0 && this.#failure === undefined) {
        const loads = takeLoads(queue.loads);
        const records = loads.length === 1 ? (loads[0] as Load).records : loads.flatMap((load) => load.records);
        await this.#options.log.append(partition, records);
        this.records += records.length;
        for (const load of loads) {
          this.recordBytes += load.bytes;
          load.done();
        }
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      queue.busy = false;
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new LogFailure(error);
    this.#wake();
    this.#options.onFailure?.(this.#failure);
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    for (;;) {
      this.#throwIfFailed();
      if (condition()) return;
      if (signal?.aborted)
        throw new FreshetError('CANCELLED', 'waiting for the log was given up', { cause: signal.reason });
      await this.#change(signal);
    }
  }

  #change(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiters.push(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** The log or the quarantine did not take something. Everything since the last acknowledged commit must be sent again. */
export class LogFailure extends Error {
  override readonly name = 'LogFailure';

  constructor(cause: unknown) {
    super(`the log did not take a record: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** The next loads that make one append: at least one, and no more bytes than one append takes. */
function takeLoads(queue: Load[]): Load[] {
  let count = 0;
  let bytes = 0;
  do {
    bytes += queue[count]?.bytes ?? 0;
    count += 1;
  } while (count < queue.length && bytes + (queue[count]?.bytes ?? 0) <= APPEND_BYTES_MAX);
  return queue.splice(0, count);
}
