/**
 * Goal: state returns to its floor (R4 on real processes): once the windows of many keys are over, or their rows are gone,
 * compute holds no key, a checkpoint no state and the replica no row of theirs, and a key that comes back starts from
 * nothing. Method: the real mesh, a burst of keys into an append source, a mutable source whose rows stay where they are, and
 * one with a feature over all time whose rows are deleted; then silence, and what the nodes say of themselves.
 *
 * A sweep of compute begins a minute after the one before, and a replica keeps a dead row for a minute: so long it takes.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { untilServedAgain } from '../support/patience.ts';

const KEYS = 4_000;
const TABLES = ['events', 'carts', 'accounts'] as const;
const patient = { timeout: 180_000, interval: 500 };

const table = (name: string): string =>
  `CREATE TABLE ${name} (user_id bigint PRIMARY KEY, amount numeric(12, 2), at timestamptz NOT NULL);`;
const view = (name: string, mode: string, features: string): string => `
kind: Source
name: ${name}
mode: ${mode}
postgres: { table: public.${name} }
event_time: at
---
kind: FeatureView
name: user_${name}
entity: user
source: ${name}
features: ${features}
---`;
const WINDOWS =
  '{ n: { count: {}, rolling: 5s }, total: { sum: amount, rolling: 10s }, top: { max: amount, tumbling: 5s } }';
const DEFINITIONS = `
kind: Entity
name: user
key: { user_id: int64 }
---${view('events', 'append', WINDOWS)}${view('carts', 'mutable', WINDOWS)}
${view('accounts', 'mutable', '{ n: { count: {} }, total: { sum: amount }, top: { max: amount } }')}
kind: FeatureService
name: all
features: ["user_events:*", "user_carts:*", "user_accounts:*"]
`;

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: TABLES.map(table).join('\n'), definitions: DEFINITIONS, partitions: 2 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

function bytesBelow(...names: string[]): number {
  const home = join(under.directory, 'mesh', ...names);
  const files = readdirSync(home, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => {
    // A store may remove a file between the two looks.
    return sum + (statSync(join(parentPath, name), { throwIfNoEntry: false })?.size ?? 0);
  }, 0);
}

/** What the nodes hold, as they say themselves, and their stores' bytes. */
async function held(): Promise<{ keys: number; rows: number; rowBytes: number; stores: number; replica: number }> {
  const compute = createGrpcClient(ComputeService, under.mesh.addresses.compute);
  const serve = createGrpcClient(ServeService, under.mesh.addresses.serve);
  try {
    const [{ shards }, { rows, rowBytes }] = await Promise.all([
      compute.getComputeStatus({}),
      serve.getServeStatus({}),
    ]);
    return {
      keys: shards.reduce((sum, shard) => sum + Number(shard.keys), 0),
      rows: Number(rows),
      rowBytes: Number(rowBytes),
      stores: bytesBelow('compute', 'shards'),
      replica: bytesBelow('serve'),
    };
  } finally {
    compute.close();
    serve.close();
  }
}

describe('state', () => {
  it('R4: returns to its floor when windows are over and rows are gone', async () => {
    for (const name of TABLES)
      await under.sql.unsafe(`INSERT INTO ${name} SELECT i, i % 100, now() FROM generate_series(1, ${KEYS}) i`);
    await untilServedAgain(under);
    await expect.poll(async () => (await held()).rows, patient).toBe(TABLES.length * KEYS);
    const most = await held();
    expect(most.keys).toBeGreaterThanOrEqual(KEYS);
    await under.sql`DELETE FROM accounts`;
    await expect
      .poll(async () => {
        const { keys, rows, rowBytes } = await held();
        return { keys, rows, rowBytes };
      }, patient)
      .toEqual({ keys: 0, rows: 0, rowBytes: 0 });
    const compute = createGrpcClient(ComputeService, under.mesh.addresses.compute);
    try {
      const states: (bigint | undefined)[] = [];
      for await (const { checkpoint } of compute.takeCheckpoint({}, { deadlineMs: 30_000 }))
        states.push(checkpoint?.states);
      expect(states).toEqual([0n, 0n]);
    } finally {
      compute.close();
    }
    const least = await held();
    process.stdout.write(`most ${JSON.stringify(most)}, then ${JSON.stringify(least)}\n`);
  }, 400_000);

  it('F2: a key that comes back starts from nothing', async () => {
    await under.sql`INSERT INTO events VALUES (${KEYS + 1}, 5, now())`;
    await under.sql`UPDATE carts SET at = now(), amount = 7 WHERE user_id = 1`;
    await under.sql`DELETE FROM carts WHERE user_id = 2`;
    await under.sql`INSERT INTO accounts VALUES (1, 3, now())`;
    await untilServedAgain(under);
    const users = [1n, 2n, BigInt(KEYS + 1)];
    const { columns } = await under.client.getFeatures({ service: 'all', keys: { user_id: users } });
    expect(columns['user_accounts:n']?.values).toEqual([1n, 0n, 0n]);
    expect(columns['user_accounts:total']?.values).toEqual(['3.00', null, null]);
    expect(columns['user_carts:total']?.values).toEqual(['7.00', null, null]);
    expect(columns['user_events:total']?.values).toEqual([null, null, '5.00']);
  }, 60_000);
});
