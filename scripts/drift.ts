/**
 * Fails when something generated is not what its source would generate now: code from proto/, docs from tables.
 * With --write it writes instead.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { generatedDocs } from './generated-docs.ts';

const root = join(import.meta.dirname, '..');
const write = process.argv.includes('--write');
const drifted: string[] = [];

function files(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (at: string): void => {
    for (const name of readdirSync(at)) {
      const path = join(at, name);
      if (statSync(path).isDirectory()) walk(path);
      else found.set(relative(folder, path), readFileSync(path, 'utf8'));
    }
  };
  if (existsSync(folder)) walk(folder);
  return found;
}

function run(command: string, args: readonly string[], cwd: string): void {
  const result = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

function checkProto(): void {
  if (write) {
    run('buf', ['generate'], root);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'freshet-drift-'));
  try {
    for (const name of ['proto', 'third_party', 'buf.yaml', 'buf.gen.yaml'])
      cpSync(join(root, name), join(folder, name), { recursive: true });
    run('buf', ['generate'], folder);
    const fresh = files(join(folder, 'packages/gen/src'));
    const committed = files(join(root, 'packages/gen/src'));
    for (const name of new Set([...fresh.keys(), ...committed.keys()])) {
      if (fresh.get(name) !== committed.get(name)) drifted.push(`packages/gen/src/${name}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function checkDocs(): void {
  for (const { path, text } of generatedDocs()) {
    const file = join(root, path);
    if (write) writeFileSync(file, text);
    else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) drifted.push(path);
  }
}

checkProto();
checkDocs();
if (drifted.length > 0) {
  process.stderr.write(
    `Generated files differ from their sources:\n  ${drifted.join('\n  ')}\nRun: npm run generate\n`,
  );
  process.exit(1);
}
process.stdout.write(write ? 'generated\n' : 'no drift\n');
