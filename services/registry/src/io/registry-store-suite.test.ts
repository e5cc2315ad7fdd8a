/**
 * Goal: whatever the registry's store lies on keeps what the keeper relies on. Method: one suite over the disk in memory and
 * over LevelDB, opened anew between writing and reading; then every key is damaged or lost in turn, and the open tells.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { NodeSchema, Role, SourceClaimSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { AuditEntrySchema, StoredDefinitionsSchema } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HISTORY_MAX, RegistryStore } from './registry-store.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-store-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const OPTIONS = { what: 'the store', remedy: 'mend it' };

async function save(store: RegistryStore, generation: bigint, description = ''): Promise<void> {
  const stored = create(StoredDefinitionsSchema, {
    written: { entities: [{ name: `e${generation}`, description }] },
    resolved: { generation },
    highestRoute: 3,
    auditEntries: generation,
  });
  await store.save(stored, create(AuditEntrySchema, { generation, by: 'ada', appliedAtUs: 7n }));
}

const KINDS: readonly (readonly [string, () => Stores])[] = [
  ['memory', () => new MemoryDisk()],
  ['LevelDB', () => levelStores],
];

describe.each(KINDS)('a registry store in %s', (_name, makeStores) => {
  let stores: Stores;
  beforeEach(() => {
    stores = makeStores();
  });
  const reopened = async (work: (store: RegistryStore) => Promise<void>): Promise<void> => {
    const store = await RegistryStore.open(stores, join(directory, 'store'));
    try {
      await work(store);
    } finally {
      await store.close();
    }
  };

  it('has nothing at first', () =>
    reopened(async (store) => {
      expect(await store.load()).toBeUndefined();
      expect(await store.audit(10)).toEqual([]);
      expect(await store.kept()).toEqual([]);
      expect(await store.loadNodes()).toEqual([]);
      expect(await store.loadClaims()).toEqual([]);
    }));

  it('has after it was opened anew what was saved, of each kind', async () => {
    const node = create(NodeSchema, { nodeId: 'n', role: Role.SERVE, address: 'a:1' });
    const claim = create(SourceClaimSchema, { database: 'd', nodeId: 'n', epoch: 4n });
    await reopened(async (store) => {
      for (let i = 1n; i <= 3n; i++) await save(store, i);
      await store.saveNodes([node]);
      await store.saveClaims([claim]);
    });
    await reopened(async (store) => {
      expect(await store.load()).toMatchObject({ auditEntries: 3n, highestRoute: 3, resolved: { generation: 3n } });
      expect((await store.numberedAudit(2)).map(({ number, entry }) => [number, entry.generation])).toEqual([
        [2n, 3n],
        [1n, 2n],
      ]);
      expect((await store.numberedAudit(9, 1n)).map(({ number }) => number)).toEqual([0n]);
      expect((await store.written(1n))?.written?.entities[0]?.name).toBe('e2');
      expect(await store.loadNodes()).toEqual([node]);
      expect(await store.loadClaims()).toEqual([claim]);
    });
  });

  it('keeps the definitions of the newest applies, bounded in number and in bytes', async () => {
    await reopened(async (store) => {
      for (let i = 1n; i <= BigInt(HISTORY_MAX) + 3n; i++) await save(store, i);
      expect((await store.kept()).map(({ number }) => number)).toEqual(
        Array.from({ length: HISTORY_MAX }, (_, i) => BigInt(i + 3)),
      );
      expect(await store.written(2n)).toBeUndefined();
      expect(await store.written(3n)).toBeDefined();
      // Five of fourteen megabytes are more than may be kept.
      const last = BigInt(HISTORY_MAX) + 3n;
      for (let i = 1n; i <= 5n; i++) await save(store, last + i, 'x'.repeat(14 * 1024 * 1024));
      expect((await store.kept()).map(({ generation }) => generation)).toEqual([2n, 3n, 4n, 5n].map((i) => last + i));
    });
    await reopened(async (store) => expect((await store.load())?.auditEntries).toBe(BigInt(HISTORY_MAX) + 8n));
  });

  it.each(['current', 'history', 'written/0000000000000000', 'audit/0000000000000001', 'applied', 'claims', 'nodes'])(
    'tells that the value of "%s" is none',
    async (key) => {
      await reopened(async (store) => {
        for (let i = 1n; i <= 2n; i++) await save(store, i);
        await store.saveClaims([create(SourceClaimSchema, { database: 'd', nodeId: 'n' })]);
        await store.saveNodes([create(NodeSchema, { nodeId: 'n' })]);
      });
      const raw = await stores.open(join(directory, 'store'), OPTIONS);
      // Sealed rightly, and still no message: what an older or a foreign program would have left.
      await raw.batch().write({ sync: false });
      const batch = raw.batch();
      batch.put(Buffer.from(key), Buffer.from([0xff, 0xff, 0xff]));
      await batch.write({ sync: true });
      await raw.close();
      await reopened(async (store) => {
        const opening = async (): Promise<void> => {
          await store.load();
          await store.loadClaims();
          await store.loadNodes();
        };
        await expect(opening()).rejects.toMatchObject({
          code: 'DATA_DAMAGED',
          remedy: expect.stringContaining('restore'),
        });
      });
    },
  );

  it.each(['current', 'written/0000000000000000', 'audit/0000000000000001', 'history'])(
    'tells that "%s" is not there',
    async (key) => {
      await reopened(async (store) => {
        for (let i = 1n; i <= 2n; i++) await save(store, i);
      });
      const raw = await stores.open(join(directory, 'store'), OPTIONS);
      const batch = raw.batch();
      batch.delete(Buffer.from(key));
      await batch.write({ sync: true });
      await raw.close();
      await reopened(async (store) => {
        await expect(store.load()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      });
    },
  );
});
