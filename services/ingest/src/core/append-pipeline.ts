/**
 * Brings batches to the log and to quarantine, in order, bounded in memory.
 *
 * One append a partition is on its way at a time; what comes meanwhile goes with the next one. The log groups its
 * writes as well, so this costs no time, and it is what makes a failure harmless: after a rejected append nothing later
 * of that partition is in the log, so sending everything again closes the gap. (Were a later record there, a
 * shard's mark would be past the lost one, and its repetition would be skipped.) For the same reason a pipeline is
 * retired before another of its source begins: what it still holds must not come to the log behind the other's.
 *
 *     open ──retire()──▶ nothing more is handed over ──what was handed over has settled──▶ retired
 *       └──an append fails for good──▶ failed: everything since the last acknowledged commit must be sent again
 *
 * The quarantine is handed one append at a time as well: it passes over what is not beyond the newest entry of its lane,
 * so an entry that overtook one that waits for room would be the end of that one. Where rows flow on behind one that is put
 * aside, its batch's records and all later ones wait until it is durable: a record that is in the log says of the rows before it
 * that they are in the log or in quarantine, and shards would skip one that comes behind it (earlier-decisions.ts). Releases
 * are a lane of their own and wait for nothing: they may make the room that an entry waits for.
 *
 * What may be better later (a full disk, a log with no room) is tried again in place, so that back-pressure holds the
 * database off meanwhile: nothing is dropped, nothing overtakes, and work goes on by itself.
 *
 * Owns: the queues and their bound. Limit: `bytesMax`, in memory, queued and on its way; policy: the caller waits in
 * room(); gauge: `bytes`. Its clock is its caller's; uses no node API.
 * Invariants: I1 (settles a batch only when all of it is durable), F3 (two pipelines of a source never append at once),
 * C1 (what is put aside comes to the quarantine in order, all of it), R4.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { LogWriter } from '@freshet/log/log.ts';
import type { Batch } from './batch.ts';
import type { QuarantineEntry } from './quarantine.ts';

/** The most that goes in one append; a batch of one large transaction must not become one large write. */
const APPEND_BYTES_MAX = 1024 * 1024;
/** The most batches whose rows go aside in one write, so that rare rows need not an fsync each. */
const ASIDE_BATCHES_MAX = 16;
/** Between two tries of what may be better later: soon enough not to be noticed, rare enough to cost nothing. */
const RETRY_FIRST_MS = 20;
const RETRY_MS_MAX = 1_000;

/** Where rows go that must not reach a fold. Resolves when they are durable. */
export interface QuarantineWriter {
  append(entries: readonly QuarantineEntry[]): Promise<void>;
}

/** What brings batches to the log; each of its callers may have a bound of its own. */
export interface BatchTaker {
  /** Takes a batch; calls back once, when all of it is durable. Throws what an earlier append failed with. */
  push(batch: Batch, durable: () => void): void;
  /** Resolves when there is room for another batch; rejects with what an append failed with. */
  room(signal: AbortSignal): Promise<void>;
  /** Resolves when nothing of the caller's is queued or on its way; rejects with what an append failed with. */
  drained(signal?: AbortSignal): Promise<void>;
}

export interface AppendPipelineOptions {
  readonly log: Pick<LogWriter, 'append'>;
  readonly quarantine: QuarantineWriter;
  /** The most that may be queued and on its way, in bytes of memory; one batch may go beyond it. */
  readonly bytesMax: number;
  readonly clock: Clock;
  /** A number in [0, 1), for the jitter between tries. */
  readonly random: () => number;
  readonly logger?: Logger | undefined;
  /** Told once, when an append failed for good; afterwards nothing is taken any more. */
  readonly onFailure?: ((failure: LogFailure) => void) | undefined;
  /** Told why appends wait, and undefined when they go on. */
  readonly onWaiting?: ((why: FreshetError | undefined) => void) | undefined;
}

interface Load {
  readonly records: readonly Uint8Array[];
  readonly bytes: number;
  /** How many asides must be durable first. */
  readonly behind: number;
  readonly done: () => void;
}

/** What a batch puts aside. */
interface Aside {
  readonly entries: readonly QuarantineEntry[];
  readonly done: () => void;
}

interface Queue {
  readonly loads: Load[];
  busy: boolean;
}

export class AppendPipeline implements BatchTaker {
  readonly #options: AppendPipelineOptions;
  readonly #queues = new Map<number, Queue>();
  readonly #asides: Aside[] = [];
  /** Told at the end of what never becomes durable by this pipeline. */
  readonly #dropped = new Set<() => void>();
  #puttingAside = false;
  /** Asides that were pushed, that are durable, and the newest that later records wait for: counted from the first. */
  #asidesPushed = 0;
  #asidesDone = 0;
  #asidesFirst = 0;
  readonly #retiring = new AbortController();
  #bytes = 0;
  /** Appends that the log or the quarantine has in hand, or that wait to be tried again. */
  #inHand = 0;
  /** How many of them wait to be tried again. */
  #waiting = 0;
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

  /**
   * Takes a batch; calls back once, when all of it is durable, or, when the pipeline was retired before, `dropped`: nothing more of
   * it can come to the log then. Throws what an earlier append failed with.
   */
  push(batch: Batch, durable: () => void, dropped?: () => void): void {
    this.#throwIfOver();
    this.unkeyed += batch.unkeyed;
    let outstanding = batch.records.size + (batch.quarantine.length > 0 ? 1 : 0);
    if (outstanding === 0) {
      durable();
      return;
    }
    const { bytes } = batch;
    this.#bytes += bytes;
    if (dropped !== undefined) this.#dropped.add(dropped);
    const done = (): void => {
      outstanding -= 1;
      if (outstanding > 0) return;
      if (dropped !== undefined) this.#dropped.delete(dropped);
      this.#bytes -= bytes;
      durable();
      this.#wake();
    };
    if (batch.quarantine.length > 0) {
      this.#asides.push({ entries: batch.quarantine, done });
      this.#asidesPushed += 1;
      if (batch.entriesFirst) this.#asidesFirst = this.#asidesPushed;
      if (!this.#puttingAside) void this.#putAside();
    }
    const behind = batch.isApart ? 0 : this.#asidesFirst;
    for (const [partition, records] of batch.records) {
      this.#enqueue(partition, {
        records,
        bytes: records.reduce((sum, record) => sum + record.length, 0),
        behind,
        done,
      });
    }
  }

  /** Resolves when there is room for another batch; rejects with what an append failed with. */
  async room(signal: AbortSignal): Promise<void> {
    await this.until(() => this.#bytes < this.#options.bytesMax, signal);
  }

  /** Resolves when nothing is queued or on its way; rejects with what an append failed with. */
  async drained(signal?: AbortSignal): Promise<void> {
    await this.until(() => this.#bytes === 0, signal);
  }

  /**
   * Hands nothing more over, from this call on, and drops what is queued; resolves when what was handed over has settled,
   * either way. That is one append a partition, which the log settles when its disk does. Never rejects.
   */
  async retire(): Promise<void> {
    this.#retiring.abort(new DOMException('the pipeline was retired', 'AbortError'));
    for (const { loads } of this.#queues.values()) loads.length = 0;
    this.#asides.length = 0;
    while (this.#inHand > 0) await this.#change();
    const dropped = [...this.#dropped];
    this.#dropped.clear();
    for (const tell of dropped) tell();
    this.#wake();
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
    while (this.#failure === undefined) {
      const loads = takeLoads(queue.loads, this.#asidesDone);
      if (loads.length === 0) break;
      const records = loads.length === 1 ? (loads[0] as Load).records : loads.flatMap((load) => load.records);
      const settle = (): void => {
        this.records += records.length;
        for (const load of loads) {
          this.recordBytes += load.bytes;
          load.done();
        }
      };
      if (!(await this.#handOver(() => this.#options.log.append(partition, records), settle))) break;
    }
    queue.busy = false;
  }

  async #putAside(): Promise<void> {
    this.#puttingAside = true;
    while (this.#asides.length > 0 && this.#failure === undefined) {
      const some = this.#asides.splice(0, ASIDE_BATCHES_MAX);
      const entries = some.flatMap((aside) => aside.entries);
      const settle = (): void => {
        this.#asidesDone += some.length;
        for (const { done } of some) done();
      };
      if (!(await this.#handOver(() => this.#options.quarantine.append(entries), settle))) break;
      for (const [partition, queue] of this.#queues) if (!queue.busy) void this.#run(partition, queue);
    }
    this.#puttingAside = false;
  }

  /**
   * Whether it became durable; not when the pipeline failed or was retired before. `settle` is called when it did, and before it
   * counts as no more in hand: whoever waits for that must find it settled.
   */
  async #handOver(append: () => Promise<unknown>, settle: () => void): Promise<boolean> {
    const { clock, random, logger } = this.#options;
    const { signal } = this.#retiring;
    let waits = false;
    const attempt = async (): Promise<void> => {
      try {
        await append();
      } catch (error) {
        if (!waits && isFreshetError(error) && error.retryable) {
          waits = true;
          this.#waiting += 1;
          this.#options.onWaiting?.(error);
        }
        throw error;
      }
    };
    this.#inHand += 1;
    try {
      const isDurable = await retry(attempt, {
        what: 'appending',
        signal,
        clock,
        random,
        log: logger ?? silentLogger,
        firstDelayMs: RETRY_FIRST_MS,
        maxDelayMs: RETRY_MS_MAX,
        retryable: (error) => error.retryable && this.#failure === undefined,
      }).then(
        () => true,
        (error: unknown) => {
          if (!signal.aborted) this.#fail(error);
          return false;
        },
      );
      if (isDurable) settle();
      return isDurable;
    } finally {
      if (waits && --this.#waiting === 0) this.#options.onWaiting?.(undefined);
      this.#inHand -= 1;
      if (signal.aborted) this.#wake();
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new LogFailure(error);
    this.#wake();
    this.#options.onFailure?.(this.#failure);
  }

  #throwIfOver(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#retiring.signal.aborted) throw new FreshetError('CANCELLED', 'the pipeline was retired');
  }

  /** Resolves when the condition, looked at as batches become durable, holds; rejects with what an append failed with. */
  async until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    for (;;) {
      this.#throwIfOver();
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

/**
 * The next loads that make one append, of those that wait for none of the asides that are not done; no more bytes than one
 * append takes, but one in any case.
 */
function takeLoads(queue: Load[], asidesDone: number): Load[] {
  const taken: Load[] = [];
  let bytes = 0;
  let isFull = false;
  const left = queue.filter((load) => {
    isFull ||= taken.length > 0 && bytes + load.bytes > APPEND_BYTES_MAX;
    if (isFull || load.behind > asidesDone) return true;
    taken.push(load);
    bytes += load.bytes;
    return false;
  });
  if (taken.length > 0) queue.splice(0, queue.length, ...left);
  return taken;
}
