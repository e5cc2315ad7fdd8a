/**
 * One life of a shard: its store is opened, filled from a checkpoint if it holds nothing, folded on and kept up until the
 * signal aborts or something ends it; then it is closed, and the life's end is the host's to judge (shard-host.ts).
 *
 *     open ──holds nothing, there is a checkpoint of this log──▶ restore, newest first ──▶ open again
 *       │                                                                                     │
 *       └────────────────────────▶ loops: live, builds, commits, upkeep ◀─────────────────────┘
 *
 * Owns that order. Invariants: R3 (a checkpoint of another log, or of another history of it, is never restored when the
 * log can be asked); a life that ends orderly commits once more.
 */
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { CheckpointInfo, ShardCheckpoints } from './checkpoint.ts';
import { readHead } from './read-head.ts';
import { runLoops } from './run-loops.ts';
import { Shard, type ShardOptions } from './shard.ts';
import type { Commit, ShardStorage } from './shard-storage.ts';
import { ShardUpkeep, type UpkeepLimits } from './shard-upkeep.ts';

export interface ShardLifeOptions
  extends Omit<ShardOptions, 'shard' | 'storage' | 'onHealthy' | 'onLogDamage' | 'onLostBuilds' | 'waitForDisk'> {
  readonly openStorage: (shard: number) => Promise<ShardStorage>;
  readonly checkpoints: ShardCheckpoints;
  readonly conditions: ConditionBoard;
  readonly upkeep: UpkeepLimits;
  /** Throws what the disk says when it takes no writes. */
  readonly checkDisk: () => Promise<void>;
  /** A checkpoint was taken. */
  readonly onCheckpoint: () => void;
}

export interface LifeEvents {
  readonly onHealthy: () => void;
  readonly onRestoring: (why: FreshetError) => void;
  readonly onRestored: () => void;
  readonly onRunning: (running: { readonly shard: Shard; readonly upkeep: ShardUpkeep } | undefined) => void;
  readonly onScrubbed: (atUs: number) => void;
}

/** How long the log may take to say whether a checkpoint is of it, in milliseconds. */
const ASK_LOG_MS = 5_000;
/** Between looks at a disk that took no write, in milliseconds. */
const DISK_FIRST_MS = 1_000;
const DISK_MAX_MS = 30_000;

/** Returns when the signal aborts; throws why the shard cannot go on. */
export async function liveOnce(
  number: number,
  signal: AbortSignal,
  options: ShardLifeOptions & LifeEvents,
): Promise<void> {
  const { onRunning, onHealthy, conditions } = options;
  const storage = await openOrRestore(number, signal, options);
  try {
    const origin = storage.committed === undefined ? await logStart(number, signal, options) : 0;
    const shard = new Shard({
      ...options,
      shard: number,
      storage,
      origin,
      onHealthy,
      onLogDamage: (error) => tell(conditions, `shard/${number}/log`, error),
      onLostBuilds: (error) => tell(conditions, `shard/${number}/builds`, error),
      waitForDisk: (error, stop) => waitForDisk(number, error, stop, options),
    });
    const upkeep = new ShardUpkeep(shard, options);
    onRunning({ shard, upkeep });
    try {
      await runLoops(shard, signal, [(_, stop) => upkeep.run(stop)]);
      if (shard.needsCommit(true)) await shard.commit();
    } finally {
      onRunning(undefined);
      upkeep.end();
      shard.fail(new FreshetError('UNAVAILABLE', `shard ${number} is restarting`));
      conditions.clear(`shard/${number}/disk`);
      conditions.clear(`shard/${number}/log`);
    }
  } finally {
    await storage.close();
  }
}

function tell(conditions: ConditionBoard, id: string, error: FreshetError | undefined): void {
  if (error === undefined) conditions.clear(id);
  else {
    const { code, message, remedy, place } = error;
    conditions.raise(id, { code, message, remedy, place }, 'problem');
  }
}

async function openOrRestore(
  number: number,
  signal: AbortSignal,
  options: ShardLifeOptions & LifeEvents,
): Promise<ShardStorage> {
  const { openStorage, checkpoints } = options;
  const storage = await openStorage(number);
  const { committed } = storage;
  if (committed === undefined ? checkpoints.list.length === 0 : !(await isBehind(number, committed, signal, options)))
    return storage;
  await storage.close();
  if (committed !== undefined) throw behind(number, committed.position);
  await restoreNewest(number, signal, options);
  return openStorage(number);
}

/**
 * Whether a store is behind a checkpoint that was made of it: commits are not synced, so the power may take some away, and
 * the log may be trimmed up to the checkpoint (L2).
 */
async function isBehind(
  number: number,
  committed: Commit,
  signal: AbortSignal,
  options: ShardLifeOptions,
): Promise<boolean> {
  const ahead = options.checkpoints.list.find(
    ({ logId, position }) => logId === committed.logId && position > committed.position,
  );
  return ahead !== undefined && (await isOfLog(number, ahead, signal, options));
}

function behind(shard: number, position: number): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the store of shard ${shard} is at ${position}, behind its own checkpoint`, {
    remedy: 'nothing needs to be done: a power cut took its newest commits, and the checkpoint is restored',
  });
}

/** Restores the newest checkpoint that is of this log and right; nothing when there is none. */
async function restoreNewest(
  number: number,
  signal: AbortSignal,
  options: ShardLifeOptions & LifeEvents,
): Promise<void> {
  const { checkpoints, conditions, logger, clock, onRestoring, onRestored } = options;
  for (const info of [...checkpoints.list]) {
    if (!(await isOfLog(number, info, signal, options))) {
      logger.warn('a checkpoint is of another log or history, and is not restored', { shard: number, file: info.file });
      continue;
    }
    const what = `shard ${number} is being restored from its checkpoint at ${info.position}`;
    onRestoring(new FreshetError('UNAVAILABLE', what));
    const id = `shard/${number}/restoring`;
    conditions.raise(id, { code: 'UNAVAILABLE', message: what }, 'warning');
    const beganUs = clock.monotonicUs();
    try {
      await checkpoints.restore(info, signal);
      const seconds = (clock.monotonicUs() - beganUs) / 1_000_000;
      logger.info('restored a shard', { shard: number, position: info.position, states: info.states, seconds });
      onRestored();
      return;
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED') || checkpoints.list.includes(info)) throw error;
      const { code, message, remedy, place } = error;
      conditions.raise(`shard/${number}/checkpoint`, { code, message, remedy, place }, 'warning');
    } finally {
      conditions.clear(id);
    }
  }
}

/** Where the log of a shard that holds nothing begins. A log that does not answer is taken to be whole; folding tells. */
async function logStart(number: number, signal: AbortSignal, options: ShardLifeOptions): Promise<number> {
  return (
    (await askLog(signal, options, async (asking) => (await options.log.describe(asking)).partitions[number]?.start)) ??
    0
  );
}

/** Asks the log something, for as long as it may take; undefined when it does not answer. */
async function askLog<T>(
  signal: AbortSignal,
  { clock }: Pick<ShardLifeOptions, 'clock'>,
  what: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const asking = new AbortController();
  const stop = (): void => asking.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  clock.sleep(ASK_LOG_MS, asking.signal).then(stop, () => undefined);
  try {
    return await what(asking.signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!isFreshetError(error) && !asking.signal.aborted) throw error;
    return undefined;
  } finally {
    signal.removeEventListener('abort', stop);
    asking.abort();
  }
}

/**
 * Whether the log has the history that a checkpoint was folded from. A log that does not answer is taken to have it: if
 * it turns out otherwise the state is put aside, and asked about again. One of another history is forgotten.
 */
async function isOfLog(
  number: number,
  info: CheckpointInfo,
  signal: AbortSignal,
  { log, clock, checkpoints }: Pick<ShardLifeOptions, 'log' | 'clock' | 'checkpoints'>,
): Promise<boolean> {
  const answer = await askLog(signal, { clock }, async (asking) => {
    const { logId, partitions } = await log.describe(asking);
    if (logId !== info.logId) return 'another log';
    const { start, end } = partitions[number] ?? { start: 0, end: 0 };
    // What it could be folded on with is gone.
    if (info.position < start) return 'of no use';
    if (info.position === 0) return 'of it';
    const there = info.position > end ? 'beyond' : await readHead(log, number, info.position, asking);
    return there === undefined || (there !== 'beyond' && there.recordCrc === info.recordCrc) ? 'of it' : 'of no use';
  });
  // L2: the log is not to be kept from there on only, as if this could ever be folded on from.
  if (answer === 'of no use') await checkpoints.forget(info);
  return answer === undefined || answer === 'of it';
}

/**
 * Waits until the disk takes writes. Meanwhile the shard is served and folds on as far as memory allows; afterwards it goes
 * back to its last commit, because what lies on the disk after a failed write is known only once the store was opened anew.
 */
async function waitForDisk(
  number: number,
  error: FreshetError,
  signal: AbortSignal,
  { conditions, clock, checkDisk }: ShardLifeOptions,
): Promise<void> {
  const { code, message, remedy, place } = error;
  const id = `shard/${number}/disk`;
  const text = `shard ${number} cannot be written: ${message}; it is served from memory, and its last commit is kept`;
  conditions.raise(id, { code, message: text, remedy, place }, 'problem');
  for (let waitMs = DISK_FIRST_MS; ; waitMs = Math.min(DISK_MAX_MS, waitMs * 2)) {
    await clock.sleep(waitMs, signal);
    try {
      await checkDisk();
      return;
    } catch (still) {
      if (!isFreshetError(still)) throw still;
      conditions.raise(id, { code: still.code, message: text, remedy: still.remedy, place: still.place }, 'problem');
    }
  }
}
