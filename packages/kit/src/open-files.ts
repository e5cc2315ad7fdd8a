/**
 * Watches how many file descriptors this process has open of those it may, and tells before none is left: then nobody
 * can connect, no segment can begin, and the errors of that are far from its cause. Connections that are refused for it
 * are the callers' to try again; the process itself goes on (lifecycle.test.ts).
 *
 * Owns the look and the condition. Does not own the limit.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from './clock.ts';
import type { ConditionBoard } from './conditions.ts';

export interface OpenFiles {
  readonly used: number;
  readonly limit: number;
}

export interface WatchOpenFilesOptions {
  readonly conditions: ConditionBoard;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How many there are; undefined where the system does not tell. By default, this process's. */
  readonly read?: (() => Promise<OpenFiles | undefined>) | undefined;
}

const CONDITION = 'process/open-files';
const EVERY_MS = 10_000;
const WARNING_SHARE = 0.8;
const PROBLEM_SHARE = 0.95;

/** Looks every ten seconds until the signal aborts; then resolves. */
export async function watchOpenFiles(options: WatchOpenFilesOptions): Promise<void> {
  const { conditions, clock, signal, read = openFilesOfThisProcess } = options;
  while (!signal.aborted) {
    const files = await read();
    if (files === undefined) return;
    judge(conditions, files);
    await clock.sleep(EVERY_MS, signal).catch(() => undefined);
  }
}

function judge(conditions: ConditionBoard, { used, limit }: OpenFiles): void {
  if (used < limit * WARNING_SHARE) {
    conditions.clear(CONDITION);
    return;
  }
  const severity = used < limit * PROBLEM_SHARE ? 'warning' : 'problem';
  const text = {
    code: 'TOO_MANY_OPEN_FILES' as const,
    message: `${used} of ${limit} file descriptors are in use`,
    remedy: `raise the limit (ulimit -n) of who starts this process; what they are: ls -l /proc/${process.pid}/fd`,
  };
  conditions.raise(CONDITION, text, severity);
}

async function openFilesOfThisProcess(): Promise<OpenFiles | undefined> {
  const limit = await limitOfThisProcess();
  if (limit === undefined) return undefined;
  try {
    return { used: (await readdir('/proc/self/fd')).length, limit };
  } catch (error) {
    // To look takes a descriptor as well.
    return isExhausted(error) ? { used: limit, limit } : undefined;
  }
}

/** The soft limit does not change while the process runs, and may not be readable any more when it matters. */
let knownLimit: number | undefined;

async function limitOfThisProcess(): Promise<number | undefined> {
  if (knownLimit !== undefined) return knownLimit;
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = Number(/^Max open files\s+(\d+)/m.exec(text)?.[1]);
  knownLimit = Number.isSafeInteger(soft) ? soft : undefined;
  return knownLimit;
}

function isExhausted(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EMFILE' || error.code === 'ENFILE');
}
