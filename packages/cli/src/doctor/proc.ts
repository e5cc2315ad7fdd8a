/**
 * What the system tells of its processes, where it does (Linux, under /proc): limits, open files, whether one is
 * stopped, who listens on a port. Elsewhere, or where we may not look, the answers are undefined; nothing here throws.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';

/** The limits of open files; Infinity: none. */
export async function openFilesLimit(pid: number | 'self'): Promise<{ soft: number; hard: number } | undefined> {
  const text = await readText(`/proc/${pid}/limits`);
  const match = /^Max open files\s+(\S+)\s+(\S+)/m.exec(text ?? '');
  if (match === null) return undefined;
  const number = (word: string | undefined): number => (word === 'unlimited' ? Infinity : Number(word));
  return { soft: number(match[1]), hard: number(match[2]) };
}

/** How many files the process has open. */
export async function openFiles(pid: number): Promise<number | undefined> {
  return (await list(`/proc/${pid}/fd`))?.length;
}

/** Whether the process is stopped by a signal, or by who traces it. */
export async function isStopped(pid: number): Promise<boolean | undefined> {
  const stat = await readText(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The name, in parentheses, may hold anything; the state comes after the last one.
  return /^[Tt]$/.test(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0] ?? '');
}

/** A process that listens on the port: its number and name. */
export async function portHolder(port: number): Promise<{ pid: number; command: string } | undefined> {
  const sockets = new Set((await listeningSockets(port)).map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return undefined;
  for (const pid of (await list('/proc')) ?? []) {
    if (!/^\d+$/.test(pid)) continue;
    for (const fd of (await list(`/proc/${pid}/fd`)) ?? []) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (!sockets.has(target)) continue;
      return { pid: Number(pid), command: (await readText(`/proc/${pid}/comm`))?.trim() ?? 'a process' };
    }
  }
  return undefined;
}

const LISTEN = '0A';

async function listeningSockets(port: number): Promise<string[]> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(readText));
  return tables.flatMap((text) =>
    (text ?? '')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === LISTEN)
      .map((fields) => fields[9] ?? ''),
  );
}

function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

function list(path: string): Promise<string[] | undefined> {
  return readdir(path).catch(() => undefined);
}
