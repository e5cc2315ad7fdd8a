/**
 * The registry's LevelDB.
 *
 *     "current"                the StoredDefinitions in force
 *     "audit/" + 16 digits     AuditEntry by number, the newest AUDIT_MAX of them
 *     "nodes"                  the StoredNodes that had a lease
 *
 * Every value lies in a StoredValue with its CRC-32, because LevelDB does not verify what it reads. An apply is one
 * synced batch: both keys or none. Owns bytes at rest; does not own what they mean (core/definition-keeper.ts).
 */
import { crc32 } from 'node:zlib';
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { Node } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type AuditEntry,
  AuditEntrySchema,
  type StoredDefinitions,
  StoredDefinitionsSchema,
  StoredNodesSchema,
  StoredValueSchema,
} from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { ClassicLevel } from 'classic-level';
import type { DefinitionStore } from '../core/definition-keeper.ts';
import type { NodeStore } from '../core/topology.ts';

const CURRENT = 'current';
const NODES = 'nodes';
const AUDIT_MAX = 10_000n;

export class RegistryStore implements DefinitionStore, NodeStore {
  readonly #directory: string;
  readonly #db: ClassicLevel<string, Uint8Array>;

  private constructor(directory: string, db: ClassicLevel<string, Uint8Array>) {
    this.#directory = directory;
    this.#db = db;
  }

  /** Opens the store, making it when it is not there. Throws STORE_LOCKED, or DATA_DAMAGED when it cannot be read. */
  static async open(directory: string): Promise<RegistryStore> {
    const db = new ClassicLevel<string, Uint8Array>(directory, {
      keyEncoding: 'utf8',
      valueEncoding: 'view',
      createIfMissing: true,
    });
    try {
      await db.open();
    } catch (cause) {
      throw openError(directory, cause);
    }
    return new RegistryStore(directory, db);
  }

  async load(): Promise<StoredDefinitions | undefined> {
    const bytes = await this.#db.get(CURRENT);
    return bytes === undefined ? undefined : this.#decode(StoredDefinitionsSchema, CURRENT, bytes);
  }

  async save(stored: StoredDefinitions, audit: AuditEntry): Promise<void> {
    const number = stored.auditEntries - 1n;
    const batch = this.#db
      .batch()
      .put(CURRENT, encode(StoredDefinitionsSchema, stored))
      .put(auditKey(number), encode(AuditEntrySchema, audit));
    if (number >= AUDIT_MAX) batch.del(auditKey(number - AUDIT_MAX));
    await batch.write({ sync: true });
  }

  /** The newest audit entries, newest first. */
  async audit(limit: number): Promise<AuditEntry[]> {
    const entries: AuditEntry[] = [];
    for await (const [key, bytes] of this.#db.iterator({ gte: 'audit/', lt: 'audit0', reverse: true, limit })) {
      entries.push(this.#decode(AuditEntrySchema, key, bytes));
    }
    return entries;
  }

  async loadNodes(): Promise<readonly Node[]> {
    const bytes = await this.#db.get(NODES);
    return bytes === undefined ? [] : this.#decode(StoredNodesSchema, NODES, bytes).nodes;
  }

  /** Not synced: what is lost by it comes back with the nodes' next announcements. */
  async saveNodes(nodes: readonly Node[]): Promise<void> {
    await this.#db.put(NODES, encode(StoredNodesSchema, create(StoredNodesSchema, { nodes: [...nodes] })));
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  #decode<S extends DescMessage>(schema: S, key: string, bytes: Uint8Array): MessageShape<S> {
    try {
      const value = fromBinary(StoredValueSchema, bytes);
      if (crc32(value.body) === value.crc32) return fromBinary(schema, value.body);
    } catch {
      // Told below: what cannot be decoded is as damaged as what has another checksum.
    }
    throw damaged(this.#directory, `the value of "${key}" is not what was written`);
  }
}

function encode<S extends DescMessage>(schema: S, message: MessageShape<S>): Uint8Array {
  const body = toBinary(schema, message);
  return toBinary(StoredValueSchema, create(StoredValueSchema, { crc32: crc32(body), body }));
}

/** Decimal digits of one width sort like the numbers. */
function auditKey(number: bigint): string {
  return `audit/${number.toString().padStart(16, '0')}`;
}

function openError(directory: string, error: unknown): FreshetError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED') {
    return new FreshetError('STORE_LOCKED', `another process has ${directory} open`, {
      remedy: 'stop the other registry, or give this one another --data-dir',
      place: directory,
      cause,
    });
  }
  return damaged(directory, cause instanceof Error ? cause.message : String(cause), cause);
}

function damaged(directory: string, message: string, cause?: unknown): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the registry's store cannot be read: ${message}`, {
    remedy: `check the disk and the permissions of ${directory}, and restore the directory from a copy`,
    place: directory,
    cause,
  });
}
