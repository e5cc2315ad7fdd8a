/**
 * Keeps a log within its limits: once a minute it asks what checkpoints allow, decides (retention.ts), trims, and says
 * which limit cannot be kept.
 *
 * Owns one loop and what it found last, for the status. Does not own the limits nor the checkpoints. A trim that fails
 * (a disk that fails or is full) is told and tried again a minute later.
 * Invariants: L2 (allowedBelow is asked anew before each decision, and only lowers what is trimmed).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import type { Log } from './log.ts';
import {
  decideRetention,
  type RetainedPartition,
  type RetentionLimits,
  type RetentionOverrun,
  size,
  type Trim,
} from './retention.ts';

const INTERVAL_MS = 60_000;

export interface RetentionKeeperOptions {
  readonly log: Pick<Log, 'partitionCount' | 'segments' | 'trim'>;
  readonly limits: RetentionLimits;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /**
   * The offset below which every node that folds the partition has it in a verified checkpoint; undefined when that is
   * not known, and then nothing of the partition is trimmed.
   */
  readonly allowedBelow: (partition: number) => number | undefined;
  /** Default one minute. */
  readonly intervalMs?: number | undefined;
}

export interface KeptPartition {
  readonly partition: number;
  /** The first offset that is still there. */
  readonly start: number;
  /** The offset that the next record will have. */
  readonly end: number;
  /** What its segments take on the disk, in bytes. */
  readonly bytes: number;
  /** Log time of the newest record of the oldest segment: nothing kept is needed by age before; undefined when empty. */
  readonly oldestLogTimeUs: number | undefined;
  /** As the provider said at the last look. */
  readonly allowedBelow: number | undefined;
}

export interface RetentionState {
  readonly partitions: readonly KeptPartition[];
  /** Limits that could not be kept at the last look. */
  readonly overruns: readonly RetentionOverrun[];
  /** Why the last trim of a partition failed, if it did. */
  readonly fault: FreshetError | undefined;
  /** What was trimmed since the start of the process, in bytes. */
  readonly trimmedBytes: number;
}

export interface RetentionKeeper {
  /** Applies the policy at once and then every interval, until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Applies the policy once. What a disk may do to a trim is in the state, not thrown. */
  apply(): Promise<void>;
  /** Bytes, bounds and times as they are now; overruns and fault as of the last look. */
  readonly state: RetentionState;
}

export function createRetentionKeeper(options: RetentionKeeperOptions): RetentionKeeper {
  return new RetentionKeeperImpl(options);
}

class RetentionKeeperImpl implements RetentionKeeper {
  readonly #options: RetentionKeeperOptions;
  readonly #logger: Logger;
  #overruns: readonly RetentionOverrun[] = [];
  #fault: FreshetError | undefined;
  #trimmedBytes = 0;
  /** Partitions whose last trim failed: their files may still be there though they are no longer the partition's. */
  #unfinished: readonly number[] = [];
  /** What was told and still holds, so that the log of the process has a line for each beginning, not each minute. */
  #told = new Set<string>();

  constructor(options: RetentionKeeperOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  get state(): RetentionState {
    return {
      partitions: this.#retained().map(({ partition, segments, allowedBelow }) => ({
        partition,
        start: segments[0]?.firstOffset ?? 0,
        end: segments.at(-1)?.end ?? 0,
        bytes: bytesOf(segments),
        oldestLogTimeUs: segments[0]?.newestLogTimeUs,
        allowedBelow,
      })),
      overruns: this.#overruns,
      fault: this.#fault,
      trimmedBytes: this.#trimmedBytes,
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.apply();
      try {
        await this.#options.clock.sleep(this.#options.intervalMs ?? INTERVAL_MS, signal);
      } catch (error) {
        if (!signal.aborted && !isAbort(error)) throw error;
      }
    }
  }

  async apply(): Promise<void> {
    const { trims, overruns } = decideRetention(this.#retained(), this.#options.limits);
    let fault: FreshetError | undefined;
    const failed: number[] = [];
    for (const { partition, below } of [...trims, ...this.#resumed(trims)]) {
      try {
        await this.#trim(partition, below);
      } catch (error) {
        failed.push(partition);
        fault ??= trimFault(partition, error);
      }
    }
    this.#unfinished = failed;
    this.#overruns = overruns;
    this.#fault = fault;
    this.#tell(overruns, fault);
  }

  /** Trims to where a partition starts already, which ends what a failed one left, where nothing more is to go. */
  #resumed(trims: readonly Trim[]): Trim[] {
    return this.#unfinished
      .filter((partition) => !trims.some((trim) => trim.partition === partition))
      .map((partition) => ({ partition, below: this.#options.log.segments(partition)[0]?.firstOffset ?? 0 }));
  }

  async #trim(partition: number, below: number): Promise<void> {
    const { log } = this.#options;
    const before = bytesOf(log.segments(partition));
    const start = await log.trim(partition, below);
    const bytes = Math.max(0, before - bytesOf(log.segments(partition)));
    this.#trimmedBytes += bytes;
    this.#logger.info('trimmed', { partition, start, bytes });
  }

  #retained(): RetainedPartition[] {
    const { log, allowedBelow } = this.#options;
    return Array.from({ length: log.partitionCount }, (_, partition) => ({
      partition,
      segments: log.segments(partition),
      allowedBelow: allowedBelow(partition),
    }));
  }

  #tell(overruns: readonly RetentionOverrun[], fault: FreshetError | undefined): void {
    const now = new Set<string>();
    for (const { limit, reason, partition, message, remedy } of overruns) {
      const key = `${limit}/${reason}/${partition}`;
      now.add(key);
      if (!this.#told.has(key)) this.#logger.warn(message, { limit, reason, partition, remedy });
    }
    if (fault !== undefined) {
      now.add('fault');
      if (!this.#told.has('fault')) this.#logger.error('the log could not be trimmed', { error: fault });
    }
    if (this.#told.size > 0 && now.size === 0) {
      const bytes = this.#retained().reduce((sum, { segments }) => sum + bytesOf(segments), 0);
      this.#logger.info('the log is within its limits again', { bytes, size: size(bytes) });
    }
    this.#told = now;
  }
}

function bytesOf(segments: readonly { readonly bytes: number }[]): number {
  return segments.reduce((sum, { bytes }) => sum + bytes, 0);
}

function trimFault(partition: number, error: unknown): FreshetError {
  if (error instanceof FreshetError) return error;
  const place = `partition ${partition}`;
  const known = diskError(error, place);
  if (known !== undefined) return known;
  throw error;
}
