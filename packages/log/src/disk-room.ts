/**
 * Whether the disk takes more: the state between "all is well" and "halted".
 *
 * Owns the reserve (so many bytes stay free, so that the machine's other writers, and the log's own trimming, survive a
 * log that grows) and the refusal after a commit failed for want of room or of file handles. A refusal holds for a
 * moment, by the monotonic clock, in which every append is refused without trying: so none that was made before the
 * caller could know of the first overtakes it. Then the next append tries again; nothing else is needed to resume.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { FileSystem } from './file-system.ts';
import { size } from './retention.ts';

/** How long a refusal holds, and how old an answer of the disk may be. */
const LOOK_US = 100_000;
/** How much may be written on the strength of one answer. */
const LOOK_BYTES = 8 * 1024 * 1024;

export interface DiskRoomOptions {
  readonly files: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  /** What must stay free, in bytes. 0: nothing. */
  readonly minFreeBytes: number;
}

export class DiskRoom {
  readonly #options: DiskRoomOptions;
  #refusal: FreshetError | undefined;
  #refusedUntilUs = 0;
  #lookedUs = -Infinity;
  #writtenBytes = 0;

  constructor(options: DiskRoomOptions) {
    this.#options = options;
  }

  /** Why appends are refused, until one has gone through again: DISK_FULL, TOO_MANY_OPEN_FILES. */
  get refusal(): FreshetError | undefined {
    return this.#refusal;
  }

  /** Throws the refusal while no append is to try. */
  check(): void {
    if (this.#refusal !== undefined && this.#options.clock.monotonicUs() < this.#refusedUntilUs) throw this.#refusal;
  }

  /** As check(), and asks the disk for its room when the last answer is old. Throws DISK_FULL. */
  async look(bytes: number): Promise<void> {
    this.check();
    const { files, directory, clock, minFreeBytes } = this.#options;
    this.#writtenBytes += bytes;
    const nowUs = clock.monotonicUs();
    if (minFreeBytes === 0) return;
    if (nowUs - this.#lookedUs < LOOK_US && this.#writtenBytes < LOOK_BYTES) return;
    let freeBytes: number;
    try {
      freeBytes = await files.freeBytes(directory);
    } catch {
      return; // A disk that cannot tell its room is judged by the write.
    }
    this.#lookedUs = nowUs;
    this.#writtenBytes = bytes;
    if (freeBytes - bytes >= minFreeBytes) return;
    throw this.refuse(
      new FreshetError(
        'DISK_FULL',
        `the disk has ${size(freeBytes)} free, and ${size(minFreeBytes)} are left to its other writers`,
        { place: directory, remedy: 'free some room on it, or let the log keep less; work goes on by itself' },
      ),
    );
  }

  /** Begins a refusal, or prolongs it. */
  refuse(error: FreshetError): FreshetError {
    this.#refusal = error;
    this.#refusedUntilUs = this.#options.clock.monotonicUs() + LOOK_US;
    return error;
  }

  /** A commit went through. */
  taken(): void {
    if (this.#options.clock.monotonicUs() >= this.#refusedUntilUs) this.#refusal = undefined;
  }
}
