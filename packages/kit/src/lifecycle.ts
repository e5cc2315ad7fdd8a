/**
 * One lifecycle for every process: run until SIGTERM or SIGINT, then drain, then leave. A second signal leaves at once.
 * A fault that nobody caught ends the process with one log line: its state can no longer be trusted, and half a process
 * is worse than none, which is started again. What it cannot write to its output ends nothing.
 * Exit codes: 0 after a clean stop, 78 (EX_CONFIG) when the configuration cannot work, 1 otherwise.
 */
import { type Clock, systemClock } from './clock.ts';
import { isFreshetError } from './errors.ts';
import type { Logger } from './logger.ts';

export const EXIT_CONFIG = 78;

const GRACE_MS = 5_000;
const STOP_MS = 9_000;
const LAST_MS = 500;

export interface ServiceContext {
  /** Aborts when the process is asked to stop. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Registers work for the stop; the last registered runs first. Each has the whole grace to finish. */
  onStop(name: string, stop: () => Promise<void>): void;
}

export interface ServiceOptions {
  readonly log: Logger;
  /** How long each stop step may take, in milliseconds; default 5 s. */
  readonly graceMs?: number | undefined;
  /** How long all of them together may take, in milliseconds; default 9 s, which is within what a supervisor waits. */
  readonly stopMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** Runs `start`, which returns when the service is up, until a signal or until `start`'s failure; then exits the process. */
export async function runService(
  start: (context: ServiceContext) => Promise<void>,
  options: ServiceOptions,
): Promise<void> {
  const { log, graceMs = GRACE_MS, stopMs = STOP_MS, clock = systemClock } = options;
  const controller = new AbortController();
  const stops: { name: string; stop: () => Promise<void> }[] = [];
  let exitCode = 0;
  const asked = new Promise<void>((resolve) => {
    const onSignal = (signal: NodeJS.Signals): void => {
      if (controller.signal.aborted) process.exit(130);
      log.info('stopping', { signal });
      controller.abort(new DOMException('the process was asked to stop', 'AbortError'));
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
  const die = (error: unknown): void => {
    try {
      log.error('a fault that cannot be survived', { error });
    } finally {
      process.exit(1);
    }
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
  // Whoever read our lines is gone, such as a supervisor that was killed: there is still work to do.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  try {
    await start({ signal: controller.signal, log, onStop: (name, stop) => stops.push({ name, stop }) });
    await asked;
  } catch (error) {
    if (!controller.signal.aborted) {
      exitCode = isFreshetError(error, 'INVALID_CONFIG') ? EXIT_CONFIG : 1;
      logFailure(log, error);
    }
  }
  controller.abort(new DOMException('the process is stopping', 'AbortError'));
  const endUs = clock.monotonicUs() + stopMs * 1000;
  for (const { name, stop } of stops.reverse()) {
    // What is stopped last, the stores, gets a moment whatever those before it took.
    const leftMs = Math.max(LAST_MS, Math.min(graceMs, (endUs - clock.monotonicUs()) / 1000));
    await withGrace(stop, leftMs, clock).catch((error: unknown) => {
      exitCode = exitCode === 0 ? 1 : exitCode;
      log.warn(`stopping ${name} failed`, { error });
    });
  }
  process.exit(exitCode);
}

function logFailure(log: Logger, error: unknown): void {
  if (!isFreshetError(error)) {
    log.error('the service failed', { error });
    return;
  }
  for (const e of [error, ...error.also]) {
    log.error(e.message, {
      code: e.code,
      ...(e.place && { place: e.place }),
      ...(e.remedy && { remedy: e.remedy }),
      ...(e.cause ? { cause: e.cause } : {}),
    });
  }
}

async function withGrace(work: () => Promise<void>, graceMs: number, clock: Clock): Promise<void> {
  const done = new AbortController();
  const late = clock.sleep(graceMs, done.signal).then((): never => {
    throw new Error(`not done within ${Math.round(graceMs)} ms`);
  });
  late.catch(() => undefined);
  try {
    await Promise.race([work(), late]);
  } finally {
    done.abort();
  }
}
