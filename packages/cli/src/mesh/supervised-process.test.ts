/**
 * Goal: a process is kept running, told apart from one that cannot work, stopped for good, and found again after the
 * supervisor was killed. Method: tiny real child programs in a temporary directory.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { createLogger, silentLogger } from '@freshet/kit/logger.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { endLeftover, livingProcess, writePidFile } from './pid-file.ts';
import { processIdentity } from './process-identity.ts';
import { RESTART_LIMITS, type RestartLimits } from './restart-policy.ts';
import { SupervisedProcess, type SupervisionOptions } from './supervised-process.ts';

/** Long enough for a busy machine. */
const SOON = { timeout: 10_000 };

let directory: string;
const running: SupervisedProcess[] = [];
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-supervised-'));
});
afterEach(() => {
  for (const supervised of running.splice(0)) supervised.killNow();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const LIMITS: RestartLimits = { ...RESTART_LIMITS, firstDelayMs: 1, maxDelayMs: 4, failuresMax: 3 };
let number = 0;

function supervise(
  script: string,
  limits: Partial<RestartLimits> = {},
  over: Partial<SupervisionOptions> = {},
): { process: SupervisedProcess; lines: string[]; pidFile: string } {
  const lines: string[] = [];
  const pidFile = join(directory, `${number++}.pid`);
  const supervised = new SupervisedProcess(
    { name: 'child', command: process.execPath, args: ['-e', script], env: process.env, pidFile },
    {
      clock: systemClock,
      log: silentLogger,
      limits: { ...LIMITS, ...limits },
      random: () => 0.5,
      cameUp: () => false,
      onLine: (line) => lines.push(line),
      ...over,
    },
  );
  running.push(supervised);
  return { process: supervised, lines, pidFile };
}

const FOREVER = 'setInterval(() => {}, 1000); console.log("up " + process.pid);';

describe('SupervisedProcess', () => {
  it('starts a process again that was killed from outside, and one that we kill', async () => {
    const { process: supervised, lines } = supervise(FOREVER);
    await expect.poll(() => lines.length, SOON).toBe(1);
    process.kill(Number(lines[0]?.slice(3)), 'SIGKILL');
    await expect.poll(() => lines.length, SOON).toBe(2);
    await supervised.kill('SIGKILL');
    await expect.poll(() => lines.length, SOON).toBe(3);
    expect(supervised.starts).toBe(3);
    expect(new Set(lines).size).toBe(3);
    await supervised.stop(1_000);
    await expect(supervised.done).resolves.toBeUndefined();
    expect(supervised.pid).toBeUndefined();
  });

  it('gives up a process that keeps ending, and tells its last lines', async () => {
    const { process: supervised } = supervise('console.error("no such disk"); process.exit(3)');
    await expect(supervised.done).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'child keeps ending (4 times; last: exit code 3)',
      remedy: expect.stringContaining('no such disk'),
    });
    expect(supervised.starts).toBe(4);
  });

  it('tells with each restart how the process ended and what it said last, of that run only', async () => {
    const warnings: Record<string, unknown>[] = [];
    const log = createLogger({ name: 'up', write: (line) => warnings.push(JSON.parse(line)) });
    const error = JSON.stringify({ time: '', level: 'error', service: 'x', message: 'the disk is full' });
    const mark = join(directory, 'ran-once');
    const script = `const { existsSync, writeFileSync } = require('node:fs');
      if (existsSync('${mark}')) process.kill(process.pid, 'SIGKILL');
      else { writeFileSync('${mark}', ''); console.error(${JSON.stringify(error)}); console.error('a trace'); process.exitCode = 3; }`;
    const { process: supervised } = supervise(script, {}, { log });
    await expect(supervised.done).rejects.toThrow();
    expect(warnings[0]).toMatchObject({ level: 'warn', lastLine: 'the disk is full' });
    expect(warnings[0]?.['message']).toBe('child ended (exit code 3) and is started again');
    expect(warnings[1]).toMatchObject({ message: 'child ended (SIGKILL) and is started again' });
    expect(warnings[1]).not.toHaveProperty('lastLine');
  });

  it('gives up at once a process that refuses its configuration (exit 78), and tells every problem', async () => {
    const line = (message: string, remedy: string) =>
      JSON.stringify({ time: '', level: 'error', service: 'x', message, code: 'INVALID_CONFIG', remedy });
    const script = `console.error(${JSON.stringify(line('--prot is not an option', 'did you mean --port?'))});
      console.error(${JSON.stringify(line('--data-dir is missing', 'give it'))}); process.exitCode = 78`;
    const { process: supervised } = supervise(script);
    await expect(supervised.done).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: 'child refuses its configuration: --prot is not an option',
      remedy: 'did you mean --port?',
      also: [{ message: '--data-dir is missing', remedy: 'give it' }],
    });
    expect(supervised.starts).toBe(1);
  });

  it('static stability: reports one that came up and keeps ending with 78, and tries it again when it was given up', async () => {
    const told: Record<string, unknown>[] = [];
    const log = createLogger({ name: 'up', level: 'error', write: (line) => told.push(JSON.parse(line)) });
    const { process: supervised } = supervise(
      'console.error("disk full"); process.exit(78)',
      { failuresMax: 1, givenUpDelayMs: 5 },
      { cameUp: () => true, log },
    );
    await expect.poll(() => supervised.starts, SOON).toBeGreaterThan(4);
    expect(told).toEqual([expect.objectContaining({ level: 'error', place: 'child', retryMs: 5 })]);
    await supervised.stop(1_000);
    await expect(supervised.done).resolves.toBeUndefined();
  });

  it('gives up a program that does not exist', async () => {
    const supervised = new SupervisedProcess(
      {
        name: 'child',
        command: join(directory, 'nothing'),
        args: [],
        env: {},
        pidFile: join(directory, 'nothing.pid'),
      },
      { clock: systemClock, log: silentLogger, limits: LIMITS, random: () => 0, cameUp: () => false, onLine: () => {} },
    );
    await expect(supervised.done).rejects.toMatchObject({ remedy: expect.stringContaining('ENOENT') });
  });

  it('kills a process that does not stop when asked', async () => {
    const { process: supervised, lines } = supervise(`process.on("SIGTERM", () => console.log("no")); ${FOREVER}`);
    await expect.poll(() => lines.length, SOON).toBe(1);
    await supervised.stop(100);
    expect(lines).toContain('no');
    expect(supervised.pid).toBeUndefined();
    expect(await processIdentity(Number(lines[0]?.slice(3)))).toBeUndefined();
  });

  it('passes on whole lines, the last one without a newline too', async () => {
    const { process: supervised, lines } = supervise(
      'process.stdout.write("a\\nb"); process.stderr.write(""); setTimeout(() => process.stdout.write("c\\n\\nd"), 20)',
      { failuresMax: 0 },
    );
    await supervised.done.catch(() => undefined);
    expect(lines).toEqual(['a', 'bc', 'd']);
  });
});

describe('pid files', () => {
  it('name a process as long as it runs', async () => {
    const { process: supervised, lines, pidFile } = supervise(FOREVER);
    await expect.poll(() => lines.length, SOON).toBe(1);
    await expect.poll(() => livingProcess(pidFile), SOON).toBe(Number(lines[0]?.slice(3)));
    await supervised.stop(1_000);
    expect(existsSync(pidFile)).toBe(false);
  });

  it('lead to a process that an earlier run left behind, and end it', async () => {
    // It ignores SIGTERM, as one that hangs would.
    const orphan = spawn(process.execPath, ['-e', `process.on("SIGTERM", () => {}); ${FOREVER}`], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => orphan.stdout.once('data', resolve));
    const pidFile = join(directory, 'orphan.pid');
    await writePidFile(pidFile, orphan.pid ?? 0);
    expect(await endLeftover(pidFile, 100, systemClock)).toBe(orphan.pid);
    expect(await processIdentity(orphan.pid ?? 0)).toBeUndefined();
    expect(existsSync(pidFile)).toBe(false);
    expect(await endLeftover(pidFile, 100, systemClock)).toBeUndefined();
  });

  it('leave alone a process that took over the number, and survive garbage', async () => {
    const other = spawn(process.execPath, ['-e', FOREVER], { stdio: ['ignore', 'pipe', 'ignore'] });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    const pidFile = join(directory, 'other.pid');
    writeFileSync(pidFile, JSON.stringify({ pid: other.pid, began: 'long ago' }));
    expect(await endLeftover(pidFile, 100, systemClock)).toBeUndefined();
    expect(await processIdentity(other.pid ?? 0)).toBeDefined();
    other.kill('SIGKILL');
    for (const garbage of ['', '{', 'null', '{"pid":-1,"began":"x"}', '{"pid":"1"}']) {
      writeFileSync(pidFile, garbage);
      expect(await livingProcess(pidFile)).toBeUndefined();
    }
  });
});
