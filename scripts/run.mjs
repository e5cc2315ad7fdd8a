/**
 * Runs a TypeScript file of the repository under the pinned Node: node scripts/run.mjs FILE [ARGUMENT ...].
 * Passes signals on and ends with the child's exit code.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const node = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node');
if (!existsSync(node)) {
  process.stderr.write('Dependencies are not installed: run npm install in the repository first.\n');
  process.exit(78);
}
const bin = join(root, 'node_modules', '.bin');
const child = spawn(node, process.argv.slice(2), {
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}:${process.env.PATH ?? ''}` },
});
// A terminal sends Ctrl-C to the whole group: the child has it already, and must not get it twice.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal ?? 'SIGTERM'] ?? 15)));
