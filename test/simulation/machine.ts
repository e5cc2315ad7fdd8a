/**
 * A machine of the simulation: disks and a clock that outlive its processes, and a supervisor that starts them again.
 *
 * Owns life and death. Does not own what its process does (`boot`). A process that ends by itself with an error is
 * started again after a moment, as a supervisor would; what it ended with is kept for the verdict.
 */
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import type { Random } from '@freshet/testkit/simulation/random.ts';
import type { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import type { Machine as MachineName } from './plan.ts';

/** How long a supervisor waits before it starts a process that ended, microseconds. */
const RESTART_US = 200_000;

/** What a process has to work with. */
export interface Life {
  readonly process: SimProcess;
  readonly stores: MemoryDisk;
  readonly files: SimulatedDisk;
  readonly random: Random;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export interface MachineOptions {
  readonly name: MachineName;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Runs a process; resolves or throws when it ends by itself. */
  readonly boot: (life: Life) => Promise<void>;
  /** Told of everything that is logged, by its message. */
  readonly onLog: (machine: MachineName, level: string, message: string) => void;
  /** Told when a process ended with an error that is none of operation: a broken promise of our own. */
  readonly onFault: (machine: MachineName, error: unknown) => void;
}

/** Some batches of records. */
const ROOM_BYTES_MAX = 4_000;

export class SimMachine {
  readonly name: MachineName;
  readonly clock = { skewUs: 0 };
  readonly stores: MemoryDisk;
  /** The disk of files as this life sees it. */
  files: SimulatedDisk;
  readonly #options: MachineOptions;
  #process: SimProcess | undefined;
  #lives = 0;
  readonly #signals: AbortController[] = [];
  readonly #diskRandom: Random;
  #isFull = false;
  /** What the disk holds at most, bytes: a full one may have some room, so that a write goes in part. */
  #capacityBytes = Number.POSITIVE_INFINITY;
  #lies = false;

  constructor(options: MachineOptions) {
    this.name = options.name;
    this.#options = options;
    this.#diskRandom = options.random.branch('disk');
    this.stores = new MemoryDisk({
      before: async ({ kind }) => {
        await this.#process?.delay(20, kind === 'sync' ? 3_000 : 400);
        if (this.#isFull && (kind === 'write' || kind === 'clear')) throw full(options.name);
      },
    });
    this.files = this.#ready(new SimulatedDisk());
  }

  /** Whether the disks have no room. */
  set isFull(isFull: boolean) {
    this.#isFull = isFull;
    const room = this.#diskRandom.oneIn(2) ? 0 : this.#diskRandom.between(1, ROOM_BYTES_MAX);
    this.#capacityBytes = isFull ? this.files.usedBytes + room : Number.POSITIVE_INFINITY;
    this.files.capacityBytes = this.#capacityBytes;
  }

  /** Whether the disks say of every sync that all is well, and do nothing. */
  get lies(): boolean {
    return this.#lies;
  }

  set lies(lies: boolean) {
    this.#lies = lies;
    this.stores.lies = lies;
    this.files.lies = lies;
  }

  /** The process that runs now. */
  get process(): SimProcess | undefined {
    return this.#process;
  }

  /** Starts a process, unless one runs. */
  start(): void {
    if (this.#process !== undefined) return;
    const { scheduler, random, boot, name, onLog, onFault } = this.#options;
    const life = random.branch(`life/${++this.#lives}`);
    const process = new SimProcess({ name, scheduler, random: life, machineClock: this.clock });
    this.#process = process;
    const end = (): void => {
      if (this.#process !== process) return;
      this.kill();
      scheduler.after(RESTART_US, () => this.start());
    };
    const logger = loggerTo((level, message) => onLog(name, level, message));
    const controller = new AbortController();
    this.#signals.push(controller);
    const { signal } = controller;
    // Not in the turn of whoever starts it: a process begins by itself.
    process.after(1, () => {
      boot({ process, stores: this.stores, files: this.files, random: life, logger, signal }).then(
        end,
        (error: unknown) => {
          if (!process.alive) return;
          const code = codeOf(error);
          if (code === undefined) onFault(name, error);
          onLog(name, 'exit', code ?? String(error));
          end();
        },
      );
    });
  }

  /** SIGKILL: what was written is there. */
  kill(): void {
    this.#process?.kill();
    this.#process = undefined;
    this.stores.kill();
    this.files = this.#ready(this.files.kill());
  }

  /** The power goes: of what was not synced, some is gone. */
  powerOff(keep: number): void {
    this.#process?.kill();
    this.#process = undefined;
    this.stores.crash((unsynced) => Math.floor(keep * (unsynced + 0.999)));
    this.files = this.#ready(this.files.powerCut(this.#diskRandom));
  }

  /**
   * The end of the run. A life that is killed takes nothing back, so what it listened for would stay in memory with all
   * that it held, as long as the signal that never comes: Node keeps signals that depend on others while somebody
   * listens. So all lives are told to end when nobody looks any more; they are dead, and do nothing about it.
   */
  bury(): void {
    this.kill();
    for (const controller of this.#signals) controller.abort();
  }

  /** A disk whose every I/O takes time. */
  #ready(files: SimulatedDisk): SimulatedDisk {
    files.step = async ({ kind }) => {
      await this.#process?.delay(10, kind === 'sync' || kind === 'syncDirectory' ? 3_000 : 200);
    };
    files.capacityBytes = this.#capacityBytes;
    files.lies = this.#lies;
    return files;
  }
}

function full(place: string): FreshetError {
  return new FreshetError('DISK_FULL', 'the disk is full', { place });
}

/** The code of an error of operation, or of one that was caused by one; undefined for a broken promise of our own. */
function codeOf(error: unknown): string | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof FreshetError) return cause.code;
    if (isAbort(cause)) return 'CANCELLED';
  }
  return undefined;
}

function loggerTo(write: (level: string, message: string) => void): Logger {
  const at =
    (level: string) =>
    (message: string): void =>
      write(level, message);
  const logger: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => logger,
  };
  return logger;
}
