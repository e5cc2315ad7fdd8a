/** For tests: the real registry process on a directory, killed and started again at will. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const MAIN = join(import.meta.dirname, '../main.ts');
/** Patient: on a machine with much else to do a process may take most of a minute to load. */
const START_MS_MAX = 120_000;

export class RegistryProcess {
  readonly #directory: string;
  #child: ChildProcess | undefined;
  /** Of the HTTP port; another one after each start. */
  url = '';

  constructor(directory: string) {
    this.#directory = directory;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it; resolves when it answers. */
  async start(options: readonly string[] = []): Promise<void> {
    const listen = ['--listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0'];
    // A service refuses a FRESHET_ variable that is no setting of its own, and campaigns are made longer by such ones.
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('FRESHET_'));
    const child = spawn(process.execPath, [MAIN, '--data-dir', this.#directory, ...listen, ...options], {
      env: Object.fromEntries(own),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let output = '';
    const onData = (piece: Buffer): void => {
      output = (output + piece.toString()).slice(-20_000);
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    for (const end = Date.now() + START_MS_MAX; ; await pause(10)) {
      const http = /"http":"([^"]+)"/.exec(output)?.[1] ?? /http=(\S+)/.exec(output)?.[1];
      if (http !== undefined) {
        this.url = `http://${http}`;
        return;
      }
      if (child.exitCode !== null || Date.now() > end) throw new Error(`the registry did not start: ${output}`);
    }
  }

  /** SIGKILL, or another signal; resolves when the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }
}
