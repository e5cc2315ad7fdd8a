/**
 * Goal: whatever dies or stands still, however much at once, no commit is lost, doubled or shown out of order (F3, L1,
 * R1, R2, I1 on real processes). Method: the storefront under load; random SIGKILL and SIGSTOP of any processes, the
 * database and a second compute node of the same shards included; then every served value against SQL.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { stockShelves } from '../../examples/storefront/traffic.ts';
import { verify } from '../../examples/storefront/verify.ts';
import { runChaos, VIOLENCE_KINDS } from '../support/chaos.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';
import { startStubbornLoad } from '../support/stubborn-load.ts';
import { watchVersions } from '../support/version-watch.ts';

const ROUNDS = Number(process.env['FRESHET_CHAOS_ROUNDS'] ?? 10);
const SEED = Number(process.env['FRESHET_FUZZ_SEED'] ?? Date.now() % 1_000_000);

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
  await stockShelves(under.sql);
}, 120_000);
afterAll(() => under?.close(), 60_000);

describe('chaos', () => {
  it(`F3 L1 R1 R2 I1: ${ROUNDS} rounds of chaos (seed ${SEED}) leave every value equal to SQL`, async () => {
    const load = startStubbornLoad(under.sql, 200, SEED);
    const watch = watchVersions(under);
    const done = await runChaos(under, {
      rounds: ROUNDS,
      seed: SEED,
      onRound: (round, what) => process.stdout.write(`round ${round + 1}: ${what}; ${load.commits} commits\n`),
    });
    await load.stop();
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    const wentBack = await watch.stop();
    const verdict = await verify(under.sql, under.client);
    process.stdout.write(`${[...done].map(([kind, times]) => `${kind} ${times}`).join(', ')}\n`);
    if (ROUNDS >= VIOLENCE_KINDS.length) expect([...done.keys()].sort()).toEqual([...VIOLENCE_KINDS].sort());
    expect(verdict.differences).toEqual([]);
    expect(verdict).toMatchObject({ keysChecked: 1200, mismatches: 0 });
    expect(wentBack).toEqual([]);
    expect(load.commits).toBeGreaterThan(ROUNDS * 5);
    expect(watch.reads).toBeGreaterThan(20);
  }, 3_600_000);
});
