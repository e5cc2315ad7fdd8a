/**
 * Goal: those who work beside each other on a source's state undo nothing of each other, in memory and on disk.
 * Method: changes made at once, over a simulated disk that takes its time.
 */
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { SourceStore } from './source-store.ts';

it('I1: keeps what each of several changes at once made of the state', async () => {
  const [clock, files, logger] = [new VirtualClock(), new SimulatedDisk(), silentLogger];
  files.step = () => clock.sleep(2);
  const conditions = new ConditionBoard({ clock, log: logger });
  const log = createMemoryLog({ partitions: 2, clock });
  const open = (): SourceStore =>
    new SourceStore({ name: 'shop', slotName: 'slot', directory: '/source', files, log, clock, logger, conditions });
  const store = open();
  const changing = Promise.all([
    store.update((state) => ({ ...state, acknowledgedLsn: 7n })),
    store.update((state) => ({ ...state, generationFloor: state.generationFloor + 3 })),
    store.update((state) => ({ ...state, generationFloor: state.generationFloor + 4 })),
  ]);
  await clock.advance(1_000_000);
  await changing;
  expect(store.state).toMatchObject({ acknowledgedLsn: 7n, generationFloor: 7 });
  const again = open();
  const loading = again.load();
  await clock.advance(1_000_000);
  await loading;
  expect(again.state).toMatchObject({ acknowledgedLsn: 7n, generationFloor: 7 });
});
