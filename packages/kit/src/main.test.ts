/** Goal: every service starts, speaks and ends alike. Method: a service of a few lines as a process of its own. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const at = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const SERVICE = `
  import { parsers } from ${JSON.stringify(at('./config.ts'))};
  import { runMain } from ${JSON.stringify(at('./main.ts'))};
  const text = { description: 'a name', form: 'text', parse: parsers.text };
  const logLevel = { description: 'a level', form: 'level', parse: parsers.oneOf('info', 'warn'), fallback: 'info' };
  await runMain({ name: 'tiny', about: 'does nothing', options: { name: text, logLevel }, start: async (config, { log }) => {
    // A process lives as long as it has something to wait for.
    setInterval(() => {}, 1000);
    log.info('up as ' + config.name);
    log.warn('up');
  } });`;

async function run(args: readonly string[]): Promise<{ code: number | null; out: string; messages: string[] }> {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', SERVICE, '--', 'tiny', ...args]);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
    if (err.includes('"message":"up"')) child.kill('SIGTERM');
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const lines = err.split('\n').filter((line) => line.startsWith('{'));
  return { code, out, messages: lines.map((line) => JSON.parse(line).message) };
}

it('prints its help and does nothing else', async () => {
  const { code, out } = await run(['--help']);
  expect(code).toBe(0);
  expect(out).toContain('tiny: does nothing');
  expect(out).toContain('--name <text>');
});

it('runs at the level it was given until it is asked to stop', async () => {
  expect(await run(['--name=n'])).toMatchObject({ code: 0, messages: ['up as n', 'up', 'stopping'] });
  expect(await run(['--name=n', '--log-level=warn'])).toMatchObject({ code: 0, messages: ['up', 'stopping'] });
});

it('ends with 78 when its options are wrong, and tells all of it', async () => {
  expect(await run(['--nam=secret'])).toMatchObject({
    code: 78,
    messages: ['--nam is not an option', '--name is missing'],
  });
});
