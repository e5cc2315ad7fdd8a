/**
 * One process of a mesh, kept running.
 *
 *     start ─▶ running ──ended──▶ waiting (restart policy) ──▶ running …
 *                │                   ├──▶ given up after it had come up: told, and tried again rarely
 *                │                   └──▶ given up before it ever came up: `done` rejects
 *                └──stop: SIGTERM, grace, SIGKILL──▶ stopped: `done` resolves
 *
 * Owns the child, its pid file and its lines. Does not own whether it is healthy (health.ts) or what it runs
 * (layout.ts). Children lead process groups of their own, so that the terminal's Ctrl-C reaches only us and the order
 * of stopping is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { removePidFile, writePidFile } from './pid-file.ts';
import { EXIT_CONFIG, type RestartLimits, RestartPolicy } from './restart-policy.ts';

export interface ProcessSpec {
  /** "compute" */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pidFile: string;
}

export interface SupervisionOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: RestartLimits;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Whether it was ever healthy: then giving it up is not final. */
  readonly cameUp: () => boolean;
  /** Takes each line that the process writes. */
  readonly onLine: (line: string) => void;
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The last lines of a process are told when it is given up. */
const TAIL_LINES = 20;
const LAST_LINE_CHARS = 500;
/** A longer line is passed on in pieces, so that memory stays bounded. */
const LINE_CHARS_MAX = 64 * 1024;
const DRAIN_MS = 500;

export class SupervisedProcess {
  readonly spec: ProcessSpec;
  /** Resolves when the process was stopped; rejects when it is given up for good. */
  readonly done: Promise<void>;
  readonly #options: SupervisionOptions;
  readonly #policy: RestartPolicy;
  readonly #stopping = new AbortController();
  readonly #tail: string[] = [];
  #child: ChildProcess | undefined;
  #ended: Promise<End> | undefined;
  #deliberate = false;
  #starts = 0;

  constructor(spec: ProcessSpec, options: SupervisionOptions) {
    this.spec = spec;
    this.#options = options;
    this.#policy = new RestartPolicy(options.limits, options.random);
    this.done = this.#run();
    // Whoever looks at `done` sees the failure; that nobody looks yet is no fault.
    this.done.catch(() => undefined);
  }

  /** The running child's number; undefined between two. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What it wrote last, for whoever waits for it; undefined: nothing since its last start. */
  get lastLine(): string | undefined {
    return this.#tail.at(-1)?.slice(0, LAST_LINE_CHARS);
  }

  /** How often it was started. */
  get starts(): number {
    return this.#starts;
  }

  /** Ends the running child, to see it come back at once; resolves when it is gone. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    const ended = this.#ended;
    if (this.#child === undefined || ended === undefined) return;
    this.#deliberate = true;
    this.#child.kill(signal);
    await ended;
  }

  /** Ends the process for good: SIGTERM, and SIGKILL when the grace is over. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort(new DOMException('the process is being stopped', 'AbortError'));
    this.#child?.kill('SIGTERM');
    const late = new AbortController();
    const killing = this.#options.clock.sleep(graceMs, late.signal).then(
      () => {
        this.#options.log.warn(`${this.spec.name} did not stop in time and is killed`, { graceMs });
        this.#child?.kill('SIGKILL');
      },
      () => undefined,
    );
    await this.done.catch(() => undefined);
    late.abort();
    await killing;
  }

  /** Ends the process at once and for good. */
  killNow(): void {
    this.#stopping.abort(new DOMException('the process is being stopped', 'AbortError'));
    this.#child?.kill('SIGKILL');
  }

  async #run(): Promise<void> {
    const { clock, log, cameUp } = this.#options;
    const { signal } = this.#stopping;
    for (;;) {
      // Lets the constructor return before the first child exists.
      await Promise.resolve();
      if (signal.aborted) return;
      const beganUs = clock.monotonicUs();
      const end = await this.#runOnce();
      if (signal.aborted) return;
      const nowMs = clock.monotonicUs() / 1000;
      const deliberate = this.#deliberate;
      this.#deliberate = false;
      const ranMs = nowMs - beganUs / 1000;
      const decision = this.#policy.onEnd({ ...end, deliberate, cameUp: cameUp(), ranMs, nowMs });
      if (decision.kind === 'give-up') throw this.#givenUp(end, decision.failures);
      if (decision.kind === 'retry-later' && decision.news) {
        const { message, code, place, remedy } = this.#givenUp(end, decision.failures);
        log.error(message, { code, place, remedy, retryMs: decision.delayMs });
      } else if (!deliberate) {
        log.warn(`${this.spec.name} ended (${endText(end)}) and is started again`, {
          delayMs: Math.round(decision.delayMs),
          ...this.#lastWords(),
        });
      }
      await clock.sleep(decision.delayMs, signal).catch(() => undefined);
    }
  }

  async #runOnce(): Promise<End> {
    const { command, args, env, pidFile } = this.spec;
    const child = spawn(command, [...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#starts += 1;
    // What an earlier run wrote does not tell why this one ends.
    this.#tail.length = 0;
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#line(`cannot be started: ${error.message}`);
        resolve({ code: null, signal: null });
      });
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    const lines = Promise.all([this.#readLines(child.stdout), this.#readLines(child.stderr)]);
    if (child.pid !== undefined) {
      await writePidFile(pidFile, child.pid).catch((error: unknown) => {
        this.#options.log.warn(`${pidFile} cannot be written; a leftover process would not be found`, { error });
      });
    }
    const end = await this.#ended;
    this.#child = undefined;
    await this.#drain(child, lines);
    await removePidFile(pidFile).catch(() => undefined);
    return end;
  }

  /** Reads what the ended process still wrote. A process of its own that holds the pipe open is not waited for. */
  async #drain(child: ChildProcess, lines: Promise<unknown>): Promise<void> {
    const read = new AbortController();
    const patience = this.#options.clock.sleep(DRAIN_MS, read.signal).catch(() => undefined);
    await Promise.race([lines, patience]);
    read.abort();
    child.stdout?.destroy();
    child.stderr?.destroy();
  }

  async #readLines(stream: Readable): Promise<void> {
    stream.setEncoding('utf8');
    let rest = '';
    try {
      for await (const chunk of stream) {
        rest += chunk;
        let from = 0;
        for (let at = rest.indexOf('\n'); at >= 0; at = rest.indexOf('\n', from)) {
          this.#line(rest.slice(from, at));
          from = at + 1;
        }
        rest = rest.slice(from);
        if (rest.length > LINE_CHARS_MAX) {
          this.#line(rest);
          rest = '';
        }
      }
    } catch {
      // The pipe broke with the process; what ended it is told by its exit.
    }
    if (rest !== '') this.#line(rest);
  }

  #line(line: string): void {
    if (line === '') return;
    this.#tail.push(line);
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
    this.#options.onLine(line);
  }

  /** What it wrote last of what was wrong, or else at all: for the line that tells of its end. */
  #lastWords(): { readonly lastLine?: string } {
    const told = this.#tail.flatMap((line) => loggedError(line, this.spec.name)).at(-1)?.message ?? this.#tail.at(-1);
    return told === undefined ? {} : { lastLine: told.slice(0, LAST_LINE_CHARS) };
  }

  #givenUp(end: End, failures: number): FreshetError {
    const { name } = this.spec;
    if (end.code === EXIT_CONFIG) {
      const [first, ...also] = this.#tail.flatMap((line) => loggedError(line, name));
      return new FreshetError(
        'INVALID_CONFIG',
        `${name} refuses its configuration: ${first?.message ?? 'its log says why'}`,
        {
          remedy: first?.remedy || 'correct the configuration and start again',
          place: first?.place || name,
          also,
        },
      );
    }
    const lines = this.#tail.map((line) => `\n  ${loggedError(line, name)[0]?.message ?? line}`).join('');
    return new FreshetError('INTERNAL', `${name} keeps ending (${failures} times; last: ${endText(end)})`, {
      remedy: lines === '' ? 'it wrote nothing; start it by hand to see why' : `its last lines were:${lines}`,
      place: name,
    });
  }
}

function endText({ code, signal }: End): string {
  return signal === null ? `exit code ${code ?? 'none'}` : signal;
}

/** The error that a log line in JSON tells; none for other lines. */
function loggedError(line: string, name: string): FreshetError[] {
  if (!line.startsWith('{')) return [];
  try {
    const entry = JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (entry['level'] !== 'error') return [];
    const text = (value: unknown): string => (typeof value === 'string' ? value : '');
    const detail = entry['error'];
    const cause = typeof detail === 'object' && detail !== null && 'message' in detail ? text(detail.message) : '';
    const message = cause === '' ? text(entry['message']) : `${text(entry['message'])}: ${cause}`;
    return [
      new FreshetError('INVALID_CONFIG', message, {
        remedy: text(entry['remedy']),
        place: text(entry['place']) || name,
      }),
    ];
  } catch {
    return [];
  }
}
