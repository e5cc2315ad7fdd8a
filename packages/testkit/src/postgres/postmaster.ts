/**
 * The running server as seen from outside: its pid file, whether it is ready, and how it is stopped, also by a process
 * that did not start it (after a SIGKILL of the one that did).
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** How long a fast shutdown may take before it becomes an immediate one, and that before it is a kill. */
const SHUTDOWN_MS_MAX = 20_000;
const POLL_MS = 10;

export interface PidFile {
  readonly pid: number;
  readonly port: number;
  /** Takes connections. */
  readonly ready: boolean;
}

/** What the data directory's pid file says; undefined when there is none or it is not written yet. */
export function readPidFile(dataDirectory: string): PidFile | undefined {
  const path = join(dataDirectory, 'postmaster.pid');
  if (!existsSync(path)) return undefined;
  let lines: string[];
  try {
    lines = readFileSync(path, 'utf8').split('\n');
  } catch {
    return undefined; // removed in between
  }
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  return { pid, port: Number(lines[3] ?? 0), ready: (lines[7] ?? '').trim() === 'ready' };
}

/** Whether the process lives (a zombie does not) and, where the system tells, works in that directory. */
export function isServing(pid: number, dataDirectory: string): boolean {
  if (!isAlive(pid)) return false;
  if (process.platform !== 'linux') return true;
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(dataDirectory);
  } catch {
    return false;
  }
}

/** Whether the process lives; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  if (process.platform !== 'linux') return true;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z';
  } catch {
    return false;
  }
}

/** Stops the server: fast, then immediate, then by force. Resolves when it is gone. */
export async function stopPostmaster(pid: number): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (!sendSignal(pid, signal)) return;
    if (await goneWithin(pid, SHUTDOWN_MS_MAX)) return;
  }
  throw new FreshetError('INTERNAL', `Postgres (pid ${pid}) does not stop.`);
}

/** Ends the server and its backends at once, as a crash of the machine would. Resolves when all are gone. */
export async function killPostmaster(pid: number): Promise<void> {
  // The backends hold the shared memory; while one of them lives, the next start is refused.
  const processes = [pid, ...childrenOf(pid)];
  for (const each of processes) sendSignal(each, 'SIGKILL');
  for (const each of processes) await goneWithin(each, SHUTDOWN_MS_MAX);
}

/** Removes a pid file whose process is gone, so that the next server need not wonder. */
export function removeStalePidFile(dataDirectory: string): void {
  rmSync(join(dataDirectory, 'postmaster.pid'), { force: true });
}

function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

async function goneWithin(pid: number, ms: number): Promise<boolean> {
  const untilUs = systemClock.monotonicUs() + ms * 1000;
  while (isAlive(pid)) {
    if (systemClock.monotonicUs() > untilUs) return false;
    await systemClock.sleep(POLL_MS);
  }
  return true;
}

function childrenOf(parent: number): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid)) return false;
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ')[0]) === parent;
      } catch {
        return false;
      }
    });
}
