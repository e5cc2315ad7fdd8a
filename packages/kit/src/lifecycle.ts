/**
 * One lifecycle for every process: run until SIGTERM or SIGINT, then drain, then leave. A second signal leaves at once.
 * Exit codes: 0 after a clean stop, 78 (EX_CONFIG) when the configuration cannot work, 1 otherwise.
 */
import { isFreshetError } from './errors.ts';
import type { Logger } from './logger.ts';

export const EXIT_CONFIG = 78;

export interface ServiceContext {
  /** Aborts when the process is asked to stop. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Registers work for the stop; the last registered runs first. Each has the whole grace to finish. */
  onStop(name: string, stop: () => Promise<void>): void;
}

export interface ServiceOptions {
  readonly log: Logger;
  /** How long each stop step may take, in milliseconds. */
  readonly graceMs?: number | undefined;
}

/** Runs `start`, which returns when the service is up, until a signal or until `start`'s failure; then exits the process. */
export async function runService(
  start: (context: ServiceContext) => Promise<void>,
  options: ServiceOptions,
): Promise<void> {
  const { log } = options;
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
    log.error('a fault that cannot be survived', { error });
    process.exit(1);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
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
  for (const { name, stop } of stops.reverse()) {
    await withGrace(stop(), options.graceMs ?? 5_000).catch((error: unknown) => {
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

async function withGrace(work: Promise<void>, graceMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${graceMs} ms`)), graceMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
