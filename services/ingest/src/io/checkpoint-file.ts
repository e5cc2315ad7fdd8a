/**
 * Keeps the checkpoint book (core/checkpoint-book.ts) in a sealed file. A node is told only what is durable.
 *
 * Owns the file and the order of its writes, and the count of everybody's silence. A damaged one is set aside: nothing
 * then is allowed away of a shard until somebody who holds it has told of its checkpoint again. What a power cut takes back of
 * it was told to nobody (the process was killed before), so that who told of it tells it again; until then the log may be kept longer.
 */
import { dirname } from 'node:path';
import type { Clock } from '@freshet/kit/clock.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { CheckpointBook, type NodeCheckpoints } from '../core/checkpoint-book.ts';
import { onDisk } from './on-disk.ts';
import { setAside } from './set-aside.ts';

export interface CheckpointFileOptions {
  readonly files: FileSystem;
  readonly path: string;
  /** The log that the checkpoints are of, 16 bytes in hex; a book of another log is not taken up. */
  readonly logId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whoever was silent for longer no longer holds the log back, microseconds. */
  readonly nodeTimeoutUs: number;
}

interface BookJson {
  readonly logId: string;
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly silentUs: number;
    readonly offsets: readonly (readonly [shard: number, offset: number])[];
  }[];
}

export class CheckpointFile {
  readonly #options: CheckpointFileOptions;
  #book: CheckpointBook;
  #countedUs: number;
  #saving: Promise<unknown> = Promise.resolve();
  /** Told once, of those who were forgotten last; for whoever shows it. */
  readonly #forgotten: NodeCheckpoints[] = [];

  private constructor(options: CheckpointFileOptions, book: CheckpointBook) {
    this.#options = options;
    this.#book = book;
    this.#countedUs = options.clock.monotonicUs();
  }

  static async open(options: CheckpointFileOptions): Promise<CheckpointFile> {
    const { files, path, logId, logger } = options;
    const bytes = await onDisk(path, () => readIfThere(files, path));
    if (bytes === undefined) return new CheckpointFile(options, new CheckpointBook());
    try {
      const json = openSealedJson(bytes, path) as unknown as BookJson;
      const nodes = json.logId === logId ? json.nodes : [];
      return new CheckpointFile(
        options,
        new CheckpointBook(nodes.map((node) => ({ ...node, offsets: new Map(node.offsets) }))),
      );
    } catch (error) {
      const keptAt = await onDisk(path, () => setAside(files, path));
      logger.error('what is known of checkpoints is damaged; nodes will tell again', { error, keptAt });
      return new CheckpointFile(options, new CheckpointBook());
    }
  }

  get nodes(): readonly NodeCheckpoints[] {
    return this.#book.nodes;
  }

  /** As CheckpointBook.allowedBelow; what was forgotten or told counts as soon as it is in memory. */
  allowedBelow(partition: number): number | undefined {
    return this.#book.allowedBelow(partition);
  }

  /** Resolves when it is durable. Throws LIMIT_EXCEEDED, and what the disk refuses: the node is then to tell again. */
  note(nodeId: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    return this.#inTurn(async () => {
      const book = this.#book.noted(nodeId, offsets);
      await this.#save(book);
      this.#book = book;
    });
  }

  /**
   * Counts the time since the last call, but no more than a few minutes: of a process that stood still (SIGSTOP, a machine
   * that was paused) nobody could be heard. Whoever was silent for too long is forgotten, loudly.
   */
  count(): Promise<void> {
    return this.#inTurn(async () => {
      const { clock, nodeTimeoutUs, logger } = this.#options;
      const nowUs = clock.monotonicUs();
      const elapsedUs = Math.min(nowUs - this.#countedUs, COUNT_US_MAX);
      const { book, forgotten } = this.#book.elapsed(elapsedUs, nodeTimeoutUs);
      if (book.nodes.length > 0 || forgotten.length > 0) await this.#save(book);
      this.#countedUs = nowUs;
      this.#book = book;
      for (const node of forgotten) {
        this.#forgotten.unshift(node);
        logger.warn('a compute node no longer holds the log back: nothing was heard of it for long', {
          node: node.nodeId,
          silentHours: Math.round(node.silentUs / 3_600_000_000),
          offsets: Object.fromEntries(node.offsets),
          remedy:
            'if it comes back and the log no longer reaches back to its checkpoint, it copies its shards from a peer or starts anew',
        });
      }
      this.#forgotten.length = Math.min(this.#forgotten.length, FORGOTTEN_MAX);
    });
  }

  /** Who was forgotten since the start, newest first; FORGOTTEN_MAX at most. Whoever has told again is not among them. */
  get forgotten(): readonly NodeCheckpoints[] {
    const known = new Set(this.#book.nodes.map(({ nodeId }) => nodeId));
    return this.#forgotten.filter(({ nodeId }) => !known.has(nodeId));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#saving.then(work);
    this.#saving = turn.catch(() => undefined);
    return turn;
  }

  #save(book: CheckpointBook): Promise<void> {
    const { files, path, logId } = this.#options;
    const json: BookJson = { logId, nodes: book.nodes.map((node) => ({ ...node, offsets: [...node.offsets] })) };
    return onDisk(path, async () => {
      await files.makeDirectory(dirname(path));
      await replaceFile(files, path, sealJson({ ...json }));
    });
  }
}

const FORGOTTEN_MAX = 16;
/** What one count counts at most; it is made once a minute. */
const COUNT_US_MAX = 300_000_000;
