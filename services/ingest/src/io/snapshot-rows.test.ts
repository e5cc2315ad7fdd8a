/**
 * Goal: appending a snapshot ends when it is told to, however large the stage is and however well the log keeps up. Method:
 * a stage without an end, as far as the test goes, over a log in memory.
 */
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { AppendPipeline } from '../core/append-pipeline.ts';
import { prepareRoute } from '../core/route.ts';
import { defineScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { appendSnapshot } from './snapshot-rows.ts';
import type { Stage, StageStore } from './snapshot-stage.ts';

it('ends with the signal between two pieces of a stage, and takes no more of it', async () => {
  const clock = new VirtualClock();
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.5 });
  database.createTable('events', ['id', 'value']);
  const definitions = defineScripted(database, 1n, [{ table: 'events', mode: 1 }]);
  const [plan] = definitions.routes;
  const stop = new AbortController();
  let pieces = 0;
  let closed = false;
  let done = 0;
  const store: Pick<StageStore, 'rows'> = {
    async *rows() {
      try {
        for (; pieces < 100; pieces++) {
          if (pieces === 3) stop.abort(new DOMException('the test ends it', 'AbortError'));
          yield [[String(pieces), '1']];
        }
      } finally {
        closed = true;
      }
    },
  };
  const table = {
    schema: 'public',
    table: 'events',
    columns: ['id', 'value'],
    typeOids: [20, 20],
    file: '',
    pieces: 1,
  };
  const stage: Stage = { name: 's', fromLsn: 1n, tables: [table] };
  const log = createMemoryLog({ partitions: 1, clock });
  const quarantine = { append: () => Promise.resolve() };
  const appended = appendSnapshot({
    store: store as StageStore,
    stage,
    definitions,
    routes: [prepareRoute(plan!, 1, 1)],
    partitions: 1,
    pipeline: new AppendPipeline({ log, quarantine, clock, random: () => 0, bytesMax: 1e9 }),
    onRows: (rows) => {
      done += rows;
    },
    clock,
    signal: stop.signal,
  });
  await expect(appended).rejects.toMatchObject({ name: 'AbortError' });
  expect({ pieces, closed, done }).toEqual({ pieces: 3, closed: true, done: 3 });
});
