/**
 * The two files of a node: definitions.binpb, the definitions last known, with a checksum before them; and node.json,
 * sealed, what of them is in which log.
 *
 * Owns their form. Neither holds what is nowhere else: damaged, they are set aside, the registry gives the definitions
 * again, and they are written to the log again, which a fold ignores.
 */
import { dirname, join } from 'node:path';
import { fromBinary, fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readToActOn, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import type { ContractHistory } from '../core/contract-history.ts';
import { onDisk } from './on-disk.ts';
import { setAside } from './set-aside.ts';

/** What of the definitions is in a log. */
export interface Written {
  readonly logId: string;
  /** The generation last written to all of its partitions. */
  readonly generation: bigint;
  /** The contracts that were written to all of its partitions, newest first. */
  readonly contracts: ContractHistory;
  /** Where each partition of the log ended then; empty: not noted. */
  readonly logEnds: readonly number[];
  /** The offset of the newest record of the definitions in each partition; empty: not noted. */
  readonly offsets: readonly number[];
}

interface NodeJson {
  readonly logId: string;
  readonly writtenGeneration: string;
  readonly logEnds?: readonly number[];
  readonly offsets?: readonly number[];
  readonly contracts?: readonly { readonly route: number; readonly contracts: readonly JsonValue[] }[];
}

const CHECKSUM_BYTES = 4;

export class NodeFiles {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #logger: Logger;

  constructor(files: FileSystem, directory: string, logger: Logger) {
    this.#files = files;
    this.#directory = directory;
    this.#logger = logger;
  }

  /** The definitions last known; undefined when there are none, or none that can be read. */
  definitions(): Promise<DefinitionSet | undefined> {
    return this.#read('definitions.binpb', (bytes) => {
      const sum = Buffer.from(bytes).readUInt32LE(0);
      if (sum !== crc32c(bytes, CHECKSUM_BYTES, bytes.length)) throw new Error('its checksum does not hold');
      return fromBinary(DefinitionSetSchema, bytes.subarray(CHECKSUM_BYTES));
    });
  }

  /** Resolves when the definitions are durable. */
  saveDefinitions(definitions: DefinitionSet): Promise<void> {
    const body = toBinary(DefinitionSetSchema, definitions);
    const bytes = Buffer.alloc(CHECKSUM_BYTES + body.length);
    bytes.set(body, CHECKSUM_BYTES);
    bytes.writeUInt32LE(crc32c(bytes, CHECKSUM_BYTES, bytes.length), 0);
    return this.#replace('definitions.binpb', bytes);
  }

  written(): Promise<Written | undefined> {
    return this.#read('node.json', (bytes, path) => {
      const json = openSealedJson(bytes, path) as unknown as NodeJson;
      return {
        logId: json.logId,
        generation: BigInt(json.writtenGeneration),
        logEnds: json.logEnds ?? [],
        offsets: json.offsets ?? [],
        contracts: new Map(
          (json.contracts ?? []).map(({ route, contracts }) => [
            route,
            contracts.map((c) => fromJson(ContractSchema, c)),
          ]),
        ),
      };
    });
  }

  saveWritten({ logId, generation, contracts, logEnds, offsets }: Written): Promise<void> {
    const json: NodeJson = {
      logId,
      writtenGeneration: generation.toString(),
      logEnds,
      offsets,
      contracts: [...contracts].map(([route, all]) => ({
        route,
        contracts: all.map((c) => toJson(ContractSchema, c)),
      })),
    };
    return this.#replace('node.json', sealJson({ ...json }));
  }

  #read<T>(name: string, parse: (bytes: Uint8Array, path: string) => T): Promise<T | undefined> {
    const path = join(this.#directory, name);
    return onDisk(path, async () => {
      const bytes = await readToActOn(this.#files, path);
      if (bytes === undefined) return undefined;
      try {
        return parse(bytes, path);
      } catch (error) {
        const keptAt = await setAside(this.#files, path);
        this.#logger.error(`${name} is damaged; it is made anew`, { error, keptAt });
        return undefined;
      }
    });
  }

  #replace(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.#directory, name);
    return onDisk(path, async () => {
      await this.#files.makeDirectory(dirname(path));
      await replaceFile(this.#files, path, bytes);
    });
  }
}
