#!/usr/bin/env node
/**
 * The `freshet` command. Plain JavaScript that any Node from 20 on can run: it finds the pinned Node 24, which npm
 * installed, and runs packages/cli/src/main.ts with it.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const binary = process.platform === 'win32' ? 'node.exe' : 'node';
const candidates = [join(root, 'node_modules', 'node', 'bin', binary), join(root, 'node_modules', '.bin', binary)];
const own = Number(process.versions.node.split('.')[0]) === 24 ? process.execPath : undefined;
const node = candidates.find(existsSync) ?? own;
if (node === undefined) {
  console.error(`freshet: Node 24 is not installed below ${join(root, 'node_modules')}; run npm install there`);
  process.exit(78);
}

const child = spawn(node, [join(root, 'packages', 'cli', 'src', 'main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// The terminal's Ctrl-C reaches the child itself, which decides when to end; a signal sent to us is passed on.
process.on('SIGINT', () => {
  if (process.stdin.isTTY !== true) child.kill('SIGINT');
});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`freshet: ${node} cannot be run: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
