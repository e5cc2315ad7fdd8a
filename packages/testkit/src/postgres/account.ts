/**
 * The account that runs Postgres. Postgres refuses to run as root, so a root process runs it as an unprivileged
 * account that exists already; any other process runs it as itself.
 *
 * Owns: which account, and whether that account can reach a path. Does not own: starting anything.
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The account to run Postgres as; undefined when it is this process' own. */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  for (const name of ['postgres', 'nobody']) {
    const account = accounts.find((candidate) => candidate.name === name && candidate.uid > 0);
    if (account !== undefined) return account;
  }
  throw new FreshetError('INVALID_CONFIG', 'Postgres does not run as root, and there is no account to run it as.', {
    remedy: 'Create one (useradd --system postgres), or start this as an ordinary user.',
    place: '/etc/passwd',
  });
}

/** Whether the account may enter every directory on the way to the path, which need not exist yet. */
export function canReach(path: string, account: Account | undefined): boolean {
  if (account === undefined) return true;
  for (let directory = dirname(resolve(path)); ; directory = dirname(directory)) {
    const stat = statSync(directory, { throwIfNoEntry: false });
    if (stat !== undefined) {
      const shift = stat.uid === account.uid ? 6 : stat.gid === account.gid ? 3 : 0;
      if (((stat.mode >> shift) & 0o1) === 0) return false;
    }
    if (directory === dirname(directory)) return true;
  }
}
