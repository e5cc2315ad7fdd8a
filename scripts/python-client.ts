/**
 * Confluent's client for Python, for the test that runs it: a virtual environment under .cache/, with pinned packages.
 *
 * Owns making it, once for each list of packages. Gives a reason instead where it cannot be made (no python3, no network):
 * the suite is then skipped by that reason.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LIST = join(import.meta.dirname, 'python-client.txt');
const CACHE = join(import.meta.dirname, '../.cache');
const MS_MAX = 240_000;

export type PythonClient = { readonly python: string } | { readonly reason: string };

/** The interpreter that has the client, or why there is none. */
export function pythonClient(): PythonClient {
  const hash = createHash('sha256').update(readFileSync(LIST)).digest('hex').slice(0, 12);
  const home = join(CACHE, `python-client-${hash}`);
  const python = join(home, 'bin/python');
  const done = join(home, 'complete');
  if (existsSync(done)) return { python };
  rmSync(home, { recursive: true, force: true });
  mkdirSync(CACHE, { recursive: true });
  const steps: readonly (readonly [string, readonly string[]])[] = [
    ['python3', ['-m', 'venv', home]],
    [python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', LIST]],
  ];
  for (const [command, args] of steps) {
    const { status, error, stderr } = spawnSync(command, args, { timeout: MS_MAX, encoding: 'utf8' });
    if (status !== 0)
      return {
        reason: `${command} ${args.slice(0, 3).join(' ')} failed: ${error?.message ?? stderr.trim().slice(-300)}`,
      };
  }
  writeFileSync(done, '');
  return { python };
}
