/**
 * The nodes that this one last heard of, kept in its data directory: started again while the registry is down, it finds
 * them all the same (static stability).
 *
 * Owns the file. It holds nothing that is nowhere else, so nothing that goes wrong with it stops anybody: what cannot be
 * read is as if there were none, what cannot be written is told in the log. Whoever uses it must stand nodes that are gone.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Node, WatchTopologyResponseSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Logger } from './logger.ts';

export class KnownNodes {
  readonly #directory: string;
  readonly #log: Logger;
  #kept: Buffer | undefined;

  constructor(dataDirectory: string, log: Logger) {
    this.#directory = dataDirectory;
    this.#log = log;
  }

  get #path(): string {
    return join(this.#directory, 'known-nodes.binpb');
  }

  /** Those that were kept last; none when there are none. */
  async load(): Promise<readonly Node[]> {
    try {
      return fromBinary(WatchTopologyResponseSchema, await readFile(this.#path)).nodes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#log.warn('the nodes last heard of cannot be read; the registry will tell them', {
          error,
          place: this.#path,
        });
      return [];
    }
  }

  /** Keeps them, when they are others than before. A topology of nobody is not kept: it helps nobody. */
  async save(nodes: readonly Node[]): Promise<void> {
    const bytes = Buffer.from(
      toBinary(WatchTopologyResponseSchema, create(WatchTopologyResponseSchema, { nodes: [...nodes] })),
    );
    if (nodes.length === 0 || this.#kept?.equals(bytes) === true) return;
    try {
      await mkdir(this.#directory, { recursive: true });
      await writeFile(`${this.#path}.new`, bytes);
      await rename(`${this.#path}.new`, this.#path);
      this.#kept = bytes;
    } catch (error) {
      this.#log.warn('the nodes last heard of cannot be kept', { error, place: this.#path });
    }
  }
}
