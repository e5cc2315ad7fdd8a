/**
 * Goal: rows that change are taken out exactly, moved, joined at the price of the time and put in again, whatever dies
 * meanwhile, whatever else is defined and however often a table is read anew (F2, F3, L1, R1, R2, R3, I1, I2 on real
 * processes). Method: every kind of DML under random SIGKILL and SIGSTOP of any process and the database; definitions applied
 * with and without a mutable and a joined view more, and new generations, in peace or amid the blows; each round the load
 * pauses, and every served value is compared with SQL over the rows as they are, some times as windows slide; versions, and
 * that the views which always are there are always served, are watched all the while.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runChaos, VIOLENCE_KINDS, type ViolenceKind } from '../support/chaos.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { type Anew, DrawnViews, drawAnew, OrderChanges } from '../support/order-changes.ts';
import { type OrderLoad, startOrderLoad } from '../support/order-load.ts';
import { definitionsWith, differences, SCHEMA } from '../support/orders.ts';
import { patiently, untilServedAgain } from '../support/patience.ts';
import { watchVersions } from '../support/version-watch.ts';

const ROUNDS = Number(process.env['FRESHET_MUTABLE_ROUNDS'] ?? 3);
const SEED = Number(process.env['FRESHET_FUZZ_SEED'] ?? Date.now() % 1_000_000);
/** Blows between two comparisons. */
const BLOWS = 2;
const LOOKS = 3;
/** What must have happened, or the rounds say nothing of it. */
const KINDS = [
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
  'rollback',
  'savepoint',
  'savepoint, rolled back',
];
/** What is too seldom for a few rounds. */
const SELDOM_KINDS = ['truncate orders', 'truncate order_lines', 'truncate catalog', 'truncate profile'];
const LONG_ROUNDS = 30;

const random = new Random(`mutable/${SEED}`);
/** Of the two rounds next to each other that have the first new generations, one changes in peace and one under blows. */
const isFirstInPeace = random.oneIn(2);
const blows = new Set<ViolenceKind>();
const views = new DrawnViews(random.branch('views'));
const ingestArguments: string[] = [];
let under: MeshUnderTest;
let changes: OrderChanges;
beforeAll(async () => {
  const definitions = definitionsWith(views.inForce);
  under = await startMeshUnderTest({ schema: SCHEMA, definitions, partitions: 4, ingestArguments });
  changes = new OrderChanges(under, ingestArguments);
}, 120_000);
afterAll(() => {
  changes?.close();
  return under?.close();
}, 60_000);

/** What the orders were joined with at the time becomes what they would be joined with now, and stays that. */
async function joinAnew(load: OrderLoad): Promise<void> {
  await load.hold();
  await under.sql`UPDATE orders SET n = n`;
  load.leaveJoined(true);
  load.go();
}

/** Definitions and, at times, generations change, and blows fall: meanwhile, or when all of it is served. */
async function changeAndHurt(round: number, anew: Anew, tell: (what: string) => void): Promise<void> {
  const chance = random.branch(`round ${round}`);
  tell(`${views.next()}; anew: ${anew}`);
  const change = async (): Promise<void> => {
    await changes.apply(views.inForce);
    if (anew !== 'nothing') await changes.beginAnew(anew, chance.branch('anew'));
  };
  const hurt = async (): Promise<void> => {
    const seed = SEED * 1_000 + round;
    const done = await runChaos(under, { rounds: BLOWS, seed, onRound: (_, what) => tell(what) });
    for (const kind of done.keys()) blows.add(kind);
  };
  if (round < 3 ? (round % 2 === 0) === isFirstInPeace : chance.oneIn(2)) {
    await change();
    await changes.untilSettled();
    tell('all of it is served');
    await hurt();
  } else {
    await Promise.all([hurt(), change()]);
  }
}

/** Compares everything that is served with SQL, some times; how many values. */
async function compare(round: number): Promise<number> {
  await changes.untilSettled();
  await untilServedAgain(under);
  const servedUs = Date.now() * 1000;
  let compared = 0;
  for (let look = 0; look < LOOKS; look++) {
    const verdict = await patiently(() => differences(under.sql, under.client, servedUs, views.inForce));
    if (verdict.told.length > 0) await tellRows(verdict.told);
    expect(verdict.told, `round ${round + 1}, seed ${SEED}`).toEqual([]);
    compared += verdict.compared;
    await pause(random.between(0, 2_500));
  }
  return compared;
}

/** Writes the newest orders of the users of whom something differs: what is seldom seen again has to bring its evidence. */
async function tellRows(told: readonly string[]): Promise<void> {
  for (const user of new Set(told.flatMap((text) => /of user (\d+)/.exec(text)?.[1] ?? []))) {
    const rows = await under.sql`
      SELECT id, extract(epoch FROM at)::text AS at, status, paid, orders.grade, n, left(note, 10) AS note, length(note)
      FROM orders WHERE user_id = ${user} ORDER BY orders.at DESC LIMIT 10`;
    process.stdout.write(`user ${user}: ${JSON.stringify(rows)}\n`);
  }
}

/** How many orders were joined with another price, and with another grade, than they would be now. */
async function joinedEarlier(): Promise<{ prices: number; grades: number }> {
  const [earlier] = await under.sql<{ prices: number; grades: number }[]>`
    SELECT count(*) FILTER (WHERE paid IS DISTINCT FROM price)::int AS prices,
           count(*) FILTER (WHERE orders.grade IS DISTINCT FROM profile.grade)::int AS grades
    FROM orders LEFT JOIN catalog USING (product_id) LEFT JOIN profile USING (user_id)`;
  return earlier ?? { prices: 0, grades: 0 };
}

describe('mutable sources', () => {
  it(`F2 F3 L1 R1 R2 R3 I1 I2: ${ROUNDS} rounds of DML, changes and kills (seed ${SEED}) equal SQL over the live rows`, async () => {
    const load = startOrderLoad(under.sql, 150, SEED);
    const watch = watchVersions(under, { rowsMayGo: true });
    const anewIn = drawAnew(random.branch('anew'));
    const asked = new Map<Anew, number>();
    const first = await changes.generations();
    const earlier = { prices: 0, grades: 0 };
    let compared = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await pause(2_000);
      const anew = anewIn(round);
      asked.set(anew, (asked.get(anew) ?? 0) + 1);
      if (anew !== 'nothing') await joinAnew(load);
      await changeAndHurt(round, anew, (what) =>
        process.stdout.write(`round ${round + 1}: ${what}; ${load.commits} commits\n`),
      );
      await load.hold();
      compared += await compare(round);
      const { prices, grades } = await joinedEarlier();
      earlier.prices += prices;
      earlier.grades += grades;
      load.leaveJoined(false);
      load.go();
    }
    await load.stop();
    const wentBack = await watch.stop();
    const kinds = [...load.kinds].map(([kind, times]) => `${kind} ${times}`).sort();
    process.stdout.write(`${compared} values; ${load.failures} failed; ${kinds.join(', ')}\n`);
    expect(wentBack).toEqual([]);
    expect(watch.refused).toEqual([]);
    expect(compared).toBeGreaterThan(ROUNDS * LOOKS * 1_000);
    expect(load.commits).toBeGreaterThan(ROUNDS * 50);
    expect(watch.reads).toBeGreaterThan(20);
    // Else a join with the prices or the grades of now would pass, too.
    expect(earlier.prices).toBeGreaterThan(0);
    expect(earlier.grades).toBeGreaterThan(0);
    for (const kind of ROUNDS < LONG_ROUNDS ? KINDS : [...KINDS, ...SELDOM_KINDS])
      expect(load.kinds.get(kind) ?? 0, kind).toBeGreaterThan(0);
    if (ROUNDS >= LONG_ROUNDS) expect([...blows].sort()).toEqual([...VIOLENCE_KINDS].sort());
    await expectChanged(first, asked);
  }, 7_200_000);
});

/** That definitions and generations changed as drawn, by the registry's and ingest's own word. */
async function expectChanged(first: ReadonlyMap<number, number>, asked: ReadonlyMap<Anew, number>): Promise<void> {
  const applied = await changes.applied();
  const last = await changes.generations();
  const newer = [...first].map(([route, generation]) => (last.get(route) ?? 0) - generation);
  const told = [...applied].map(([what, times]) => `${what} ${times}`);
  process.stdout.write(`${told.join(', ')}; generations more: ${newer.join(', ')}; ${[...asked].join('; ')}\n`);
  for (const view of ['drawn_mutable', 'drawn_joined']) {
    for (const move of ['added', 'changed', 'dropped'])
      expect(applied.get(`view ${view} ${move}`) ?? 0, `${view} ${move}`).toBeGreaterThan(0);
  }
  expect(asked.get('asked') ?? 0).toBeGreaterThan(0);
  expect(asked.get('resync') ?? 0).toBeGreaterThan(0);
  for (const more of newer) expect(more).toBeGreaterThanOrEqual(asked.get('resync') ?? 0);
  expect(Math.max(...newer)).toBeGreaterThan(asked.get('resync') ?? 0);
}
