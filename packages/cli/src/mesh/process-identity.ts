/**
 * Which process a number means. Numbers are used again, so a pid file says when its process began as well; what is
 * alive but began at another time is somebody else's and is left alone.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** When the process began, as text that no other process of that number shares; undefined when none runs. */
export async function processIdentity(pid: number): Promise<string | undefined> {
  return process.platform === 'linux' ? linuxIdentity(pid) : psIdentity(pid);
}

async function linuxIdentity(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything; the fields after the last one are plain: state is field 3, and
    // starttime (in ticks since boot) is field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie ended already; in a container without an init it may stay one for ever.
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
    return `${boot.trim()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

async function psIdentity(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await run('ps', ['-o', 'lstart=,stat=', '-p', String(pid)]);
    const text = stdout.trim();
    return text === '' || / Z\S*$/.test(text) ? undefined : text.replace(/\s+\S+$/, '');
  } catch {
    return undefined;
  }
}
