/**
 * A real Postgres for tests and the storefront example: initialised, started and stopped by us, with
 * wal_level=logical. Works as root (the server then runs as another account), below a home that only its owner may
 * enter, and after a SIGKILL of whoever started it last.
 *
 *     startPostgres ── orphan there? ──stop──▶ initdb (once, renamed when whole) ──▶ postgres ──▶ ready
 *
 * We run the binaries ourselves: the package's own wrapper rejects with undefined and installs exit hooks.
 * Owns: the data directory and the server. Listens on the loopback only and wants a password that is made once,
 * because whoever is its superuser can run programs as the server's account.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type Account, canReach, postgresAccount } from './account.ts';
import { findBinaries, type PostgresBinaries, SHARED_DIRECTORY } from './binaries.ts';
import { isAlive, isServing, killPostmaster, readPidFile, removeStalePidFile, stopPostmaster } from './postmaster.ts';

/** Recovery after a crash may take a while; a start beyond this is taken as failed. */
const START_MS_MAX = 60_000;

export interface PostgresOptions {
  /** Where the database lives; it is kept. Unset: a temporary directory, removed by stop(). */
  readonly directory?: string | undefined;
  /** The TCP port on 127.0.0.1; unset: a free one. */
  readonly port?: number | undefined;
  /** Server settings beside ours: {wal_sender_timeout: '2s'}. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

export interface RunningPostgres {
  /** Of the superuser, for the database "postgres". */
  readonly url: string;
  readonly port: number;
  /** Where the files really are: somewhere else than asked for if the server's account cannot go there. */
  readonly dataDirectory: string;
  /** The server's messages. */
  readonly logFile: string;
  /** Shuts down in order. A temporary database is removed. */
  stop(): Promise<void>;
  /** Ends it as a crash would; the files stay. Follow it with another start, or with stop() to remove a temporary database. */
  kill(): Promise<void>;
}

const DEFAULT_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '20',
  max_connections: '100',
  shared_buffers: '64MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] ',
  // A checkpoint at each restart of a small machine's disk is what start-up waits for.
  checkpoint_timeout: '5min',
  max_wal_size: '1GB',
};

/** Starts Postgres. Throws STORE_LOCKED when a living process already runs one in the directory. */
export async function startPostgres(options: PostgresOptions = {}): Promise<RunningPostgres> {
  const account = postgresAccount();
  const binaries = findBinaries(account);
  const temporary = options.directory === undefined;
  const home = temporary ? temporaryHome(account) : reachableHome(resolve(must(options.directory)), account);
  const data = join(home, 'data');
  await stopOrphan(home, data);
  if (!existsSync(join(data, 'PG_VERSION'))) await initialise(binaries, home, data, account, temporary);
  const password = readFileSync(join(home, 'password'), 'utf8').trim();
  const port = options.port ?? (await freePort());
  const logFile = join(home, 'postgres.log');
  const child = launch(binaries, { data, port, logFile, account, settings: options.settings ?? {} });
  const endWithUs = (): void => {
    child.kill('SIGINT');
  };
  process.once('exit', endWithUs);
  writeFileSync(join(home, 'owner'), `${process.pid} ${startOf(process.pid)}\n`);
  try {
    await ready(child, data, logFile);
  } catch (error) {
    process.off('exit', endWithUs);
    if (temporary) rmSync(home, { recursive: true, force: true });
    throw error;
  }
  const pid = must(child.pid);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    port,
    dataDirectory: data,
    logFile,
    stop: async () => {
      process.off('exit', endWithUs);
      if (isAlive(pid)) await stopPostmaster(pid);
      rmSync(join(home, 'owner'), { force: true });
      if (temporary) rmSync(home, { recursive: true, force: true });
    },
    kill: async () => {
      process.off('exit', endWithUs);
      await killPostmaster(pid);
      rmSync(join(home, 'owner'), { force: true });
    },
  };
}

function temporaryHome(account: Account | undefined): string {
  const base = canReach(join(tmpdir(), 'x'), account) ? tmpdir() : SHARED_DIRECTORY;
  const home = mkdtempSync(join(base, 'freshet-postgres-'));
  if (account !== undefined) chownSync(home, account.uid, account.gid);
  return home;
}

/** The directory, or if the server's account cannot go there, one of its own that stands for it. */
function reachableHome(directory: string, account: Account | undefined): string {
  const name = createHash('sha256').update(directory).digest('hex').slice(0, 16);
  const home = canReach(directory, account) ? directory : join(SHARED_DIRECTORY, `freshet-postgres-${name}`);
  // The folders above it keep the usual mode: the server's account has to come through them.
  mkdirSync(dirname(home), { recursive: true });
  mkdirSync(home, { recursive: true, mode: 0o700 });
  if (account === undefined) return home;
  const owner = statSync(home).uid;
  if (owner !== account.uid) {
    // A directory of ours becomes the account's; one that a third account put in a shared place is not used.
    if (owner !== process.getuid?.()) {
      throw new FreshetError('INVALID_CONFIG', `${home} belongs to another account and is not trusted.`, {
        remedy: `Remove it: rm -r ${home}`,
        place: home,
      });
    }
    chownSync(home, account.uid, account.gid);
  }
  return home;
}

/** Ends a server that outlived the process that started it. */
async function stopOrphan(home: string, data: string): Promise<void> {
  const running = readPidFile(data);
  if (running === undefined) return;
  if (isServing(running.pid, data)) {
    const owner = livingOwner(home);
    if (owner !== undefined) {
      throw new FreshetError('STORE_LOCKED', `Postgres in ${home} is in use by process ${owner}.`, {
        remedy: `Stop that process first, or use another directory.`,
        place: home,
      });
    }
    await stopPostmaster(running.pid);
  }
  removeStalePidFile(data);
}

function livingOwner(home: string): number | undefined {
  const path = join(home, 'owner');
  if (!existsSync(path)) return undefined;
  const [pid = '', start = ''] = readFileSync(path, 'utf8').trim().split(' ');
  // Pids are used again: the same pid with another start is another process.
  return isAlive(Number(pid)) && startOf(Number(pid)) === start ? Number(pid) : undefined;
}

/** When the process started, in a form that only compares; '' where the system does not tell. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

async function initialise(
  binaries: PostgresBinaries,
  home: string,
  data: string,
  account: Account | undefined,
  temporary: boolean,
): Promise<void> {
  const partial = `${data}.partial`;
  const passwordFile = join(home, 'password');
  rmSync(partial, { recursive: true, force: true });
  writeFileSync(passwordFile, `${randomBytes(18).toString('base64url')}\n`, { mode: 0o600 });
  if (account !== undefined) chownSync(passwordFile, account.uid, account.gid);
  const args = [
    '-D',
    partial,
    '-U',
    'postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-instructions',
  ];
  if (temporary) args.push('--no-sync');
  try {
    await promisify(execFile)(binaries.initdb, args, { ...identity(account), cwd: home, env: environment() });
  } catch (cause) {
    const stderr = ((cause as { stderr?: string }).stderr ?? '').trim();
    throw new FreshetError('INTERNAL', `Postgres could not be initialised in ${home}: ${stderr}`, {
      cause,
      place: home,
    });
  }
  renameSync(partial, data);
}

interface Launch {
  readonly data: string;
  readonly port: number;
  readonly logFile: string;
  readonly account: Account | undefined;
  readonly settings: Readonly<Record<string, string>>;
}

function launch(binaries: PostgresBinaries, { data, port, logFile, account, settings }: Launch): ChildProcess {
  const all = { ...DEFAULT_SETTINGS, ...settings, port: String(port) };
  const args = ['-D', data, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const log = openSync(logFile, 'a', 0o600);
  try {
    // A session of its own: the terminal's Ctrl-C reaches us, and we decide when the database stops.
    const child = spawn(binaries.postgres, args, {
      ...identity(account),
      cwd: data,
      env: environment(),
      stdio: ['ignore', log, log],
      detached: true,
    });
    child.on('error', () => {}); // no pid then; ready() says so
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

async function ready(child: ChildProcess, data: string, logFile: string): Promise<void> {
  const untilUs = systemClock.monotonicUs() + START_MS_MAX * 1000;
  for (;;) {
    const { pid } = child;
    const file = readPidFile(data);
    if (pid !== undefined && file?.pid === pid && file.ready) return;
    const ended = pid === undefined || child.exitCode !== null || child.signalCode !== null;
    if (ended || systemClock.monotonicUs() > untilUs) {
      if (!ended) child.kill('SIGKILL');
      const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
      throw new FreshetError('INTERNAL', `Postgres did not start:\n${tail}`, { place: logFile });
    }
    await systemClock.sleep(10);
  }
}

function identity(account: Account | undefined): { uid?: number; gid?: number } {
  return account === undefined ? {} : { uid: account.uid, gid: account.gid };
}

/** Only what the server needs: nothing of ours, such as PGPORT or credentials, is its business. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}

/** A TCP port on 127.0.0.1 that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolvePort, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolvePort(port));
    });
  });
}
