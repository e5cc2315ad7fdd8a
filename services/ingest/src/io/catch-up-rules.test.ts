/**
 * Goal: a row that a catch-up had on its way when other rules came into force is folded once after all, although it is caught up
 * again by those (C1, F3).
 * Method: the production code over a simulated disk that holds up what is written to the quarantine, and a scripted database
 * whose copy of the slot stands still behind its first commit.
 */
import { create } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { HoldScope, ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import type { ReplicationStream, StreamMessage } from '../core/source-database.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const TABLES = [
  { table: 'events', mode: 1 },
  { table: 'late', mode: 1 },
] as const;

/** While it stalls, a copy of the slot tells its first commit, when the test has made more, and then nothing. */
class StallingDatabase extends ScriptedDatabase {
  stalls = false;
  /** Called when a copy is opened. */
  onCopy = async (): Promise<void> => {};
  /** Called once the first commit of a copy is with the pipeline. */
  onTold = (): void => {};

  override async openCopy(slotName: string): Promise<ReplicationStream> {
    const stream = await super.openCopy(slotName);
    if (!this.stalls) return stream;
    await this.onCopy();
    const read = stream.read.bind(stream);
    let isTold = false;
    stream.read = async (signal) => {
      if (isTold) {
        this.onTold();
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        throw new FreshetError('CANCELLED', 'reading was given up');
      }
      const told: StreamMessage[] = [];
      while (!told.some((message) => message.kind === 'change' && message.message.kind === 'commit')) {
        for (const message of await read(signal)) {
          told.push(message);
          if (message.kind === 'change' && message.message.kind === 'commit') break;
        }
      }
      isTold = true;
      return told;
    };
    return stream;
  }
}

it('C1, F3: a row on its way to quarantine when the rules of its route change does not come to the log as well', async () => {
  const clock = new VirtualClock();
  const disk = new SimulatedDisk();
  const database = new StallingDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.999 });
  for (const { table } of TABLES) database.createTable(table, ['id', 'value']);
  let next = 1;
  const commit = (): void => {
    const row = { id: String(next++), value: '1' };
    database.commit(TABLES.map(({ table }) => ({ kind: 'insert', table, row })));
  };
  const define = (generation: bigint, tables: readonly string[], rule?: string): DefinitionSet => {
    const set = defineScripted(database, generation, TABLES);
    for (const { source } of set.routes) {
      must(source).hold = HoldScope.KEY;
      if (rule === undefined || source?.name !== 'late') continue;
      source.rules.push(create(ValueRuleSchema, { name: 'asked', rule: { case: 'expression', value: rule } }));
    }
    set.routes = set.routes.filter(({ source }) => tables.includes(source?.name ?? ''));
    return set;
  };
  const capture = await startScripted({ database, files: disk, clock, random: () => 0.5 });
  const apply = async (set: DefinitionSet): Promise<void> => {
    const applying = capture.node.apply(set);
    await clock.advance(SECOND);
    await applying;
  };
  await apply(define(1n, ['events']));
  await clock.advance(10 * SECOND);

  const writable = Promise.withResolvers<void>();
  let [isHeld, isTold] = [false, false];
  disk.step = async ({ kind, path }) => {
    if (isHeld && kind === 'write' && path.endsWith('quarantine.jsonl')) await writable.promise;
  };
  database.stalls = true;
  database.onCopy = async () => {
    for (let i = 0; i < 3; i++) commit();
    // The live stream is past the first of them.
    await clock.sleep(2_000);
    isHeld = true;
  };
  database.onTold = () => {
    isTold = true;
  };
  await apply(define(2n, ['events', 'late'], 'value > 1'));
  await clock.advance(5 * SECOND);
  expect({ isHeld, isTold }).toEqual({ isHeld: true, isTold: true });

  database.stalls = false;
  await apply(define(3n, ['events', 'late']));
  await clock.advance(5 * SECOND);
  isHeld = false;
  writable.resolve();
  await clock.advance(30 * SECOND);
  expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1, 2] });

  const folded = await foldLog(capture.log);
  const found = [...must(folded.get(2)).rows.values()].map(({ values, times }) => `${values[0]}: ${times}`);
  expect(found.sort()).toEqual([...database.rows('late').keys()].map((id) => `${id}: 1`).sort());
  expect(capture.quarantine.count).toBe(0);
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
});
