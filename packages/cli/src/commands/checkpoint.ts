/**
 * freshet checkpoint: list, verify and restore the checkpoints in compute's data directory, and take one now.
 *
 * The first three need no process of a mesh: a process of compute that does only this (services/compute/src/checkpoints.ts)
 * is started, and what it tells line by line is shown. `take` asks a running compute by rpc.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Checkpoint, ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { ERROR_CODES, type ErrorCode } from '@freshet/kit/error-codes.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { CHECKPOINT_PROGRAM } from '../mesh/layout.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { countText, durationText } from '../output/values.ts';

export interface CheckpointFilesOptions {
  readonly dataDir: string;
  /** As compute's --shards. */
  readonly shards?: string | undefined;
  /** The file to restore. */
  readonly file?: string | undefined;
  readonly json?: boolean | undefined;
}

/** One line of the process: see services/compute/src/checkpoints.ts. */
interface News {
  readonly kind: 'found' | 'verified' | 'restored' | 'damaged' | 'progress' | 'aside' | 'failed';
  readonly path?: string;
  readonly info?: ShownCheckpoint;
  readonly error?: { readonly code: string; readonly message: string; readonly remedy: string; readonly place: string };
  readonly bytes?: number;
  readonly of?: number;
}

interface ShownCheckpoint {
  readonly shard: number;
  readonly position: number;
  readonly takenAtUs: number;
  readonly states: number;
  readonly bytes: number;
  readonly stateDigest: string;
  readonly file: string;
}

/** Lists, verifies or restores. Throws what failed, DATA_DAMAGED when a checkpoint is not right. */
export async function checkpointFilesCommand(
  terminal: Terminal,
  action: 'list' | 'verify' | 'restore',
  options: CheckpointFilesOptions,
): Promise<void> {
  const news: News[] = [];
  const args = [
    `--action=${action}`,
    `--data-dir=${options.dataDir}`,
    ...(options.shards === undefined ? [] : [`--shards=${options.shards}`]),
    ...(options.file === undefined ? [] : [`--file=${options.file}`]),
    '--log-level=error',
  ];
  await runProgram(terminal, args, (one) => {
    if (one.kind !== 'progress') news.push(one);
    else if (options.json !== true) showProgress(terminal, one);
  });
  const rows = news.flatMap(({ kind, info }) => (info === undefined ? [] : [{ kind, ...info }]));
  const damaged = news.filter(({ kind }) => kind === 'damaged');
  if (news.at(-1)?.kind === 'failed' && rows.length === 0) {
    // There is nothing to show but what failed.
  } else if (options.json === true) {
    const shown = damaged.map(({ path, error }) => ({ path, error }));
    const aside = news.find(({ kind }) => kind === 'aside')?.path;
    terminal.out(`${JSON.stringify({ checkpoints: rows, damaged: shown, ...(aside && { aside }) })}\n`);
  } else {
    terminal.out(rows.length === 0 ? 'no checkpoints\n' : checkpointTable(terminal, rows));
    for (const { kind, path } of news) if (kind === 'aside') terminal.out(`the store before was put aside: ${path}\n`);
  }
  const failures = news.flatMap(({ error }) => (error === undefined ? [] : [errorOf(error)]));
  const [first, ...also] = failures;
  if (first === undefined) return;
  const { code, message, remedy, place } = first;
  throw new FreshetError(code, message, { remedy, place, also });
}

/** Takes a checkpoint of shards of a running compute node now. */
export async function takeCheckpointCommand(
  terminal: Terminal,
  options: { readonly compute: string; readonly shards?: readonly number[] | undefined; readonly json?: boolean },
): Promise<void> {
  const client = createGrpcClient(ComputeService, options.compute);
  const taken: ShownCheckpoint[] = [];
  try {
    const request = { shards: [...(options.shards ?? [])] };
    for await (const { checkpoint } of client.takeCheckpoint(request, { signal: terminal.signal })) {
      if (checkpoint === undefined) continue;
      taken.push(shownOf(checkpoint));
      if (options.json !== true) terminal.err(`shard ${checkpoint.shard}: ${checkpoint.file}\n`);
    }
  } finally {
    client.close();
  }
  terminal.out(
    options.json === true ? `${JSON.stringify({ checkpoints: taken })}\n` : checkpointTable(terminal, taken),
  );
}

export function checkpointTable(terminal: Terminal, rows: readonly (ShownCheckpoint & { kind?: string })[]): string {
  const right = 'right' as const;
  const columns = [
    { head: 'shard', align: right },
    { head: 'position', align: right },
    { head: 'taken' },
    { head: 'keys', align: right },
    { head: 'size', align: right },
    { head: 'digest' },
    { head: 'state' },
    { head: 'file' },
  ];
  const nowUs = terminal.clock.nowUs();
  return table(
    terminal,
    columns,
    rows.map((row) => [
      String(row.shard),
      countText(BigInt(row.position)),
      `${durationText(Math.max(0, nowUs - row.takenAtUs))} ago`,
      countText(BigInt(row.states)),
      `${(row.bytes / 2 ** 20).toFixed(1)} MiB`,
      row.stateDigest.slice(0, 12),
      row.kind === 'verified' || row.kind === 'restored' ? paint(terminal, 'green', row.kind) : 'kept',
      row.file,
    ]),
  );
}

function shownOf(checkpoint: Checkpoint): ShownCheckpoint {
  return {
    shard: checkpoint.shard,
    position: Number(checkpoint.position),
    takenAtUs: Number(checkpoint.takenAtUs),
    states: Number(checkpoint.states),
    bytes: Number(checkpoint.bytes),
    stateDigest: Buffer.from(checkpoint.stateDigest).toString('hex'),
    file: checkpoint.file,
  };
}

function showProgress(terminal: Terminal, { path = '', bytes = 0, of = 0 }: News): void {
  const share = of === 0 ? 0 : Math.min(100, Math.floor((bytes / of) * 100));
  terminal.err(`${path}: ${Math.floor(bytes / 2 ** 20)} MiB read, ${share} %\n`);
}

/** Runs the process until it ends; every line is told. Throws when it ends without a word of what is wrong. */
async function runProgram(terminal: Terminal, args: readonly string[], tell: (news: News) => void): Promise<void> {
  const env = Object.fromEntries(Object.entries(terminal.env).filter(([name]) => !name.startsWith('FRESHET_')));
  const child = spawn(process.execPath, [CHECKPOINT_PROGRAM, ...args], {
    env,
    signal: terminal.signal,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = false;
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    err = (err + chunk).slice(-8_192);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  // Looked at only when everything it wrote is read; by then it may have failed long ago.
  ended.catch(() => undefined);
  for await (const line of createInterface({ input: child.stdout })) {
    // Its last line may be half a one.
    if (terminal.signal.aborted) break;
    const news = JSON.parse(line) as News;
    said ||= news.error !== undefined;
    tell(news);
  }
  const code = await ended;
  if (code === 0 || said) return;
  throw failureOf(err, code);
}

/** What the process wrote to its log of what is wrong. */
function failureOf(err: string, code: number | null): FreshetError {
  for (const line of err.trimEnd().split('\n')) {
    try {
      const { message, code: name, remedy = '', place = '' } = JSON.parse(line) as Readonly<Record<string, string>>;
      if (message !== undefined) return errorOf({ code: name ?? 'INVALID_CONFIG', message, remedy, place });
    } catch {
      // Not a log line: a trace of Node's, told below if there is nothing else.
    }
  }
  return new FreshetError('INTERNAL', `looking at checkpoints ended with ${code ?? 'a signal'}: ${err.trim()}`);
}

function errorOf({ code, message, remedy, place }: NonNullable<News['error']>): FreshetError {
  const known = Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'INTERNAL';
  return new FreshetError(known, message, { remedy, place });
}
