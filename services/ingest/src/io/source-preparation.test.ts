/**
 * Goal: whoever drops a slot at any moment, the source is captured in the end. Method: a scripted database that loses its slot
 * between its making and the first look at it.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { defineScripted, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

class DroppingDatabase extends ScriptedDatabase {
  made = 0;

  override async createSlot(slotName: string): Promise<void> {
    await super.createSlot(slotName);
    if (++this.made === 1) this.dropSlot();
  }
}

it('makes its slot again when it is gone before it was looked at', async () => {
  const clock = new VirtualClock();
  const random = new Random('slot');
  const real = (): number => random.real();
  const database = new DroppingDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: real });
  database.createTable('events', ['id', 'value']);
  const capture = await startScripted({ database, files: new SimulatedDisk(), clock, random: real });
  await capture.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
  const problems = new Set<string | undefined>();
  for (let step = 0; step < 200 && capture.source.status().acknowledgedLsn === 0n; step++) {
    problems.add(capture.source.status().problem?.message);
    await clock.advance(200_000);
  }
  const stopping = capture.stop();
  await clock.advance(10_000_000);
  await stopping;
  expect(database.made).toBe(2);
  expect([...problems].join()).toContain('the replication slot freshet_shop was dropped as soon as it was made');
});
