/**
 * Who reads which service, as serve nodes tell with their announcements: the end of the lineage.
 *
 * Owns the counts and their bounds, and that a report is added once: a run of a node numbers its own, and one that comes
 * again under its number was added, whatever others of the node's id told in between. Kept over restarts, but not synced with
 * each report: a registry that is killed loses what came since the last save,
 * `SAVE_US` at most. Does not own who a reader is: programs name themselves, and nobody checks it.
 *
 * Limits: `READERS_MAX` pairs of service and reader, policy: a new one counts as OTHER of its service, of as
 * many services again; a pair that did not read
 * for `FORGET_US` is forgotten; the last reports of `RUNS_MAX` runs, policy: the one that told longest ago is forgotten.
 */
import { create } from '@bufbuild/protobuf';
import type { ServiceReads } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type StoredReader,
  StoredReaderSchema,
  type StoredReaders,
  StoredReadersSchema,
} from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { compareStrings } from '@freshet/values/compare.ts';

/** Keeps the readers over restarts. */
export interface ReaderStore {
  loadReaders(): Promise<StoredReaders | undefined>;
  saveReaders(readers: StoredReaders): Promise<void>;
}

/** Readers that are not counted by themselves; serve nodes say so too. */
export const OTHER_READERS = '(other)';
const READERS_MAX = 2_000;
const RUNS_MAX = 10_000;
const FORGET_US = 90n * 86_400_000_000n;
const SAVE_US = 10_000_000;

export interface ReaderBookOptions {
  readonly store: ReaderStore;
  readonly clock: Pick<Clock, 'nowUs' | 'monotonicUs'>;
  readonly log: Logger;
}

/** A report of a run of a node. */
export interface ReadReport {
  readonly nodeId: string;
  readonly run: string;
  readonly number: bigint;
  readonly reads: readonly ServiceReads[];
}

/** The newest report of a run of a node. */
type Told = Omit<ReadReport, 'reads'>;

/** Two nodes may have one id, for a while or by mistake: their runs do not. */
function runKey({ nodeId, run }: Pick<Told, 'nodeId' | 'run'>): string {
  return JSON.stringify([nodeId, run]);
}

export class ReaderBook {
  readonly #options: ReaderBookOptions;
  readonly #readers = new Map<string, Map<string, StoredReader>>();
  #pairs = 0;
  /** By runKey(). */
  readonly #told = new Map<string, Told>();
  #isDirty = false;
  #savedUs: number;
  #saving: Promise<void> | undefined;

  private constructor(options: ReaderBookOptions, stored: StoredReaders | undefined) {
    this.#options = options;
    this.#savedUs = options.clock.monotonicUs();
    for (const reader of stored?.readers ?? []) this.#put(reader);
    for (const { nodeId, run, number } of stored?.told ?? [])
      this.#told.set(runKey({ nodeId, run }), { nodeId, run, number });
  }

  /** Who read is no reason not to start: what cannot be read is told, and counted anew. */
  static async open(options: ReaderBookOptions): Promise<ReaderBook> {
    const stored = await options.store.loadReaders().catch((error: unknown) => {
      options.log.warn('who read which service cannot be read; it is counted anew', { error });
      return undefined;
    });
    return new ReaderBook(options, stored);
  }

  /** Adds a report, unless it was added. */
  note({ nodeId, run, number, reads }: ReadReport): void {
    const key = runKey({ nodeId, run });
    if (number === 0n || (this.#told.get(key)?.number ?? 0n) >= number) return;
    // The newest last, so that the first is the one that told longest ago.
    this.#told.delete(key);
    this.#told.set(key, { nodeId, run, number });
    if (this.#told.size > RUNS_MAX) for (const first of this.#told.keys()) if (this.#told.delete(first)) break;
    for (const { service, reader, reads: count, lastUs } of reads) this.#add(service, reader, count, lastUs);
    this.#isDirty ||= reads.length > 0;
    if (this.#isDirty && this.#options.clock.monotonicUs() - this.#savedUs >= SAVE_US) this.#save();
  }

  /** The readers of a service, by name. */
  of(service: string): StoredReader[] {
    return [...(this.#readers.get(service)?.values() ?? [])].sort((a, b) => compareStrings(a.reader, b.reader));
  }

  /** What a reader reads, by service. */
  by(reader: string): StoredReader[] {
    const reads = [...this.#readers.values()].flatMap((readers) => readers.get(reader) ?? []);
    return reads.sort((a, b) => compareStrings(a.service, b.service));
  }

  /** All names. */
  get names(): string[] {
    return [...new Set([...this.#readers.values()].flatMap((readers) => [...readers.keys()]))].sort(compareStrings);
  }

  /** Resolves when everything that was told is kept, or could not be. */
  async settle(): Promise<void> {
    await this.#saving;
    if (!this.#isDirty) return;
    this.#save();
    await this.#saving;
  }

  #add(service: string, reader: string, reads: bigint, lastUs: bigint): void {
    const known = this.#readers.get(service)?.get(reader) ?? this.#newReader(service, reader);
    if (known === undefined) return;
    known.reads += reads;
    // A node whose clock leads would keep its readers for ever.
    const nowUs = BigInt(this.#options.clock.nowUs());
    const us = lastUs < nowUs ? lastUs : nowUs;
    if (us > known.lastUs) known.lastUs = us;
  }

  #newReader(service: string, reader: string): StoredReader | undefined {
    if (this.#pairs >= READERS_MAX) this.#forget();
    const name = this.#pairs < READERS_MAX ? reader : OTHER_READERS;
    const known = this.#readers.get(service)?.get(name);
    // Another service's others have room still; without a bound of their own there would be none.
    if (known !== undefined || this.#pairs >= 2 * READERS_MAX) return known;
    return this.#put(create(StoredReaderSchema, { service, reader: name }));
  }

  #put(reader: StoredReader): StoredReader {
    const readers = this.#readers.get(reader.service) ?? new Map<string, StoredReader>();
    this.#readers.set(reader.service, readers.set(reader.reader, reader));
    this.#pairs += 1;
    return reader;
  }

  #forget(): void {
    const before = BigInt(this.#options.clock.nowUs()) - FORGET_US;
    for (const [service, readers] of this.#readers) {
      for (const [name, { lastUs }] of readers) {
        if (lastUs < before && readers.delete(name)) this.#pairs -= 1;
      }
      if (readers.size === 0) this.#readers.delete(service);
    }
  }

  #save(): void {
    if (this.#saving !== undefined) return;
    this.#forget();
    this.#isDirty = false;
    this.#savedUs = this.#options.clock.monotonicUs();
    const readers = [...this.#readers.values()].flatMap((of) => [...of.values()]);
    const told = [...this.#told.values()];
    this.#saving = this.#options.store
      .saveReaders(create(StoredReadersSchema, { readers, told }))
      .catch((error: unknown) => {
        this.#isDirty = true;
        this.#options.log.warn('who read which service cannot be kept now; it is tried again', { error });
      })
      .finally(() => {
        this.#saving = undefined;
      });
  }
}
