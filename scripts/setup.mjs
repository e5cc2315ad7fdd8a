/**
 * Installs dependencies when they are missing or older than the lock file. Plain JavaScript, because it runs under
 * whatever Node the machine has (20 or later); everything after it runs under the pinned Node 24.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stampFile = join(root, 'node_modules', '.freshet-installed');

const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  process.stderr.write(`Freshet needs Node 20 or later to install itself; this is ${process.version}.\n`);
  process.exit(78);
}

const wanted = fingerprint();
if (!existsSync(stampFile) || readFileSync(stampFile, 'utf8') !== wanted) {
  process.stderr.write('Installing dependencies (once; about half a minute) …\n');
  // npm install and not npm ci: ci refuses a lock file that lacks other platforms' optional packages.
  const args = ['install', '--loglevel=error', '--no-audit', '--no-fund'];
  const npm = process.env.npm_execpath;
  const env = { ...process.env };
  delete env.npm_config_silent;
  delete env.npm_config_loglevel;
  const result = npm
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 2, 2], env })
    : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2], env });
  if (result.status !== 0) {
    process.stderr.write('npm install failed; its output is above.\n');
    process.exit(result.status ?? 1);
  }
  writeFileSync(stampFile, fingerprint());
}

/** The lock file, and every package.json that it must agree with. */
function fingerprint() {
  const hash = createHash('sha256');
  const workspaces = ['packages', 'services'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .sort()
      .map((name) => join(folder, name, 'package.json')),
  );
  for (const file of ['package-lock.json', 'package.json', ...workspaces]) {
    if (existsSync(join(root, file))) hash.update(readFileSync(join(root, file)));
  }
  return hash.digest('hex');
}
