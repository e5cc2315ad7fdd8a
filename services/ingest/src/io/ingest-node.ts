/**
 * What keeps the definitions, the log and the sources in step.
 *
 *     new definitions ──▶ saved ──▶ appended to every partition ──▶ told to the sources, which never stop for them
 *
 * So a record of a contract's version comes after the definitions that carry the contract, and a route's beginning
 * after the definitions that made the route. What a source brings until it has changed over comes behind them: records name
 * their route and contract, a number stands for one route for good, and a fold reads each by the contract that it names
 * (ContractBook). A partition that was trimmed past them gets them again, at its end: a shard that
 * lost its state and begins where the log does learns from them what to ask for; a fold that has them passes over them. The last definitions are kept on disk: the node starts without a registry.
 *
 * Owns the order of these steps. Does not own the files (node-files.ts), following the registry (main wires that) or
 * capturing.
 */
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import type { Log } from '@freshet/log/log.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { addContracts, type ContractHistory } from '../core/contract-history.ts';
import { endsOf, logLoss } from '../core/log-loss.ts';
import { NodeFiles, type Written } from './node-files.ts';

/** A source as the node drives it. */
export interface Source {
  readonly name: string;
  /**
   * Captures until the signal; `contracts` are those that the log knows, the definitions' among them. When it has returned,
   * nothing of it can come to the log any more.
   */
  run(definitions: DefinitionSet, contracts: ContractHistory, signal: AbortSignal): Promise<void>;
  /** Captures by other definitions from now on. */
  update(definitions: DefinitionSet, contracts: ContractHistory): void;
  /** Whether the database's clock agreed with ours since the process started. */
  readonly clockAgreed: boolean;
  /** Compares the clocks. Throws CLOCK_JUMP when they are far apart, or why the database cannot be asked. */
  compareClocks(signal: AbortSignal): Promise<void>;
}

export interface IngestNodeOptions {
  readonly directory: string;
  readonly files: FileSystem;
  readonly log: Pick<Log, 'append' | 'describe' | 'logId' | 'partitionCount'>;
  readonly sources: readonly Source[];
  readonly clock: Clock;
  /** A number in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly logger: Logger;
  readonly conditions: ConditionBoard;
}

/** How often it is looked whether every partition still has the definitions. */
const KEEP_MS = 10_000;
/** What somebody can mend at a database or a clock while we wait to write definitions. */
const MENDABLE = ['CLOCK_JUMP', 'SOURCE_NOT_READY'] as const;

export class IngestNode {
  readonly #options: IngestNodeOptions;
  readonly #files: NodeFiles;
  #current: DefinitionSet | undefined;
  #written: bigint;
  #contracts: ContractHistory;
  /** Where in each partition the definitions are. */
  #offsets: readonly number[];
  #changed: (() => void) | undefined;

  private constructor(
    options: IngestNodeOptions,
    files: NodeFiles,
    current: DefinitionSet | undefined,
    written: Written | undefined,
  ) {
    this.#options = options;
    this.#files = files;
    this.#current = current;
    this.#written = written?.generation ?? 0n;
    this.#contracts = written?.contracts ?? new Map();
    this.#offsets = written?.offsets ?? [];
  }

  /** Loads what was in force when the node last ran. */
  static async open(options: IngestNodeOptions): Promise<IngestNode> {
    const files = new NodeFiles(options.files, options.directory, options.logger);
    const opened = options.log.describe();
    const definitions = await files.definitions();
    const written = await files.written();
    if (written?.logId !== options.log.logId) return new IngestNode(options, files, definitions, undefined);
    const lost = logLoss(written.logEnds, endsOf((await opened).partitions));
    if (lost === '') return new IngestNode(options, files, definitions, written);
    // Whether the definitions are still in it nobody knows: written again they do no harm.
    options.logger.error(`the log lost records that were durable: ${lost}`, { logId: options.log.logId });
    return new IngestNode(options, files, definitions, undefined);
  }

  /** The generation of the definitions in force here; 0: none. */
  get generation(): bigint {
    return this.#current?.generation ?? 0n;
  }

  /** The definitions in force here. */
  get definitions(): DefinitionSet | undefined {
    return this.#current;
  }

  /** The databases that the definitions in force name. */
  get databases(): readonly string[] {
    return databasesOf(this.#current);
  }

  /** The database that a route of the definitions in force is captured from; undefined: there is no such route. */
  databaseOf(route: number): string | undefined {
    const origin = this.#current?.routes.find((plan) => plan.route === route)?.source?.origin;
    return origin?.case === 'postgres' ? origin.value.database : undefined;
  }

  /** The generation last written to the log. */
  get writtenGeneration(): bigint {
    return this.#written;
  }

  /**
   * Puts definitions in force; resolves when they are saved, for which a full disk is waited for. Older ones than those in
   * force are passed over. Throws the signal's reason when it ends the waiting.
   */
  async apply(definitions: DefinitionSet, signal: AbortSignal = new AbortController().signal): Promise<void> {
    if (definitions.generation <= this.generation) return;
    await this.#whenPossible('saving definitions', () => this.#files.saveDefinitions(definitions), signal);
    this.#current = definitions;
    this.#changed?.();
  }

  /** Captures until the signal, by whichever definitions are in force. Throws when a source or the log fails for good. */
  async run(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    const works: Promise<void>[] = [];
    try {
      while (!until.aborted) await this.#enforce(works, until, over);
    } finally {
      this.#changed = undefined;
      over.abort(new DOMException('the node stops', 'AbortError'));
      await Promise.allSettled(works);
    }
    await Promise.all(works);
  }

  /** Brings the definitions of now into force, and keeps them in the log until there are others. Begins the sources' works, once. */
  async #enforce(works: Promise<void>[], until: AbortSignal, over: AbortController): Promise<void> {
    const { sources } = this.#options;
    const definitions = this.#current;
    const changed = new AbortController();
    this.#changed = () => changed.abort(new DOMException('the definitions changed', 'AbortError'));
    const turn = AbortSignal.any([until, changed.signal]);
    if (definitions === undefined || !(await this.#areWritten(definitions, turn))) {
      await aborted(turn);
      return;
    }
    const contracts = this.#contracts;
    if (works.length > 0) {
      for (const source of sources) source.update(definitions, contracts);
    } else {
      for (const source of sources) {
        const work = source.run(definitions, contracts, until);
        // One that throws ends all, in order; run() tells of it.
        work.catch((error: unknown) => over.abort(error));
        works.push(work);
      }
    }
    await this.#keepWritten(definitions, turn);
  }

  /** Whether the definitions are in the log; not when the signal ended the waiting for that. */
  async #areWritten(definitions: DefinitionSet, signal: AbortSignal): Promise<boolean> {
    const { sources, logger } = this.#options;
    try {
      const write = (): Promise<void> => this.#write(definitions, signal);
      await this.#whenPossible('writing definitions to the log', write, signal);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
    const known = new Set(sources.map(({ name }) => name));
    for (const database of databasesOf(definitions)) {
      if (!known.has(database)) {
        const { message, remedy } = notConfigured(database);
        logger.error(message, { remedy });
      }
    }
    return true;
  }

  /** Writes the definitions to every partition that lacks them. Doing it twice after a crash is harmless. */
  async #write(definitions: DefinitionSet, signal: AbortSignal): Promise<void> {
    const { log, logger } = this.#options;
    const isNew = definitions.generation > this.#written;
    const before = await log.describe();
    const lacking = before.partitions.flatMap(({ start }, partition) =>
      isNew || start > (this.#offsets[partition] ?? -1) ? [partition] : [],
    );
    if (lacking.length === 0) return;
    await this.#agreeClocks(signal);
    const record = encodeRecord({ case: 'definitions', value: definitions });
    const offsets = before.partitions.map((_, partition) => this.#offsets[partition] ?? -1);
    await Promise.all(
      lacking.map(async (partition) => {
        offsets[partition] = (await log.append(partition, [record])).firstOffset;
      }),
    );
    const contracts = addContracts(this.#contracts, definitions);
    const logEnds = endsOf((await log.describe()).partitions);
    await this.#files.saveWritten({
      logId: log.logId,
      generation: definitions.generation,
      contracts,
      logEnds,
      offsets,
    });
    this.#written = definitions.generation;
    this.#contracts = contracts;
    this.#offsets = offsets;
    if (!isNew) return logger.info('definitions written again, where the log was trimmed past them', { lacking });
    logger.info('definitions written to the log', {
      generation: definitions.generation,
      routes: definitions.routes.length,
    });
  }

  /** Looks again and again whether a partition was trimmed past the definitions, until the signal. */
  async #keepWritten(definitions: DefinitionSet, signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#options.clock.sleep(KEEP_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#whenPossible('keeping definitions in the log', () => this.#write(definitions, signal), signal);
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
    }
  }

  /**
   * Nothing is stamped with a log time before our clock was compared with that of one database, as with ticks: a clock that is
   * far ahead after a restart would put the log's time there for good.
   */
  async #agreeClocks(signal: AbortSignal): Promise<void> {
    const { sources } = this.#options;
    if (sources.length === 0 || sources.some(({ clockAgreed }) => clockAgreed)) return;
    const compared = await Promise.allSettled(sources.map((source) => source.compareClocks(signal)));
    const failures = compared.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    if (failures.length === compared.length)
      throw failures.find((error) => isFreshetError(error, 'CLOCK_JUMP')) ?? failures[0];
  }

  /** Does it until it has worked: what may be better later, a full disk, is waited for. Throws the signal's reason. */
  async #whenPossible(what: string, work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random, logger, conditions } = this.#options;
    const attempt = (): Promise<void> =>
      work().catch((error: unknown) => {
        if (isFreshetError(error)) conditions.raise('definitions', error);
        throw error;
      });
    const retryable = (error: FreshetError): boolean => error.retryable || isFreshetError(error, ...MENDABLE);
    await retry(attempt, { what, signal, clock, random, log: logger, retryable });
    conditions.clear('definitions');
  }
}

function databasesOf(definitions: DefinitionSet | undefined): string[] {
  const names = (definitions?.routes ?? []).flatMap(({ source }) =>
    source?.origin.case === 'postgres' ? [source.origin.value.database] : [],
  );
  return [...new Set(names)];
}

/** What to say of a database that definitions name and nobody configured. */
export function notConfigured(database: string): FreshetError {
  return new FreshetError('SOURCE_NOT_READY', `database ${database} is not configured at this ingest node`, {
    remedy: `Start ingest with --postgres ${database}=postgres://user:password@host:5432/database`,
    place: `database ${database}`,
  });
}
