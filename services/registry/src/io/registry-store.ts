/**
 * What the registry keeps, in a key-value store whose values are checked.
 *
 *     "current"                the StoredDefinitions in force
 *     "audit/" + 16 digits     AuditEntry by number, the newest AUDIT_MAX of them
 *     "applied"                how many applies there were, as 8 bytes: written after each, by itself
 *     "nodes"                  the StoredNodes that had a lease
 *     "history"                StoredHistory: which applies' definitions are kept, and how large each is
 *     "written/" + 16 digits   StoredWritten by the apply's number: the newest HISTORY_MAX, and HISTORY_BYTES_MAX, of them
 *     "claims"                 StoredClaims: which node holds which database
 *     "contract/" + source + "/" + 8 digits   ContractRecord by version, the newest VERSIONS_MAX of each source
 *     "readers"                StoredReaders: who reads which service
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
import type { Node, SourceClaim } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type AuditEntry,
  AuditEntrySchema,
  type KeptApply,
  KeptApplySchema,
  StoredClaimsSchema,
  type StoredDefinitions,
  StoredDefinitionsSchema,
  StoredHistorySchema,
  StoredNodesSchema,
  type StoredReaders,
  StoredReadersSchema,
  type StoredWritten,
  StoredWrittenSchema,
} from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { KeyValueStore, StoreOptions, Stores, WriteBatch } from '@freshet/store/key-value-store.ts';
import type { ContractStore } from '../core/contract-keeper.ts';
import type { DefinitionStore } from '../core/definition-keeper.ts';
import type { ApplyHistory, NumberedAudit } from '../core/history.ts';
import type { ReaderStore } from '../core/reader-book.ts';
import type { ClaimStore } from '../core/source-claims.ts';
import type { NodeStore } from '../core/topology.ts';

const CURRENT = Buffer.from('current');
const APPLIED = Buffer.from('applied');
const NODES = Buffer.from('nodes');
const AUDIT_PREFIX = 'audit/';
const AUDIT_END = Buffer.from('audit0');
const APPLIED_BYTES = 8;
const AUDIT_MAX = 10_000n;
const WRITTEN_END = Buffer.from('written0');
const HISTORY = Buffer.from('history');
const CLAIMS = Buffer.from('claims');
const READERS = Buffer.from('readers');
/** So many applies can be rolled back to, as long as their definitions together are not longer than that. */
export const HISTORY_MAX = 100;
export const HISTORY_BYTES_MAX = 64 * 1024 * 1024;
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

export class RegistryStore implements ContractStore, DefinitionStore, NodeStore, ApplyHistory, ClaimStore, ReaderStore {
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
    if (applied !== undefined && applied.length !== APPLIED_BYTES) throw this.#damaged('the number of applies is none');
    if (applied !== undefined && applied.readBigUInt64BE() > entries)
      throw this.#damaged(`there were ${applied.readBigUInt64BE()} applies, and only ${entries} are there`);
    const [newer] = await this.#store.keys({ gte: auditKey(entries), lt: AUDIT_END }, 1);
    if (newer !== undefined)
      throw this.#damaged(`there is an audit entry of an apply after ${entries}, which is not there`);
    const newest = entries === 0n ? undefined : await this.#store.get(auditKey(entries - 1n));
    if (entries > 0n && newest === undefined) throw this.#damaged(`the audit entry of apply ${entries} is not there`);
    if (newest !== undefined) this.#decode(AuditEntrySchema, 'the newest audit entry', newest);
    await this.#checkHistory();
    return stored;
  }

  /** Reads what is kept to be rolled back to, so that damage is told at the start and not when it is needed. */
  async #checkHistory(): Promise<void> {
    const kept = await this.#history();
    const [first] = kept.length > 0 ? [] : await this.#store.keys({ gte: writtenKey(0n), lt: WRITTEN_END }, 1);
    if (first !== undefined) throw this.#damaged(`"history" is not there, and ${first.toString()} is`);
    for (const { number } of kept) {
      if ((await this.#writtenOf(number)) === undefined)
        throw this.#damaged(`the definitions of apply ${number + 1n} are not there`);
    }
  }

  async save(stored: StoredDefinitions, audit: AuditEntry): Promise<void> {
    const number = stored.auditEntries - 1n;
    const written = toBinary(
      StoredWrittenSchema,
      create(StoredWrittenSchema, {
        generation: audit.generation,
        ...(stored.written === undefined ? {} : { written: stored.written }),
      }),
    );
    const newest = create(KeptApplySchema, {
      number,
      generation: audit.generation,
      bytes: BigInt(written.length),
    });
    const { kept, dropped } = boundHistory([...(await this.#history()), newest]);
    await this.#write(true, (batch) => {
      batch.put(CURRENT, toBinary(StoredDefinitionsSchema, stored));
      batch.put(auditKey(number), toBinary(AuditEntrySchema, audit));
      if (number >= AUDIT_MAX) batch.delete(auditKey(number - AUDIT_MAX));
      batch.put(writtenKey(number), written);
      batch.put(HISTORY, toBinary(StoredHistorySchema, create(StoredHistorySchema, { kept })));
      for (const old of dropped) batch.delete(writtenKey(old.number));
      for (const record of audit.contracts) putContract(batch, record);
    });
    const applied = Buffer.alloc(8);
    applied.writeBigUInt64BE(stored.auditEntries);
    // The apply is durable without it: that it fails is told by the next write, which finds the same disk.
    await this.#write(true, (batch) => batch.put(APPLIED, applied)).catch(() => undefined);
  }

  /** Audit entries with their numbers, from 0, newest first: those before `before`, else the newest. Throws DATA_DAMAGED. */
  async numberedAudit(limit: number, before?: bigint): Promise<NumberedAudit[]> {
    const newest = before === undefined ? await this.#entries() : before;
    const first = newest > BigInt(limit) ? newest - BigInt(limit) : 0n;
    const scan = this.#store.entries({ gte: auditKey(first), lt: auditKey(newest) });
    try {
      const entries = await scan.next(limit);
      return entries
        .map(([key, bytes]) => ({
          number: BigInt(key.subarray(AUDIT_PREFIX.length).toString()),
          entry: this.#decode(AuditEntrySchema, key.toString(), bytes),
        }))
        .reverse();
    } finally {
      await scan.close();
    }
  }

  /** The newest audit entries, newest first. One that is damaged throws DATA_DAMAGED. */
  async audit(limit: number): Promise<AuditEntry[]> {
    return (await this.numberedAudit(limit)).map(({ entry }) => entry);
  }

  async #entries(): Promise<bigint> {
    const bytes = await this.#store.get(CURRENT);
    return bytes === undefined ? 0n : this.#decode(StoredDefinitionsSchema, 'current', bytes).auditEntries;
  }

  /** Which applies can be rolled back to, by number ascending. */
  kept(): Promise<readonly KeptApply[]> {
    return this.#history();
  }

  /** The definitions that an apply put in force, by its number; undefined when they are not kept. */
  written(number: bigint): Promise<StoredWritten | undefined> {
    return this.#writtenOf(number);
  }

  async #history(): Promise<KeptApply[]> {
    const bytes = await this.#store.get(HISTORY);
    return bytes === undefined ? [] : this.#decode(StoredHistorySchema, 'history', bytes).kept;
  }

  async #writtenOf(number: bigint): Promise<StoredWritten | undefined> {
    const bytes = await this.#store.get(writtenKey(number));
    return bytes === undefined ? undefined : this.#decode(StoredWrittenSchema, writtenKey(number).toString(), bytes);
  }

  async loadClaims(): Promise<readonly SourceClaim[]> {
    const bytes = await this.#store.get(CLAIMS);
    return bytes === undefined ? [] : this.#decode(StoredClaimsSchema, 'claims', bytes).claims;
  }

  /** Synced: nobody captures by a claim that a crash can take back. */
  saveClaims(claims: readonly SourceClaim[]): Promise<void> {
    const bytes = toBinary(StoredClaimsSchema, create(StoredClaimsSchema, { claims: [...claims] }));
    return this.#write(true, (batch) => batch.put(CLAIMS, bytes));
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

  async loadReaders(): Promise<StoredReaders | undefined> {
    const bytes = await this.#store.get(READERS);
    return bytes === undefined ? undefined : this.#decode(StoredReadersSchema, 'readers', bytes);
  }

  /** Not synced: what a crash loses is some seconds of counts. */
  saveReaders(readers: StoredReaders): Promise<void> {
    const bytes = toBinary(StoredReadersSchema, readers);
    return this.#write(false, (batch) => batch.put(READERS, bytes));
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

/** The newest that are kept, in their order, and those that are not any more. The newest is kept whatever it takes. */
function boundHistory(all: readonly KeptApply[]): { readonly kept: KeptApply[]; readonly dropped: KeptApply[] } {
  let bytes = 0n;
  let count = 0;
  for (const apply of [...all].reverse()) {
    bytes += apply.bytes;
    if (count > 0 && (count >= HISTORY_MAX || bytes > BigInt(HISTORY_BYTES_MAX))) break;
    count += 1;
  }
  return { kept: all.slice(all.length - count), dropped: all.slice(0, all.length - count) };
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
  return Buffer.from(`${AUDIT_PREFIX}${number.toString().padStart(16, '0')}`);
}

function writtenKey(number: bigint): Buffer {
  return Buffer.from(`written/${number.toString().padStart(16, '0')}`);
}
