/**
 * What keeps the definitions, the log and the sources in step.
 *
 *     new definitions ──▶ saved ──▶ sources stopped (what they read is durable) ──▶ appended to every partition ──▶ sources
 *                                                                                                                  started
 *
 * So a record of a contract's version comes after the definitions that carry the contract, and a route's beginning
 * after the definitions that made the route. The last definitions are kept on disk: the node starts without a registry.
 *
 * Owns definitions.binpb and node.json. Does not own following the registry (main wires that) or capturing.
 */
import { join } from 'node:path';
import { fromBinary, fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { LogWriter } from '@freshet/log/log.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { addContracts, type ContractHistory } from '../core/contract-history.ts';
import { readIfThere, replaceFile } from './durable-file.ts';

/** A source as the node drives it. */
export interface Source {
  readonly name: string;
  /** Captures until the signal; `contracts` are those that the log knows, the definitions' among them. */
  run(definitions: DefinitionSet, contracts: ContractHistory, signal: AbortSignal): Promise<void>;
}

export interface IngestNodeOptions {
  readonly directory: string;
  readonly log: LogWriter & { readonly logId: string; readonly partitionCount: number };
  readonly sources: readonly Source[];
  readonly logger: Logger;
}

interface NodeJson {
  /** The log that the definitions were written to. */
  readonly logId: string;
  /** The generation last written to all of its partitions. */
  readonly writtenGeneration: string;
  /** The contracts that were written to all of its partitions, newest first. */
  readonly contracts?: readonly { readonly route: number; readonly contracts: readonly JsonValue[] }[];
}

export class IngestNode {
  readonly #options: IngestNodeOptions;
  #current: DefinitionSet | undefined;
  #written: bigint;
  #contracts: ContractHistory;
  #changed: (() => void) | undefined;

  private constructor(options: IngestNodeOptions, current: DefinitionSet | undefined, node: NodeJson | undefined) {
    this.#options = options;
    this.#current = current;
    this.#written = BigInt(node?.writtenGeneration ?? 0);
    this.#contracts = new Map(
      (node?.contracts ?? []).map(({ route, contracts }) => [route, contracts.map((c) => fromJson(ContractSchema, c))]),
    );
  }

  /** Loads what was in force when the node last ran. */
  static async open(options: IngestNodeOptions): Promise<IngestNode> {
    const definitions = await readIfThere(join(options.directory, 'definitions.binpb'));
    const node = await readIfThere(join(options.directory, 'node.json'));
    const json = node === undefined ? undefined : (JSON.parse(node.toString('utf8')) as NodeJson);
    const ofThisLog = json?.logId === options.log.logId ? json : undefined;
    return new IngestNode(options, definitions && fromBinary(DefinitionSetSchema, definitions), ofThisLog);
  }

  /** The generation of the definitions in force here; 0: none. */
  get generation(): bigint {
    return this.#current?.generation ?? 0n;
  }

  /** The databases that the definitions in force name. */
  get databases(): readonly string[] {
    return databasesOf(this.#current);
  }

  /** The generation last written to the log. */
  get writtenGeneration(): bigint {
    return this.#written;
  }

  /** Puts definitions in force; resolves when they are saved. Older ones than those in force are passed over. */
  async apply(definitions: DefinitionSet): Promise<void> {
    if (definitions.generation <= this.generation) return;
    await replaceFile(join(this.#options.directory, 'definitions.binpb'), toBinary(DefinitionSetSchema, definitions));
    this.#current = definitions;
    this.#changed?.();
  }

  /** Captures until the signal, by whichever definitions are in force. Throws when a source or the log fails for good. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const definitions = this.#current;
      const round = new AbortController();
      const end = (): void => round.abort(new DOMException('the definitions changed or the node stops', 'AbortError'));
      signal.addEventListener('abort', end, { once: true });
      this.#changed = end;
      try {
        if (definitions !== undefined) await this.#runRound(definitions, round);
        else await ended(round.signal);
      } finally {
        this.#changed = undefined;
        signal.removeEventListener('abort', end);
      }
    }
  }

  async #runRound(definitions: DefinitionSet, round: AbortController): Promise<void> {
    const { sources, logger } = this.#options;
    await this.#write(definitions);
    const known = new Set(sources.map(({ name }) => name));
    for (const database of databasesOf(definitions)) {
      if (!known.has(database)) {
        const { message, remedy } = notConfigured(database);
        logger.error(message, { remedy });
      }
    }
    // A source returns only at the end of its round; one that throws ends it for all, in order.
    const results = await Promise.allSettled(
      sources.map((source) =>
        source.run(definitions, this.#contracts, round.signal).catch((error: unknown) => {
          round.abort(error);
          throw error;
        }),
      ),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    await ended(round.signal);
  }

  /** Writes the definitions to every partition, unless that was done. Doing it twice after a crash is harmless. */
  async #write(definitions: DefinitionSet): Promise<void> {
    if (definitions.generation <= this.#written) return;
    const { log, directory, logger } = this.#options;
    const record = encodeRecord({ case: 'definitions', value: definitions });
    const partitions = Array.from({ length: log.partitionCount }, (_, partition) => partition);
    await Promise.all(partitions.map((partition) => log.append(partition, [record])));
    const contracts = addContracts(this.#contracts, definitions);
    const json: NodeJson = {
      logId: log.logId,
      writtenGeneration: definitions.generation.toString(),
      contracts: [...contracts].map(([route, all]) => ({
        route,
        contracts: all.map((c) => toJson(ContractSchema, c)),
      })),
    };
    await replaceFile(join(directory, 'node.json'), JSON.stringify(json));
    this.#written = definitions.generation;
    this.#contracts = contracts;
    logger.info('definitions written to the log', {
      generation: definitions.generation,
      routes: definitions.routes.length,
    });
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

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
