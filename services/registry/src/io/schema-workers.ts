/**
 * Threads that read and judge schemas, so that what takes long keeps nobody else waiting.
 *
 *     run ──▶ queue (bounded; full: 50302) ──▶ a thread, one piece at a time ──▶ result
 *                                                   ├─ too long, too much memory: the thread is ended, 42209
 *                                                   └─ it died, or does not come up: 50302
 *
 * Owns the threads and their queue. Does not own what a thread does (schema-worker.ts). Threads are started when they are
 * needed first, and again after one was ended. When one does not come up and none is up, what waits is refused at once: it
 * would wait for as long again, each piece behind the other; the next run() tries anew. Invariants: no piece runs for
 * longer than it was given; each run() settles; nothing that a thread does, or fails to, throws at anybody but its run().
 */
import { Worker, type WorkerOptions } from 'node:worker_threads';
import type { Clock } from '@freshet/kit/clock.ts';
import type { OneofRule } from '@freshet/schemas/protobuf/compare-oneofs.ts';
import { InvalidSchema } from '@freshet/schemas/schema.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import type { SchemaWork, SchemaWorkers, WorkResults } from '../core/subjects/schema-work.ts';

/** What a thread is started with. */
export interface WorkerSetup {
  readonly oneofRule: OneofRule;
}

/** What a thread says: once that it is ready, then of each piece how it went. */
export type WorkerMessage =
  | { readonly kind: 'READY' }
  | { readonly kind: 'DONE'; readonly result: WorkResults[SchemaWork['kind']]; readonly tookMs: number }
  | { readonly kind: 'INVALID'; readonly message: string; readonly tooLarge: boolean }
  | { readonly kind: 'FAILED'; readonly message: string };

export interface SchemaWorkersOptions extends WorkerSetup {
  readonly clock: Pick<Clock, 'sleep'>;
  readonly threads: number;
  /** Pieces that wait for a thread. Each may be two megabytes and take seconds. */
  readonly waitingMax?: number | undefined;
  /** What a thread may hold, in MiB. */
  readonly heapMbMax?: number | undefined;
  /** How long a thread may take to come up. */
  readonly startMsMax?: number | undefined;
  /** Starts a thread that runs schema-worker.ts; tests have others. May throw. */
  readonly open?: ((script: URL, options: WorkerOptions) => Worker) | undefined;
}

const WAITING_MAX = 16;
const SCRIPT = new URL('../schema-worker.ts', import.meta.url);
/** What was read of two schemas of a megabyte, and of the cached ones, is a tenth of this. */
const HEAP_MB_MAX = 512;
/** It takes half a second where nothing else is at work. */
const START_MS_MAX = 20_000;

interface Done {
  readonly result: WorkResults[SchemaWork['kind']];
  readonly tookMs: number;
}

interface Job {
  readonly work: SchemaWork;
  readonly msMax: number;
  readonly resolve: (done: Done) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  isReady: boolean;
  job: Job | undefined;
  /** Ends the wait for the job's time, or before that for the thread to come up. */
  timer: AbortController | undefined;
}

export class SchemaThreads implements SchemaWorkers {
  readonly #options: SchemaWorkersOptions;
  readonly #threads = new Set<Thread>();
  readonly #waiting: Job[] = [];
  #isClosed = false;

  constructor(options: SchemaWorkersOptions) {
    this.#options = options;
  }

  run<W extends SchemaWork>(
    work: W,
    msMax: number,
  ): Promise<{ readonly result: WorkResults[W['kind']]; readonly tookMs: number }> {
    const waitingMax = this.#options.waitingMax ?? WAITING_MAX;
    if (this.#isClosed) return Promise.reject(new SchemaApiError(50302, 'the registry is shutting down'));
    if (this.#waiting.length >= waitingMax)
      return Promise.reject(new SchemaApiError(50302, `${waitingMax} large schemas wait already; try again later`));
    const done = new Promise<Done>((resolve, reject) => this.#waiting.push({ work, msMax, resolve, reject }));
    this.#assign();
    // What a thread says of a piece is of the piece's kind.
    return done as Promise<{ result: WorkResults[W['kind']]; tookMs: number }>;
  }

  /** Ends all threads; what was asked of them is refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const over = new SchemaApiError(50302, 'the registry is shutting down');
    for (const { reject } of this.#waiting.splice(0)) reject(over);
    await Promise.all([...this.#threads].map((thread) => this.#end(thread, over)));
  }

  #assign(): void {
    while (this.#waiting.length > 0) {
      const idle = [...this.#threads].find((thread) => thread.job === undefined);
      if (idle === undefined && this.#threads.size >= this.#options.threads) return;
      const thread = idle ?? this.#start();
      if (thread === undefined) return;
      thread.job = this.#waiting.shift();
      if (thread.isReady) this.#send(thread);
    }
  }

  /** Undefined: none can be had, and whoever could only have waited for it has been refused. */
  #start(): Thread | undefined {
    const { oneofRule, heapMbMax = HEAP_MB_MAX, startMsMax = START_MS_MAX } = this.#options;
    const { open = (script, options) => new Worker(script, options) } = this.#options;
    let worker: Worker;
    try {
      worker = open(SCRIPT, {
        name: 'schemas',
        workerData: { oneofRule } satisfies WorkerSetup,
        resourceLimits: { maxOldGenerationSizeMb: heapMbMax },
      });
    } catch (error) {
      this.#refuseWaiting(unavailable('no thread for large schemas can be started', error));
      return undefined;
    }
    // close() ends it; a process that ends in another way must not wait for it.
    worker.unref();
    const thread: Thread = { worker, isReady: false, job: undefined, timer: undefined };
    this.#threads.add(thread);
    worker.on('message', (message: WorkerMessage) => this.#onMessage(thread, message));
    worker.on('error', (error: Error & { readonly code?: string }) => {
      const isMemory = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      const refusal = isMemory
        ? refuse.tooLarge('Reading and comparing the schemas takes too much memory')
        : unavailable('the thread for large schemas failed', error);
      void this.#end(thread, refusal);
    });
    worker.on('exit', (code) => void this.#end(thread, unavailable(`the thread for large schemas ended (${code})`)));
    this.#limit(thread, startMsMax, () => unavailable(`no thread for large schemas came up in ${startMsMax} ms`));
    return thread;
  }

  #send(thread: Thread): void {
    const { job } = thread;
    if (job === undefined) return;
    thread.worker.postMessage(job.work);
    this.#limit(thread, job.msMax, () =>
      refuse.tooLarge('Reading and comparing the schemas takes longer than a request may take'),
    );
  }

  /** Ends the thread after this long, unless its timer was stopped; it has one at a time. */
  #limit(thread: Thread, ms: number, why: () => Error): void {
    const timer = new AbortController();
    thread.timer = timer;
    this.#options.clock.sleep(ms, timer.signal).then(
      () => this.#end(thread, why()),
      () => undefined,
    );
  }

  #onMessage(thread: Thread, message: WorkerMessage): void {
    // What was on its way when the thread was ended: its piece has its answer.
    if (!this.#threads.has(thread)) return;
    thread.timer?.abort();
    if (message.kind === 'READY') {
      thread.isReady = true;
      this.#send(thread);
      return;
    }
    const { job } = thread;
    thread.job = undefined;
    switch (message.kind) {
      case 'DONE':
        job?.resolve(message);
        break;
      case 'INVALID':
        job?.reject(new InvalidSchema(message.message, { tooLarge: message.tooLarge }));
        break;
      case 'FAILED':
        job?.reject(new Error(message.message));
        break;
    }
    this.#assign();
  }

  /** Ends a thread and with it what it does; what waits goes to another. */
  async #end(thread: Thread, error: Error): Promise<void> {
    if (!this.#threads.delete(thread)) return;
    thread.timer?.abort();
    thread.job?.reject(error);
    const ended = thread.worker.terminate();
    if (!thread.isReady) this.#refuseWaiting(error);
    if (!this.#isClosed) this.#assign();
    await ended;
  }

  /** A thread did not come up: what waits is refused, unless one is up that comes to it. */
  #refuseWaiting(error: Error): void {
    if ([...this.#threads].some(({ isReady }) => isReady)) return;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

/** Has a cause, so that it is in the log as well. */
function unavailable(why: string, cause: unknown = new Error(why)): SchemaApiError {
  return new SchemaApiError(50302, `${why}; try again later`, { cause });
}
