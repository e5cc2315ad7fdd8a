/**
 * Goal: rows that change are taken out exactly, moved, joined at the price of the time and put in again, whatever dies
 * meanwhile (F2, F3, L1, R1, R2, I1, I2 on real processes). Method: every kind of DML under random SIGKILL and SIGSTOP of any
 * process and the database; now and then the load pauses, and every served value is compared with SQL over the rows as
 * they are, some times as windows slide; versions are watched all the while.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runChaos } from '../support/chaos.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { startOrderLoad } from '../support/order-load.ts';
import { definitionsWith, differences, SCHEMA } from '../support/orders.ts';
import { patiently, untilServedAgain } from '../support/patience.ts';
import { watchVersions } from '../support/version-watch.ts';

const ROUNDS = Number(process.env['FRESHET_MUTABLE_ROUNDS'] ?? 3);
const SEED = Number(process.env['FRESHET_FUZZ_SEED'] ?? Date.now() % 1_000_000);
/** Blows between two comparisons. */
const BLOWS = 2;
const LOOKS = 3;

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: SCHEMA, definitions: definitionsWith([]), partitions: 4 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

describe('mutable sources', () => {
  it(`F2 F3 L1 R1 R2 I1 I2: ${ROUNDS} rounds of DML and kills (seed ${SEED}) equal SQL over the live rows`, async () => {
    const random = new Random(`mutable/${SEED}`);
    const load = startOrderLoad(under.sql, 150, SEED);
    const watch = watchVersions(under, { rowsMayGo: true });
    let compared = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await pause(2_000);
      await runChaos(under, {
        rounds: BLOWS,
        seed: SEED * 1_000 + round,
        onRound: (_, what) => process.stdout.write(`round ${round + 1}: ${what}; ${load.commits} commits\n`),
      });
      await load.hold();
      await untilServedAgain(under);
      const servedUs = Date.now() * 1000;
      for (let look = 0; look < LOOKS; look++) {
        const verdict = await patiently(() => differences(under.sql, under.client, servedUs));
        expect(verdict.told, `round ${round + 1}, seed ${SEED}`).toEqual([]);
        compared += verdict.compared;
        await pause(random.between(0, 2_500));
      }
      load.go();
    }
    await load.stop();
    // Else a join with the prices or the grades of now would pass, too.
    const [changed] = await under.sql`
      SELECT count(*) FILTER (WHERE paid IS DISTINCT FROM price)::int AS prices,
             count(*) FILTER (WHERE orders.grade IS DISTINCT FROM profile.grade)::int AS grades
      FROM orders LEFT JOIN catalog USING (product_id) LEFT JOIN profile USING (user_id)`;
    expect(changed?.['prices']).toBeGreaterThan(0);
    expect(changed?.['grades']).toBeGreaterThan(0);
    const wentBack = await watch.stop();
    const kinds = [...load.kinds].map(([kind, times]) => `${kind} ${times}`).sort();
    process.stdout.write(`${compared} values; ${load.failures} failed; ${kinds.join(', ')}\n`);
    expect(wentBack).toEqual([]);
    expect(compared).toBeGreaterThan(ROUNDS * LOOKS * 1_000);
    expect(load.commits).toBeGreaterThan(ROUNDS * 50);
    expect(watch.reads).toBeGreaterThan(20);
    for (const kind of [
      'insert',
      'upsert',
      'update',
      'move',
      'rename',
      'delete',
      'line',
      'move line',
      'price',
      'grade',
      'move profile',
    ])
      expect(load.kinds.get(kind) ?? 0, kind).toBeGreaterThan(0);
  }, 7_200_000);
});
