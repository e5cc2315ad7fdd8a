/**
 * Goal: whatever happens to the files under a replica, it starts, answers right or says that it cannot, and heals.
 * Method: a real LevelDB store of some age, its files cut, zeroed, filled with garbage, deleted, or with a bit flipped, at
 * random; what can be read is then checked against upstream, and once more after it has healed. FRESHET_FUZZ_RUNS makes it
 * longer.
 */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { assertFuzz, fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DIRECTORY, World } from './replica-world.testing.ts';

const RUNS = 200;
let root = '';
let cases = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'replica-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** LevelDB under a directory of a case's own, in many small tables, so that damage takes away some of them. */
function under(place: string): Stores {
  return {
    open: (directory, options) => levelStores.open(join(place, directory), { ...options, writeBufferBytes: 64 * 1024 }),
    setAside: (directory) => levelStores.setAside(join(place, directory)),
    compact: (directory, options, keys) => levelStores.compact(join(place, directory), options, keys),
  };
}

/** A store with tables, a log that is not yet one, another log's rows, and the upstreams that it followed. */
async function aged(): Promise<{ place: string; world: World }> {
  const place = join(root, 'aged');
  const world = new World(under(place));
  await world.start();
  // Each becomes a table of its own: losing the middle one loses rows of shard 0 that its newest record counts on.
  const rounds = [
    [
      { shard: 0, from: 0, to: 200 },
      { shard: 1, from: 0, to: 200 },
    ],
    [{ shard: 0, from: 0, to: 100 }],
    [
      { shard: 0, from: 100, to: 200 },
      { shard: 1, from: 0, to: 50 },
    ],
  ] as const;
  for (const [round, parts] of rounds.entries()) {
    for (const { shard, from, to } of parts) {
      const records = Array.from({ length: to - from }, (_, i) => from + i).flatMap((key) =>
        ([1, 2] as const).map((view) => ({ view, key, drops: (key + round) % 4 === 0 })),
      );
      await world.act({ do: 'append', shard, node: 0, records });
      await world.act({ do: 'subscribe', shard, node: 0, way: 'pass', size: 100, lag: 0, frames: 100 });
      await world.act({ do: 'flush' });
    }
    await world.restart();
  }
  await world.act({ do: 'otherLog' });
  await world.act({ do: 'subscribe', shard: 1, node: 0, way: 'pass', size: 100, lag: 0, frames: 100 });
  await world.act({ do: 'flush' });
  await world.store.close();
  return { place, world };
}

const arbitraryHarm = fc.record({
  what: fc.constantFrom(
    'flip' as const,
    'flip' as const,
    'cut' as const,
    'zero' as const,
    'garbage' as const,
    'delete' as const,
  ),
  file: fc.nat(),
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  length: fc.integer({ min: 1, max: 300 }),
  bit: fc.nat({ max: 7 }),
});
type Harm = typeof arbitraryHarm extends fc.Arbitrary<infer H> ? H : never;

async function harmed(directory: string, { what, file, at, length, bit }: Harm): Promise<void> {
  const files = (await readdir(directory))
    .filter((name) => /^(\d+\.(ldb|log)|MANIFEST-\d+|CURRENT)$/.test(name))
    .sort();
  const path = join(directory, files[file % files.length] ?? '');
  if (what === 'delete') return rm(path);
  const bytes = await readFile(path);
  const start = Math.floor(bytes.length * at);
  if (what === 'cut') return writeFile(path, bytes.subarray(0, start));
  if (what === 'flip' && bytes.length > 0) bytes[start] = (bytes[start] ?? 0) ^ (1 << bit);
  if (what === 'zero') bytes.fill(0, start, Math.min(bytes.length, start + length));
  if (what === 'garbage') bytes.fill(0xa5 ^ bit, start, Math.min(bytes.length, start + length));
  return writeFile(path, bytes);
}

describe('a damaged store', () => {
  it(
    'R1, R3: is told and heals, or makes no difference',
    async () => {
      const { place, world } = await aged();
      const came = { told: 0, healing: 0, servedOn: 0, unharmed: 0 };
      await assertFuzz(RUNS, fc.array(arbitraryHarm, { minLength: 1, maxLength: 2 }), async (harms) => {
        const mine = join(root, `case-${cases++}`);
        await cp(place, mine, { recursive: true });
        for (const harm of harms) await harmed(join(mine, DIRECTORY), harm);
        const again = new World(under(mine), world.upstreams);
        try {
          await again.start();
          came.told += again.damage.length > 0 ? 1 : 0;
          came.healing += again.state.healing.length > 0 ? 1 : 0;
          came.servedOn += again.damage.length > 0 && again.state.catalog.services.size > 0 ? 1 : 0;
          came.unharmed += again.damage.length === 0 ? 1 : 0;
          again.settle();
          await again.store.flush(again.state);
          const wasTold = again.damage.splice(0).length > 0;
          if (wasTold) await again.restart();
          assert(again.damage.length === 0, `what was healed is damaged: ${again.damage.join('; ')}`);
          assert(again.state.catalog.services.size > 0, 'what was healed is served');
          await again.store.close();
        } finally {
          await rm(mine, { recursive: true, force: true });
        }
      });
      for (const [what, times] of Object.entries(came)) expect(times, `sometimes: ${what}`).toBeGreaterThan(0);
    },
    3_000 * must(fuzzParameters(RUNS).numRuns),
  );
});
