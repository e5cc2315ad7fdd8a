/**
 * Goal: a site that lost everything upstream still answers, and its windows still fall to zero on time. Method: the
 * real mesh; clicks; ingest, compute and the registry stopped; serve restarted from its own disk; a real 10 s window.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
}, 120_000);
afterAll(() => under?.close(), 60_000);

async function clicks(): Promise<{ tenSeconds: unknown; ever: unknown }> {
  const { columns } = await under.client.getFeatures({ service: 'user_profile', keys: { user_id: [7n] } });
  return {
    tenSeconds: columns['user_clicks:click_count_10s']?.values[0],
    ever: columns['user_clicks:click_count_total']?.values[0],
  };
}

describe('a site that is cut off', () => {
  it('F2: a 10 s count falls to zero on time with compute, ingest and registry dead and serve restarted', async () => {
    await under.sql`INSERT INTO user_activity (user_id, event_type, occurred_at) SELECT 7, 'click', now() FROM generate_series(1, 3)`;
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    expect(await clicks()).toEqual({ tenSeconds: 3n, ever: 3n });
    for (const role of ['compute', 'ingest', 'registry'] as const) await under.mesh.halt(role, 'SIGKILL');
    await under.mesh.kill('serve', 'SIGTERM');
    await under.mesh.untilHealthy('serve', AbortSignal.timeout(30_000));
    // The client's connection has to find the new process first.
    await expect.poll(() => clicks().catch(() => undefined), { timeout: 20_000 }).toMatchObject({ ever: 3n });
    // The window is 10 s and its pane 1 s: 11 s after the clicks they are gone, whoever is alive.
    await pause(11_500);
    expect(await clicks()).toEqual({ tenSeconds: 0n, ever: 3n });
  }, 120_000);
});
