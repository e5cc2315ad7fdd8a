/**
 * Pid files: one per process of a mesh in <data_dir>/run, so that the next start finds what a killed one left behind.
 *
 * Owns writing, reading and what to do about a process that is still there. A process is only ever ended when its
 * number and its beginning are those in the file. Keeping a second mesh away is the directory's lock (mesh.ts).
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { processIdentity } from './process-identity.ts';

interface PidRecord {
  readonly pid: number;
  /** See processIdentity. */
  readonly began: string;
}

/** Notes a running process; does nothing when it ended already. */
export async function writePidFile(path: string, pid: number): Promise<void> {
  const began = await processIdentity(pid);
  if (began === undefined) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, JSON.stringify({ pid, began } satisfies PidRecord));
  await rename(`${path}.new`, path);
}

export async function removePidFile(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** The process that the file names, if it still runs. */
export async function livingProcess(path: string): Promise<number | undefined> {
  const record = await readRecord(path);
  if (record === undefined) return undefined;
  return (await processIdentity(record.pid)) === record.began ? record.pid : undefined;
}

/** Ends the process that the file names, if it still runs: politely, after graceMs not. Returns its number. */
export async function endLeftover(path: string, graceMs: number, clock: Clock): Promise<number | undefined> {
  const pid = await livingProcess(path);
  if (pid !== undefined) {
    signalProcess(pid, 'SIGTERM');
    if (!(await gone(path, graceMs, clock))) {
      signalProcess(pid, 'SIGKILL');
      if (!(await gone(path, 5_000, clock))) {
        throw new FreshetError('STORE_LOCKED', `process ${pid} of an earlier run does not end`, {
          remedy: `end it by hand: kill -9 ${pid}`,
          place: path,
        });
      }
    }
  }
  await removePidFile(path);
  return pid;
}

/** Sends a signal; a process that is gone already is not an error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function gone(path: string, withinMs: number, clock: Clock): Promise<boolean> {
  const endUs = clock.monotonicUs() + withinMs * 1000;
  while (clock.monotonicUs() < endUs) {
    if ((await livingProcess(path)) === undefined) return true;
    await clock.sleep(20);
  }
  return (await livingProcess(path)) === undefined;
}

async function readRecord(path: string): Promise<PidRecord | undefined> {
  try {
    const record: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof record !== 'object' || record === null || !('pid' in record) || !('began' in record)) return undefined;
    const { pid, began } = record;
    return Number.isSafeInteger(pid) && typeof pid === 'number' && pid > 1 && typeof began === 'string'
      ? { pid, began }
      : undefined;
  } catch {
    // No file, or half a file of a process that was killed while it wrote: nothing is known.
    return undefined;
  }
}
