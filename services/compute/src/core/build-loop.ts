/**
 * Feeds views that are being built the log from where each of them is, beside the live fold, until they are complete.
 *
 * One that meets a record which it cannot read stands there: reading that again could only skip what of it was folded.
 *
 * Owns the second reading of the log and its pace: small slices with a turn for everything else in between, so that the
 * live fold stays fresh while old records are folded. All builds of a shard share one reading. A view whose records were
 * trimmed cannot be built: that is told, its route is asked for anew (ask-generations.ts), and nothing else is held up
 * by it.
 */
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import type { Shard } from './shard.ts';

/** Records between two turns of other work: about 2 ms. */
const STEP_RECORDS = 256;

/** Runs until the signal aborts. */
export async function runBuilds(shard: Shard, signal: AbortSignal): Promise<void> {
  const { clock, logger, storage, onLostBuilds } = shard.options;
  const forget = shard.buildWanted.onAbort(signal);
  try {
    while (!signal.aborted) {
      const trimmed = await beyondReach(shard, signal);
      for (const viewId of trimmed) shard.restartBuild(viewId);
      const broken = new Map(shard.fold.builds().flatMap(({ viewId, broken: why }) => (why ? [[viewId, why]] : [])));
      const lost = new Set([...trimmed, ...broken.keys()]);
      shard.lostBuilds = [...lost];
      onLostBuilds?.(lost.size === 0 ? undefined : cannotBuild(shard.shard, lost, [...broken.values()][0]));
      if (earliest(shard, lost) === undefined) {
        await shard.buildWanted.wait();
        continue;
      }
      await retry((healthy) => build(shard, lost, signal, healthy), {
        what: `building views of shard ${shard.shard}`,
        signal,
        clock,
        random: shard.options.random,
        log: logger,
        retryable: (error) => {
          if (storage.damage !== undefined) return false;
          if (error.code === 'DATA_DAMAGED') return true;
          // As live-loop.ts: what a disk broke is no reason to read a source anew.
          return shard.fold.broken === undefined && (error.retryable || isAbort(error));
        },
      }).catch((error: unknown) => {
        // Trimmed while it was read: what can still be built is decided anew.
        if (!isFreshetError(error, 'OFFSET_OUT_OF_RANGE')) throw error;
      });
    }
  } finally {
    forget();
  }
}

/** The builds that need records that the log no longer has. */
async function beyondReach(shard: Shard, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const builds = shard.fold.builds();
  if (builds.length === 0) return new Set();
  const { log, clock, logger, random } = shard.options;
  const { partitions } = await retry(() => log.describe(signal), {
    what: `asking how far back partition ${shard.shard} reaches`,
    signal,
    clock,
    random,
    log: logger,
  });
  const start = partitions[shard.shard]?.start ?? 0;
  return new Set(builds.flatMap(({ viewId, position }) => (position < start ? [viewId] : [])));
}

function cannotBuild(shard: number, lost: ReadonlySet<string>, broken: string | undefined): FreshetError {
  const views = [...lost].sort().join(', ');
  const why = broken ?? 'the log no longer has the records that they begin with';
  return new FreshetError(
    broken === undefined ? 'OFFSET_OUT_OF_RANGE' : 'DATA_DAMAGED',
    `shard ${shard} cannot build ${lost.size} new view(s): ${why}`,
    {
      place: `views ${views}`,
      remedy:
        'nothing, if ingest can be reached: it is asked to read their sources anew, and the views are made of that; else ' +
        'start it with --resync <database>=<a word not used before>',
    },
  );
}

/** One reading from the earliest build's position; returns when no build needs it any more. */
async function build(shard: Shard, lost: ReadonlySet<string>, signal: AbortSignal, healthy: () => void): Promise<void> {
  const { log, yieldNow } = shard.options;
  const start = earliest(shard, lost);
  if (start === undefined) return;
  const reading = new AbortController();
  const stop = (): void => reading.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const { entries } of log.read(shard.shard, start, reading.signal)) {
      healthy();
      for (let from = 0; from < entries.length; from += STEP_RECORDS) {
        await feed(shard, entries.slice(from, from + STEP_RECORDS), signal);
        await yieldNow();
        if (signal.aborted) return;
      }
      if (shard.fold.builds().some(({ viewId, broken }) => broken !== undefined && !lost.has(viewId))) return;
      const next = earliest(shard, lost);
      // A build that began meanwhile needs older records than this reading still brings.
      if (next === undefined || next < (entries.at(-1)?.offset ?? start) + 1) return;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    reading.abort();
  }
  if (!signal.aborted) throw new FreshetError('UNAVAILABLE', 'the log ended the reading');
}

/** Gives some consecutive records to each build that needs them. */
async function feed(shard: Shard, entries: readonly LogEntry[], signal: AbortSignal): Promise<void> {
  const first = entries[0]?.offset ?? 0;
  // Where the live fold is, a build is complete, even if this reading is ahead of it.
  const end = Math.min(first + entries.length, shard.position);
  /** Where among the records a build is that needs some of them. */
  const placeOf = (viewId: string): number | undefined => {
    const build = shard.fold.builds().find((one) => one.viewId === viewId);
    if (build === undefined || build.broken !== undefined || signal.aborted) return undefined;
    return build.position >= first && build.position < end ? build.position - first : undefined;
  };
  for (const { viewId } of shard.fold.builds()) {
    for (let place = placeOf(viewId); place !== undefined; place = placeOf(viewId)) {
      shard.foldBuild(viewId, entries.slice(place, end - first));
      // It stopped before a record that needs more than a slice (Fold.foldSome): the others have their turn first.
      if (placeOf(viewId) !== undefined) await shard.options.yieldNow();
    }
  }
  shard.publish();
  await shard.waitForRoom(signal);
}

function earliest(shard: Shard, lost: ReadonlySet<string>): number | undefined {
  let least: number | undefined;
  for (const { viewId, position } of shard.fold.builds()) {
    if (!lost.has(viewId)) least = Math.min(least ?? position, position);
  }
  return least;
}
