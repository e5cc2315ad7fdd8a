/**
 * Goal: no process of the mesh can lose, double or damage anything by dying (F3, L1, R1, R2, I1 on real processes).
 * Method: the storefront under load; SIGKILL each process in turn; meanwhile a reader watches that versions never go
 * back within one life of the serve node; at the end every served value equals SQL over what Postgres holds.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Role } from '@freshet/cli/mesh/mesh.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { startTraffic, stockShelves } from '../../examples/storefront/traffic.ts';
import { verify } from '../../examples/storefront/verify.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';
import { watchVersions } from '../support/version-watch.ts';

const ROUNDS = Number(process.env['FRESHET_KILL_ROUNDS'] ?? 20);
const ORDER: readonly Role[] = ['ingest', 'compute', 'serve', 'registry'];

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
  await stockShelves(under.sql);
}, 120_000);
afterAll(() => under?.close(), 60_000);

describe('SIGKILL under load', () => {
  it(`F3 L1 R2 I1: ${ROUNDS} rounds leave every value equal to SQL and no version going back`, async () => {
    const signal = new AbortController().signal;
    const traffic = startTraffic(under.sql, 300, 42);
    const watch = watchVersions(under);
    for (let round = 0; round < ROUNDS; round++) {
      const role = ORDER[round % ORDER.length] as Role;
      await pause(300 + (round % 5) * 150);
      await under.mesh.kill(role);
      await under.mesh.untilHealthy(role, AbortSignal.timeout(30_000));
    }
    await traffic.stop();
    await untilServed(under.sql, under.mesh.addresses, signal);
    const wentBack = await watch.stop();
    const verdict = await verify(under.sql, under.client);
    expect(verdict.differences).toEqual([]);
    expect(verdict).toMatchObject({ keysChecked: 1200, mismatches: 0 });
    expect(traffic.commits).toBeGreaterThan(ROUNDS * 10);
    expect(wentBack).toEqual([]);
    expect(watch.reads).toBeGreaterThan(50);
  }, 300_000);
});
