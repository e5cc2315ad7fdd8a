/**
 * The `freshet` process: joins the command to the real terminal. The first Ctrl-C asks the command to stop, the second
 * makes it. Owns the process's signals, streams and exit code; everything else is program.ts.
 */
import { createInterface } from 'node:readline/promises';
import { systemClock } from '@freshet/kit/clock.ts';
import { EXIT } from './output/errors.ts';
import type { Terminal } from './output/terminal.ts';
import { runCli } from './program.ts';

const stop = new AbortController();
const impatience: (() => void)[] = [];

// One Ctrl-C may arrive twice, from the terminal and passed on by the launcher; nobody is impatient that quickly.
const IMPATIENT_US = 300_000;
let askedUs = 0;

function onSignal(): void {
  const nowUs = systemClock.monotonicUs();
  if (!stop.signal.aborted) {
    askedUs = nowUs;
    stop.abort(new DOMException('interrupted', 'AbortError'));
    return;
  }
  if (nowUs - askedUs < IMPATIENT_US) return;
  for (const kill of impatience) kill();
  process.exit(EXIT.interrupted);
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);

// Whoever reads our output may stop reading (freshet status | head); there is nothing left to say then.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') stop.abort(new DOMException('the output was closed', 'AbortError'));
    else throw error;
  });
}

async function confirm(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: stop.signal });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}

const interactive = process.stdout.isTTY === true && process.stderr.isTTY === true;
const terminal: Terminal = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  interactive,
  colours: interactive && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
  columns: () => process.stderr.columns,
  env: process.env,
  signal: stop.signal,
  clock: systemClock,
  confirm: interactive && process.stdin.isTTY === true ? confirm : undefined,
  onImpatience: (kill) => impatience.push(kill),
};

process.exitCode = await runCli(process.argv.slice(2), terminal);
// A connection that is still closing must not keep the command alive; what was written is flushed first.
await Promise.all(
  [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
);
process.exit();
