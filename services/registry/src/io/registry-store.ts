/**
 * What the registry keeps, in a key-value store whose values are checked.
 *
 *     "current"                the StoredDefinitions in force
 *     "audit/" + 16 digits     AuditEntry by number, the newest AUDIT_MAX of them
 *     "applied"                how many applies there were, as 8 bytes: written after each, by itself
 *     "nodes"                  the StoredNodes that had a lease
 *     "contract/" + source + "/" + 8 digits   ContractRecord by version, the newest VERSIONS_MAX of each source
 *     "seen/" + source         the SeenContract that the stream showed last
 *
 * An apply is one synced batch, with the contracts that it accepts: all keys or none. What comes after it ("applied") is there so that it is not the last
 * record of LevelDB's log: a damaged last record looks like one that a crash cut off, and would be dropped in silence. After a failed write (a full disk) the store is opened anew before
 * the next one, so that the registry works again by itself once the disk does.
 *
 * Owns bytes at rest; does not own what they mean (core/definition-keeper.ts) or how they are sealed (@freshet/store).
 */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import {
  type ContractRecord,
  ContractRecordSchema,
  type SeenContract,
  SeenContractSchema,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { Node } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type AuditEntry,
  AuditEntrySchema,
  type StoredDefinitions,
  StoredDefinitionsSchema,
  StoredNodesSchema,
} from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { KeyValueStore, StoreOptions, Stores, WriteBatch } from '@freshet/store/key-value-store.ts';
import type { ContractStore } from '../core/contract-keeper.ts';
import type { DefinitionStore } from '../core/definition-keeper.ts';
import type { NodeStore } from '../core/topology.ts';

const CURRENT = Buffer.from('current');
const APPLIED = Buffer.from('applied');
const NODES = Buffer.from('nodes');
const AUDIT_END = Buffer.from('audit0');
const AUDIT_MAX = 10_000n;
/** How many contracts of a source are kept: rows in the log carry theirs with the definitions. */
const VERSIONS_MAX = 1_000;

/**
 * Not opened when a file is damaged (no salvage): what is missing could be the newest definitions, and with older ones
 * in force generations and route numbers would be given twice.
 */
const OPTIONS: StoreOptions = {
  what: "the registry's store",
  remedy:
    'restore the directory from a copy; without one, start every node of the mesh with an empty data directory and ' +
    'apply the definitions again (what the mesh serves meanwhile stays right: no node needs the registry for it)',
};

export class RegistryStore implements ContractStore, DefinitionStore, NodeStore {
  readonly #stores: Stores;
  readonly #directory: string;
  #store: KeyValueStore;
  /** A write failed: the store takes no more until it is opened anew. */
  #broken = false;
  /** The end of the last write begun; writes queue behind it, because one of them may open the store anew. */
  #lastWrite: Promise<unknown> = Promise.resolve();

  private constructor(stores: Stores, directory: string, store: KeyValueStore) {
    this.#stores = stores;
    this.#directory = directory;
    this.#store = store;
  }

  /** Opens the store, making it when it is not there. Throws STORE_LOCKED, DATA_DAMAGED, or what the disk says. */
  static async open(stores: Stores, directory: string): Promise<RegistryStore> {
    return new RegistryStore(stores, directory, await stores.open(directory, OPTIONS));
  }

  /**
   * What was saved last. Throws DATA_DAMAGED also when the audit says that something newer was: what the disk lost has no
   * checksum that could be wrong.
   */
  async load(): Promise<StoredDefinitions | undefined> {
    const bytes = await this.#store.get(CURRENT);
    const stored = bytes === undefined ? undefined : this.#decode(StoredDefinitionsSchema, 'current', bytes);
    const entries = stored?.auditEntries ?? 0n;
    const applied = await this.#store.get(APPLIED);
    if (applied !== undefined && applied.readBigUInt64BE() > entries)
      throw this.#damaged(`there were ${applied.readBigUInt64BE()} applies, and only ${entries} are there`);
    const [newer] = await this.#store.keys({ gte: auditKey(entries), lt: AUDIT_END }, 1);
    if (newer !== undefined)
      throw this.#damaged(`there is an audit entry of an apply after ${entries}, which is not there`);
    const newest = entries === 0n ? undefined : await this.#store.get(auditKey(entries - 1n));
    if (entries > 0n && newest === undefined) throw this.#damaged(`the audit entry of apply ${entries} is not there`);
    return stored;
  }

  async save(stored: StoredDefinitions, audit: AuditEntry): Promise<void> {
    const number = stored.auditEntries - 1n;
    await this.#write(true, (batch) => {
      batch.put(CURRENT, toBinary(StoredDefinitionsSchema, stored));
      batch.put(auditKey(number), toBinary(AuditEntrySchema, audit));
      if (number >= AUDIT_MAX) batch.delete(auditKey(number - AUDIT_MAX));
      for (const record of audit.contracts) putContract(batch, record);
    });
    const applied = Buffer.alloc(8);
    applied.writeBigUInt64BE(stored.auditEntries);
    // The apply is durable without it: that it fails is told by the next write, which finds the same disk.
    await this.#write(true, (batch) => batch.put(APPLIED, applied)).catch(() => undefined);
  }

  /** The newest audit entries, newest first. One that is damaged throws DATA_DAMAGED. */
  async audit(limit: number): Promise<AuditEntry[]> {
    const { auditEntries: end } = (await this.load()) ?? create(StoredDefinitionsSchema);
    const first = end > BigInt(limit) ? end - BigInt(limit) : 0n;
    const scan = this.#store.entries({ gte: auditKey(first), lt: AUDIT_END });
    try {
      const entries = await scan.next(limit);
      return entries.map(([key, bytes]) => this.#decode(AuditEntrySchema, key.toString(), bytes)).reverse();
    } finally {
      await scan.close();
    }
  }

  /** The contracts of a source that are kept, newest first; of all sources without a name, by name and newest last. */
  async contracts(source?: string): Promise<ContractRecord[]> {
    const prefix = source === undefined ? 'contract/' : `contract/${source}/`;
    const scan = this.#store.entries({ gte: Buffer.from(prefix), lt: Buffer.from(`${prefix.slice(0, -1)}0`) });
    const records: ContractRecord[] = [];
    try {
      for (;;) {
        const entries = await scan.next(1_000);
        if (entries.length === 0) break;
        for (const [key, bytes] of entries) records.push(this.#decode(ContractRecordSchema, key.toString(), bytes));
      }
    } finally {
      await scan.close();
    }
    return source === undefined ? records : records.reverse();
  }

  async seen(source: string): Promise<SeenContract | undefined> {
    const bytes = await this.#store.get(seenKey(source));
    return bytes === undefined ? undefined : this.#decode(SeenContractSchema, `seen/${source}`, bytes);
  }

  /** Keeps a version whose shape the stream showed, and forgets what it showed before. */
  saveContract(record: ContractRecord): Promise<void> {
    return this.#write(true, (batch) => {
      putContract(batch, record);
      batch.delete(seenKey(record.contract?.source ?? ''));
    });
  }

  saveSeen(seen: SeenContract): Promise<void> {
    const bytes = toBinary(SeenContractSchema, seen);
    return this.#write(true, (batch) => batch.put(seenKey(seen.contract?.source ?? ''), bytes));
  }

  async loadNodes(): Promise<readonly Node[]> {
    const bytes = await this.#store.get(NODES);
    return bytes === undefined ? [] : this.#decode(StoredNodesSchema, 'nodes', bytes).nodes;
  }

  /** Not synced: what is lost by it comes back with the nodes' next announcements. */
  saveNodes(nodes: readonly Node[]): Promise<void> {
    const bytes = toBinary(StoredNodesSchema, create(StoredNodesSchema, { nodes: [...nodes] }));
    return this.#write(false, (batch) => batch.put(NODES, bytes));
  }

  async close(): Promise<void> {
    await this.#lastWrite;
    await this.#store.close();
  }

  #write(sync: boolean, fill: (batch: WriteBatch) => void): Promise<void> {
    const turn = this.#lastWrite.then(async () => {
      if (this.#broken) await this.#reopen();
      const batch = this.#store.batch();
      fill(batch);
      try {
        await batch.write({ sync });
      } catch (error) {
        this.#broken = true;
        throw error;
      }
    });
    this.#lastWrite = turn.catch(() => undefined);
    return turn;
  }

  /**
   * What the failed write left is known again only now: its batch is there whole, or not at all. Nobody was told of an
   * apply that failed, so the next one may take its generation.
   */
  async #reopen(): Promise<void> {
    await this.#store.close();
    this.#store = await this.#stores.open(this.#directory, OPTIONS);
    this.#broken = false;
  }

  #decode<S extends DescMessage>(schema: S, key: string, bytes: Uint8Array): MessageShape<S> {
    try {
      return fromBinary(schema, bytes);
    } catch (cause) {
      throw this.#damaged(`the value of "${key}" is no ${schema.name}`, cause);
    }
  }

  #damaged(message: string, cause?: unknown): FreshetError {
    const { what, remedy } = OPTIONS;
    return new FreshetError('DATA_DAMAGED', `${what} is damaged: ${message}`, {
      remedy,
      place: this.#directory,
      cause,
    });
  }
}

function putContract(batch: WriteBatch, record: ContractRecord): void {
  const { source = '', version = 0 } = record.contract ?? {};
  batch.put(contractKey(source, version), toBinary(ContractRecordSchema, record));
  if (version > VERSIONS_MAX) batch.delete(contractKey(source, version - VERSIONS_MAX));
}

/** A source's name has no slash. */
function contractKey(source: string, version: number): Buffer {
  return Buffer.from(`contract/${source}/${version.toString().padStart(8, '0')}`);
}

function seenKey(source: string): Buffer {
  return Buffer.from(`seen/${source}`);
}

/** Decimal digits of one width sort like the numbers. */
function auditKey(number: bigint): Buffer {
  return Buffer.from(`audit/${number.toString().padStart(16, '0')}`);
}
