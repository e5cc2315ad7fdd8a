/**
 * One process per directory: a lock file, LOCK, that names its holder.
 *
 * The holder is a process id with the time the process started and the boot it belongs to, so that a number that was
 * given to another process since, or to the first process of another container, does not count as the holder. A lock
 * whose holder is gone is taken over. Two that take over at once are kept apart by a second file, a guard, made for the
 * lock that is taken over and checked again once it is held. A guard whose maker died in the middle of that is taken
 * over in the same way, by a guard of its own: nothing that a crash leaves behind keeps the directory locked.
 */
import { createHash, randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from './disk-errors.ts';
import { FreshetError } from './errors.ts';

export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * Locks a directory for this process; `what` is in it, for the error: "the log". Of any number that try at once, one
 * gets it. Throws STORE_LOCKED when a living process, this one included, holds it, and what the disk says (DISK_FULL).
 */
export async function lockDirectory(directory: string, what: string): Promise<DirectoryLock> {
  const path = join(directory, 'LOCK');
  const mine = JSON.stringify({ ...(await identityOf(process.pid)), nonce: randomBytes(8).toString('hex') });
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await writeFile(draft, mine, { mode: 0o600 }).catch((error: unknown) => {
    throw diskError(error, directory) ?? error;
  });
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      if (await tryLink(draft, path)) return holding(path, mine);
      const held = await readIfThere(path);
      if (held === undefined) continue;
      if (await isAlive(held)) throw locked(directory, what, held);
      if (await takeOver(draft, path, held)) return holding(path, mine);
    }
    throw locked(directory, what, (await readIfThere(path)) ?? '{}');
  } finally {
    await rm(draft, { force: true });
  }
}

/** The living process that has the directory locked; undefined when none has. Changes nothing. */
export async function lockHolder(directory: string): Promise<number | undefined> {
  const held = await readIfThere(join(directory, 'LOCK'));
  return held !== undefined && (await isAlive(held)) ? parse(held)?.pid : undefined;
}

function holding(path: string, mine: string): DirectoryLock {
  return {
    release: async () => {
      if ((await readIfThere(path)) === mine) await rm(path, { force: true });
    },
  };
}

/** So many takeovers of one lock may have been cut off by crashes, one after the other. */
const GUARDS_MAX = 20;

/**
 * Puts our draft in place of a lock whose holder is gone. False when somebody else does, or did. A guard is named after
 * what it guards, so that whoever holds the last one of the chain is alone, and holds what is there as whoever died.
 */
async function takeOver(draft: string, path: string, stale: string): Promise<boolean> {
  const guards: string[] = [];
  let guarded = stale;
  for (;;) {
    if (guards.length === GUARDS_MAX) return false;
    const guard = `${path}.takeover-${createHash('sha256').update(guarded).digest('hex').slice(0, 16)}`;
    guards.push(guard);
    if (await tryLink(draft, guard)) break;
    const held = await readIfThere(guard);
    if (held === undefined || (await isAlive(held))) return false;
    guarded = held;
  }
  let won = false;
  try {
    won = (await readIfThere(path)) === stale;
    if (won) await rename(draft, path);
    return won;
  } finally {
    // The first last: as long as it is there, whoever saw the stale lock finds a guard.
    for (const guard of won ? guards.toReversed() : guards.slice(-1)) await rm(guard, { force: true });
  }
}

interface Identity {
  readonly pid: number;
  /** Start of the process in clock ticks since boot; undefined where the system does not tell. */
  readonly started?: string | undefined;
  readonly boot?: string | undefined;
}

/** A process that ended but whose parent has not asked for its result: its number still answers, but it holds nothing. */
const ENDED = 'ended';

async function identityOf(pid: number): Promise<Identity> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  const boot = (await readIfThere('/proc/sys/kernel/random/boot_id'))?.trim();
  // The command's name may hold spaces and parentheses: fields are counted after the last one. Field 3 is the state,
  // field 22 the start time.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const started = fields?.[0] === 'Z' ? ENDED : fields?.[19];
  return { pid, ...(started === undefined ? {} : { started }), ...(boot === undefined ? {} : { boot }) };
}

async function isAlive(text: string): Promise<boolean> {
  const holder = parse(text);
  if (holder === undefined) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (isCode(error, 'ESRCH')) return false;
    if (!isCode(error, 'EPERM')) throw error;
  }
  const now = await identityOf(holder.pid);
  const same = (was: string | undefined, is: string | undefined): boolean =>
    was === undefined || is === undefined || was === is;
  return same(holder.started, now.started) && same(holder.boot, now.boot);
}

/** The holder; undefined when the file is not a lock of ours (a crash between making and writing cannot leave one). */
function parse(text: string): Identity | undefined {
  try {
    const value = JSON.parse(text) as Partial<Identity>;
    return typeof value.pid === 'number' && value.pid > 0 ? (value as Identity) : undefined;
  } catch {
    return undefined;
  }
}

function locked(directory: string, what: string, held: string): FreshetError {
  const pid = parse(held)?.pid;
  return new FreshetError(
    'STORE_LOCKED',
    `another process has ${what} open${pid === undefined ? '' : ` (pid ${pid})`}`,
    {
      place: directory,
      remedy:
        'stop that process, or give this one a data directory of its own (--data-dir); if no process has it open, remove LOCK there',
    },
  );
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '');
}
