/**
 * Goal: ingest, compute and serve go on without the registry, also when each of them is started again meanwhile, and each
 * says that the registry gives no answer, for as long as it gives none. Method: the real mesh; the registry killed;
 * rows committed and read all along; SIGKILL of each other process; then the registry again.
 */
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { Condition } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

const OTHERS = ['ingest', 'compute', 'serve'] as const;
const USER = 7n;
const PATIENCE = { timeout: 60_000 };

let under: MeshUnderTest;
let clicked = 0n;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
}, 120_000);
afterAll(() => under?.close(), 60_000);

/** Commits a click, waits until it is served, and reads it. */
async function click(): Promise<void> {
  await under.sql`INSERT INTO user_activity (user_id, event_type, occurred_at) VALUES (${String(USER)}, 'click', now())`;
  clicked++;
  await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
  const read = async (): Promise<unknown> => {
    const { columns } = await under.client.getFeatures({ service: 'user_profile', keys: { user_id: [USER] } });
    return columns['user_clicks:click_count_total']?.values[0];
  };
  // The client's connection may have to find a new process first.
  await expect.poll(() => read().catch(() => undefined), PATIENCE).toBe(clicked);
}

async function conditionsOf(role: (typeof OTHERS)[number]): Promise<string[]> {
  const ids = (conditions: readonly Condition[]): string[] => conditions.map(({ id }) => id);
  const address = under.mesh.addresses[role];
  switch (role) {
    case 'ingest': {
      const client = createGrpcClient(IngestService, address);
      return ids((await client.getIngestStatus({}).finally(() => client.close())).conditions);
    }
    case 'compute': {
      const client = createGrpcClient(ComputeService, address);
      return ids((await client.getComputeStatus({}).finally(() => client.close())).conditions);
    }
    case 'serve': {
      const client = createGrpcClient(ServeService, address);
      return ids((await client.getServeStatus({}).finally(() => client.close())).conditions);
    }
  }
}

async function allSay(isSilent: boolean): Promise<void> {
  for (const role of OTHERS)
    await expect
      .poll(async () => (await conditionsOf(role)).includes('registry/silent'), { ...PATIENCE, message: role })
      .toBe(isSilent);
}

describe('without the registry', () => {
  it('commits are served, whatever is started again, and every process says that the registry is silent', async () => {
    await click();
    await allSay(false);

    await under.mesh.halt('registry', 'SIGKILL');
    await allSay(true);
    await click();

    for (const role of OTHERS) {
      await under.mesh.kill(role);
      await under.mesh.untilReady(role, AbortSignal.timeout(60_000));
      await click();
    }
    await allSay(true);
    // It captures what it captured before, and cannot know whether another node claims it meanwhile.
    expect(await conditionsOf('ingest')).toContainEqual(expect.stringMatching(/^claims\//));

    await under.mesh.resume('registry');
    await allSay(false);
    await click();
  }, 300_000);
});
