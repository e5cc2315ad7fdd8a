/**
 * Goal: a database that is put in the place of the one that was looked at, before the stream is opened, is noticed on the
 * stream's own connection. Method: the production code over a scripted database that goes over to another timeline just then.
 */

import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import type { ReplicationStream } from '../core/source-database.ts';
import { defineScripted, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

class SwappedDatabase extends ScriptedDatabase {
  swaps = false;

  override openStream(slotName: string): Promise<ReplicationStream> {
    if (this.swaps) this.timeline = 2;
    return super.openStream(slotName);
  }
}

it('reads everything anew when another timeline answers the stream than the look', async () => {
  const clock = new VirtualClock();
  const random = new Random('swapped');
  const database = new SwappedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => random.real() });
  database.createTable('events', ['id', 'value']);
  const capture = await startScripted({
    database,
    files: new SimulatedDisk(),
    clock,
    random: () => random.real(),
  });
  await capture.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
  await clock.advance(10_000_000);
  expect(capture.source.newestGeneration(1)).toBe(1);
  database.swaps = true;
  database.breakStreams();
  await clock.advance(30_000_000);
  expect(capture.source.status().phase).toBe(SourceState.STREAMING);
  expect(capture.source.newestGeneration(1)).toBe(2);
  const stopping = capture.stop();
  await clock.advance(10_000_000);
  await stopping;
});
