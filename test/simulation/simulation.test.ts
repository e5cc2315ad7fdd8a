/**
 * Goal: whole meshes under simulated faults are never wrong and always come to rest (L1, L2, F1, F3, R1, R2, R3, I1); the
 * simulator itself is repeatable, takes its paths, and catches builds that are broken. Method: some seeds of what
 * `npm run soak -- simulate` runs ten thousand of. FRESHET_FUZZ_SEED: the first seed; FRESHET_FUZZ_RUNS: times as many.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BROKEN_BUILDS } from './broken-builds.ts';
import { type EraseAction, makePlan, type TimedAction } from './plan.ts';
import { shrink } from './shrink.ts';
import { FAULTS, unseen } from './sometimes.ts';
import { type Verdict, World } from './world.ts';

const SEEDS = Math.round(60 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));
const FIRST = Number(process.env['FRESHET_FUZZ_SEED'] ?? Date.now() % 1_000_000);
/** Caught within a few seeds, so that CI sees the simulator catch something. */
const QUICK = ['pass-skips-changes', 'gap-is-an-end', 'erase-untold', 'trim-too-far'];

const COMPUTES = ['compute-a', 'compute-b'] as const;

/** A world of one partition to which nothing happens, and which is looked at for longer. */
function resting(): World {
  const actions: TimedAction[] = [{ atUs: 0, action: { kind: 'define', set: 0 } }];
  return new World({ ...makePlan(1), durationUs: 4_000_000, partitions: 1, trims: false, lingers: true, actions });
}

/** A world of one partition in which somebody who has some rows is erased. */
function erasing(plan: Partial<EraseAction>, more: readonly TimedAction[] = []): Promise<Verdict> {
  const user = 5_512_873_329_871_001;
  const rows = [1, 2, 3].map((second) => ({
    atUs: second * 1_000_000,
    action: { kind: 'commit' as const, rows: [1, user].map((one) => ({ user: one, amount: second, lateUs: 0 })) },
  }));
  const erase: EraseAction = { kind: 'erase', user, again: [], leavesOut: false, strikes: [], ...plan };
  const actions = [
    { atUs: 0, action: { kind: 'define' as const, set: 0 } },
    ...rows,
    ...more,
    { atUs: 6_000_000, action: erase },
  ];
  const about = { durationUs: 20_000_000, partitions: 1, trims: false, lingers: true };
  return new World({ ...makePlan(1), ...about, actions }).run();
}

describe('the simulation', () => {
  it(`L1 L2 F1 F3 R1 R2 R3 I1: ${SEEDS} seeds from ${FIRST} on are never wrong and come to rest`, async () => {
    const seen = new Set<string>();
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const verdict = await new World(makePlan(seed)).run();
      expect(verdict.wrong, `npm run soak -- simulate --seed ${seed} --shrink`).toBeUndefined();
      for (const what of verdict.seen.keys()) seen.add(what);
    }
    expect(unseen(FAULTS, seen)).toEqual([]);
  }, 300_000);

  it('knows that the disk broke from when the power cut a lie short, not from when the lie was to end', async () => {
    const actions: TimedAction[] = [
      { atUs: 0, action: { kind: 'define', set: 0 } },
      { atUs: 2_412_000, action: { kind: 'lie', machine: 'ingest', forUs: 8_000_000, keep: 0.5 } },
      { atUs: 4_917_000, action: { kind: 'power', machine: 'ingest', forUs: 1_000_000, keep: 0.8 } },
    ];
    const { wrong, seen } = await new World({ ...makePlan(60185), actions }).run();
    expect(wrong).toBeUndefined();
    expect(seen.get('ingest broke: the power went after syncs that were lies')).toBe(1);
  }, 60_000);

  it('carries out what the messages say also when a lie outlives the faults and the power goes after them', async () => {
    const { wrong, seen } = await new World(makePlan(200_717)).run();
    expect(wrong).toBeUndefined();
    expect(seen.get('remedy: resync')).toBe(1);
  }, 60_000);

  it('F2: does not ask for a row that says what an entity without a row is answered', async () => {
    // Set 149 has a view with a count over 10 s and a variance; the event is older than that, and there is but one.
    const actions: TimedAction[] = [
      { atUs: 3_059_000, action: { kind: 'define', set: 149 } },
      { atUs: 3_437_000, action: { kind: 'commit', rows: [{ user: 1, amount: 162, lateUs: 13_000_000 }] } },
    ];
    expect((await new World({ ...makePlan(60628), actions }).run()).wrong).toBeUndefined();
  }, 60_000);

  it('C1: reads a table anew as soon as its column has its own name again, though nobody changes the definitions', async () => {
    const row = { user: 1, amount: 7, lateUs: 0 };
    const actions: TimedAction[] = [
      { atUs: 0, action: { kind: 'define', set: 0 } },
      { atUs: 1_000_000, action: { kind: 'rename', forUs: 3_000_000 } },
      { atUs: 2_000_000, action: { kind: 'drop-slot' } },
      { atUs: 5_000_000, action: { kind: 'commit', rows: [row] } },
    ];
    const { wrong, seen } = await new World({ ...makePlan(1), actions }).run();
    expect(wrong).toBeUndefined();
    expect([...seen.keys()].some((what) => what.startsWith('ingest error: public.orders broke'))).toBe(true);
  }, 60_000);

  it('takes a tick that is on its way when it looks last for none of a replica that fell behind', async () => {
    const world = resting();
    // A tick a second takes most of it: whoever looks once finds the log ahead of the replica nearly always.
    const delayUs = [800_000, 800_000] as const;
    world.scheduler.after(20_000_000, () => {
      for (const compute of COMPUTES) Object.assign(world.network.link('edge-2', compute), { delayUs });
    });
    expect((await world.run()).wrong).toBeUndefined();
  }, 60_000);

  it('finds a replica that fell behind after all was at rest', async () => {
    const world = resting();
    world.scheduler.after(20_000_000, () => {
      for (const compute of COMPUTES) world.network.link('edge-2', compute).cut = true;
    });
    expect((await world.run()).wrong).toMatch(/was at rest, and is no more: edge-2: shard 0 is at \d+$/);
  }, 60_000);

  it('F1: an erase leaves nothing anywhere, also at a node that was left out of it and comes back', async () => {
    const { wrong, seen } = await erasing({ leavesOut: true }, [
      { atUs: 5_000_000, action: { kind: 'kill', machine: 'compute-b', forUs: 14_000_000 } },
    ]);
    expect(wrong).toBeUndefined();
    expect(seen.get('an erase left out who was away')).toBe(1);
    expect([...seen.keys()].some((what) => /shard 0 was away while an entity was erased/.test(what))).toBe(true);
  }, 60_000);

  it('F1: who writes again after his erase has what he wrote since, and nothing else', async () => {
    const { wrong, seen } = await erasing({ again: [{ amount: 5, afterUs: 0 }] });
    expect(wrong).toBeUndefined();
    expect(seen.get('an entity writes again after its erase')).toBe(1);
  }, 60_000);

  it('F1: a follower that comes back hears of an erase whose shard died while it forgot the key', async () => {
    // Killed between the commit that has no state of the key any more and the one that takes the journal away.
    expect((await new World(makePlan(2_000_386)).run()).wrong).toBeUndefined();
  }, 60_000);

  it('ends an erase that a crash of ingest met at its last step, wherever that was', async () => {
    for (let afterUs = 1_000; afterUs <= 15_000; afterUs += 1_000) {
      const strikes = [{ step: 'complete' as const, machine: 'ingest' as const, afterUs }];
      const { wrong } = await erasing({ strikes });
      expect(wrong, `killed after ${afterUs} us`).toBeUndefined();
    }
  }, 120_000);

  it('replays a seed to the last event', async () => {
    const [once, again] = [await new World(makePlan(FIRST)).run(), await new World(makePlan(FIRST)).run()];
    expect(again).toEqual(once);
    expect(once.steps).toBeGreaterThan(1_000);
  }, 60_000);

  it('shrinks a plan to what makes it fail', async () => {
    const plan = makePlan(FIRST);
    const kinds = plan.actions.map(({ action }) => action.kind);
    const culprit = plan.actions[Math.floor(kinds.length / 2)];
    const smallest = await shrink(plan, async ({ actions }) => actions.includes(culprit as never), 1_000);
    expect(smallest.actions).toEqual([culprit]);
  });

  it.each(QUICK)(
    'catches the broken build %s',
    (name) => {
      const program = join(import.meta.dirname, 'main.ts');
      const run = spawnSync(process.execPath, [program, '--broken', name, '--seeds', '100', '--jobs', '1'], {
        encoding: 'utf8',
      });
      expect(run.stderr).toContain('caught by seed');
      expect(run.status).toBe(0);
    },
    120_000,
  );

  it('finds each text that a broken build changes once in its file', () => {
    for (const { name, file, changes } of BROKEN_BUILDS) {
      const source = readFileSync(join(import.meta.dirname, '../..', file), 'utf8');
      for (const { find } of changes) expect(source.split(find), `${name}: ${find}`).toHaveLength(2);
    }
  });

  it('has a line in the docs for every broken build', () => {
    const docs = readFileSync(join(import.meta.dirname, '../../docs/simulation.md'), 'utf8');
    for (const { name } of BROKEN_BUILDS) expect(docs).toContain(`\`${name}\``);
  });
});
