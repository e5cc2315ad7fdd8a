/**
 * Goal: R1, R2 and R3 at every step, whatever upstreams, streams, disk and process do.
 * Method: random histories over two shards, two nodes at different positions, three logs, views that go and come, writes
 * that fail before or after they are done, restarts; every answer that could be read is checked after every frame against
 * a fold that anyone can check by eye. Then every state that the disk was in is started from, and every state that it
 * would be in had it lost one batch in the middle, or harmed one value. FRESHET_FUZZ_RUNS makes it longer.
 */
import { assert } from '@freshet/kit/assert.ts';
import { assertFuzz } from '@freshet/testkit/differential/fuzz-options.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diskOf, JournaledStores } from './journaled-stores.testing.ts';
import { type Action, arbitraryAction, DIRECTORY, World } from './replica-world.testing.ts';

/** What the histories of a test came to; each must have happened, or the test says less than it seems to. */
class Sometimes {
  readonly #counts = new Map<string, number>();

  note(what: string, happened: boolean): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + (happened ? 1 : 0));
  }

  check(): void {
    for (const [what, count] of this.#counts) expect(count, `sometimes: ${what}`).toBeGreaterThan(0);
  }
}

/** A replica that has something, and has it on its disk. */
const BEGUN: readonly Action[] = [
  { do: 'subscribe', shard: 0, node: 0, way: 'pass', size: 2, lag: 0, frames: 20 },
  { do: 'subscribe', shard: 1, node: 0, way: 'pass', size: 2, lag: 0, frames: 20 },
  { do: 'flush' },
];

/** One whose shards go over to a new generation one after the other, and its disk with them. */
const TURNED: readonly Action[] = ([0, 1] as const).flatMap((shard): Action[] => [
  { do: 'turn', shard, node: 0, view: 1, what: 'whole' },
  { do: 'subscribe', shard, node: 0, way: 'pass', size: 2, lag: 0, frames: 30 },
  { do: 'flush' },
]);

async function history(actions: readonly Action[]): Promise<{ world: World; stores: JournaledStores }> {
  const stores = new JournaledStores();
  const world = new World(stores);
  await world.start();
  const before = [[], BEGUN, [...BEGUN, ...TURNED]][actions.length % 3] ?? [];
  for (const action of [...before, ...actions]) await world.act(action);
  assert(world.damage.length === world.renewals, `damage that there was not: ${world.damage.join('; ')}`);
  return { world, stores };
}

async function run(actions: readonly Action[]): Promise<void> {
  const { world } = await history(actions);
  world.settle();
  // What a failed write left behind is mended by the next one.
  for (let time = 0; time < 7; time++) await world.act({ do: 'flush' });
  await world.restart();
  assert(world.damage.length === world.renewals, `damage that there was not: ${world.damage.join('; ')}`);
  // It serves at once what it had.
  assert(world.state.catalog.services.has('all'), 'a restarted replica serves');
  world.settle();
}

/** Starts from the disk, and goes on until all is well again. */
async function startFrom(disk: ConstructorParameters<typeof World>[0], before: World): Promise<World> {
  const world = new World(disk, before.upstreams);
  await world.start();
  return world;
}

describe('a replica and its upstreams', () => {
  it('R1, R2, R3: rows equal upstream through failovers, resets, other logs, failing disks and restarts', async () => {
    await assertFuzz(300, fc.array(arbitraryAction, { minLength: 1, maxLength: 60 }), run);
  }, 300_000);

  it('R1, R3: from every state that the disk was in it starts without a loss, and catches up', async () => {
    const sometimes = new Sometimes();
    await assertFuzz(25, fc.array(arbitraryAction, { minLength: 10, maxLength: 50 }), async (actions) => {
      const { world, stores } = await history(actions);
      let wasServed = false;
      let read = '';
      for (let end = 0; end <= stores.batches.length; end++) {
        const again = await startFrom(await diskOf(DIRECTORY, stores.batches.slice(0, end)), world);
        assert(
          again.damage.length === 0 && again.state.healing.length === 0,
          `a crash lost: ${again.damage.join('; ')}`,
        );
        sometimes.note('rows are there', again.state.rowCount > 0);
        const isServed = again.state.catalog.services.size > 0;
        assert(isServed || !wasServed || world.renewals > 0, 'what the disk had to serve it has at any later time');
        wasServed = isServed;
        sometimes.note('it serves at once', isServed);
        sometimes.note('a generation waits for the other shard', again.state.pending.length > 0 && isServed);
        const generations = [...again.state.catalog.views.values()].map((view) => view.tables[0]?.generation);
        sometimes.note('a view was read in another generation before', read !== '' && read !== generations.join());
        read = generations.join();
        again.settle();
      }
    });
    sometimes.check();
  }, 300_000);

  it('R1, R3: a batch that the disk lost in the middle is noticed, or makes no difference', async () => {
    const sometimes = new Sometimes();
    await assertFuzz(25, fc.array(arbitraryAction, { minLength: 10, maxLength: 50 }), async (actions) => {
      const { world, stores } = await history(actions);
      for (let lost = 0; lost < stores.batches.length; lost++) {
        const again = await startFrom(await diskOf(DIRECTORY, stores.batches.toSpliced(lost, 1)), world);
        sometimes.note('a loss is noticed', again.damage.length > 0);
        sometimes.note(
          'one shard serves on while another heals',
          again.state.catalog.services.size > 0 && again.state.healing.length === 1,
        );
        again.settle();
        // The healing is on the disk, too.
        await again.act({ do: 'flush' });
        again.damage.length = 0;
        await again.restart();
        assert(again.damage.length === 0 && again.state.healing.length === 0, 'what was healed is sound');
      }
    });
    sometimes.check();
  }, 300_000);

  it('R1, R3: a value that was harmed, or is gone with or without a trace, is noticed or comes again', async () => {
    const sometimes = new Sometimes();
    const harms = ['flip', 'cut', 'lose', 'lose silently'] as const;
    await assertFuzz(15, fc.array(arbitraryAction, { minLength: 10, maxLength: 50 }), async (actions) => {
      const { world, stores } = await history(actions);
      const whole = await diskOf(DIRECTORY, stores.batches);
      const keys = [...whole.keysOf(DIRECTORY)];
      const sound = await startFrom(whole, world);
      for (const key of keys) {
        for (const harm of harms) {
          const disk = await diskOf(DIRECTORY, stores.batches);
          if (harm === 'flip') disk.damage(DIRECTORY, key, (value) => value.fill((value[0] ?? 0) ^ 4, 0, 1));
          else if (harm === 'cut') disk.damage(DIRECTORY, key, (value) => value.subarray(0, value.length - 1));
          else disk.lose(DIRECTORY, key, harm === 'lose');
          const again = await startFrom(disk, world);
          const isTold = again.damage.length > 0;
          // Rows that a write left behind unfinished are nobody's, whatever they are.
          const isWhole = again.state.rowCount === sound.state.rowCount;
          assert(isTold || isWhole || !key.startsWith('r'), `${harm} of ${key} was not noticed`);
          sometimes.note(`${harm} is noticed`, isTold);
          again.settle();
        }
      }
    });
    sometimes.check();
  }, 300_000);
});
