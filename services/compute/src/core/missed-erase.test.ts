/**
 * Goal: whoever comes back from before an erase that is complete serves nothing of the entity: a node neither from its store
 * nor from a checkpoint, a replica not from its rows, a build not from what it had read. And nobody is made anew without a
 * reason. Method: the real engine on a segment log, whose records are erased while somebody is away, as ingest does it.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  COLUMNS,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  type,
  view,
  viewHex,
} from '@freshet/engine/testing/plans.testing.ts';
import { ErasedSchema, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { Log, LogBatch } from '@freshet/log/log.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngineFold, ENGINE_FORMAT } from '../io/engine.ts';
import { catchUp } from '../testing/following.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { RIG_LIMITS, ShardRig } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { MissedErase } from './missed-erase.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost } from './shard-host.ts';

const MARKER = 'QZXWVKJHGFQPLMNB';
const V1 = viewHex(1);
const FIRST = view([feature('all', 'count', '', LIFETIME), feature('last', 'last', 's', LIFETIME)]);
const SECOND = view([feature('last', 'last', 's', LIFETIME)], { id: 2 });
const keyOf = (name: string): Uint8Array => encodeKey([Kind.STRING], [name]);

let log: SegmentLog;
let sequence = 0;
const rigs: ShardRig[] = [];

beforeEach(async () => {
  log = await openSegmentLog({
    directory: '/log',
    partitions: 1,
    clock: systemClock,
    segmentBytes: 400,
    tailBytes: 0,
    minFreeBytes: 0,
    files: new SimulatedDisk(),
    makeLogId: () => 'ab'.repeat(16),
  });
  await log.append(0, [
    encodeRecord({ case: 'definitions', value: definitions(1, [FIRST]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
  ]);
});
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.remove();
  await log.close();
});

function event(name: string, text: string): Uint8Array {
  return encodeRecord({
    case: 'change',
    value: {
      route: 1,
      generation: 1,
      lane: 2,
      sequence: { major: BigInt(++sequence) },
      operation: Operation.INSERT,
      entityKey: keyOf(name),
      contractVersion: 1,
      row: COLUMNS.map((column) => valueToProto(type(column.kind), column.name === 's' ? text : null)),
    },
  });
}

const others = (round: number): Uint8Array[] => Array.from({ length: 10 }, (_, i) => event(`other${i}`, `${round}`));

async function appendErase(): Promise<number> {
  const value = { entity: 'user', entityKey: keyOf(MARKER), routes: [1], eraseId: 'e' };
  return (await log.append(0, [encodeRecord({ case: 'erase', value })])).firstOffset;
}

/** As ingest does it: the rows below become fillers, and where the partition ends then is kept in the Erase record's. */
async function completeErase(offset: number): Promise<void> {
  const pause = (): Promise<void> => Promise.resolve();
  const marker = keyOf(MARKER);
  const rows = (record: Uint8Array): Uint8Array | undefined => {
    const { kind } = fromBinary(LogRecordSchema, record);
    if (kind.case !== 'change') return undefined;
    const { route, generation, lane, sequence: place } = kind.value;
    return toBinary(ErasedSchema, create(ErasedSchema, { route, generation, lane, sequence: must(place) }));
  };
  await log.erase(0, { below: offset, marker, kept: rows }, pause);
  const rowsGoneAt = BigInt(must((await log.describe()).partitions[0]).end);
  const left = toBinary(ErasedSchema, create(ErasedSchema, { rowsGoneAt }));
  await log.append(0, others(100));
  await log.erase(0, { below: offset + 1, marker, kept: () => left }, pause);
}

async function makeRig(of: Log = log): Promise<ShardRig> {
  const { createDigest, versionOf } = ENGINE_FORMAT;
  const rig = await ShardRig.make({ log: of, createFold: createEngineFold, createDigest, versionOf });
  rigs.push(rig);
  await rig.open();
  return rig;
}

/** A node of one shard, with its store and its checkpoints in a directory. */
function startHost(root: string, of: Log) {
  const storage = testStorage(root, systemClock, { format: ENGINE_FORMAT });
  const host = new ShardHost({
    log: of,
    ...storage,
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: { ...RIG_LIMITS, commitIntervalMs: 20 },
    pages: new Gate(2),
    passPace: new PassPace(),
  });
  const stop = new AbortController();
  const running = host.run([0], stop.signal);
  const folded = async (): Promise<void> => {
    const { partitions } = await log.describe();
    while ((host.shard(0)?.position ?? 0) < (partitions[0]?.end ?? 0)) await turn();
  };
  const stopped = (): Promise<void> => {
    stop.abort();
    return running;
  };
  const row = (name: string): unknown => host.shard(0)?.row(V1, keyString(keyOf(name)));
  return { host, conditions: storage.conditions, folded, stopped, row };
}

/** A key that was erased has a row still, of nothing, while its state is there. */
const hasRow = ({ shard }: ShardRig, viewId = V1): boolean =>
  Buffer.from(shard.row(viewId, keyString(keyOf(MARKER)))?.bytes ?? []).includes('SECRET');

async function failure({ shard }: ShardRig): Promise<unknown> {
  while (shard.failure === undefined) await turn();
  return shard.failure;
}

describe('a node that was away while an entity was erased', () => {
  it('removes its store and its checkpoints, and folds a log without the entity', async () => {
    const root = mkdtempSync(join(tmpdir(), 'freshet-missed-'));
    const filesWith = (text: string): string[] => {
      const files = readdirSync(root, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
      return files
        .map(({ parentPath, name }) => join(parentPath, name))
        .filter((at) => readFileSync(at).includes(text));
    };
    const started = () => startHost(root, log);
    try {
      const before = started();
      await log.append(0, [...others(1), event(MARKER, `${MARKER}-1`)]);
      await before.folded();
      await before.host.takeCheckpoint(0);
      await log.append(0, [event(MARKER, `${MARKER}-2`)]);
      await before.folded();
      expect(before.row(MARKER)).toBeDefined();
      await before.stopped();
      expect(filesWith(MARKER).length).toBeGreaterThan(1);
      await completeErase(await appendErase());

      const aside = join(root, 'shards', '0.aside-0001');
      mkdirSync(aside);
      const after = started();
      await after.folded();
      expect(after.row(MARKER)).toBeUndefined();
      expect(after.row('other3')).toBeDefined();
      const mended = after.conditions.list().find(({ id }) => id === 'shard/0/mended');
      expect(mended?.message).toMatch(
        /an entity was erased by record 15, and may hold it still; the store was removed/,
      );
      expect(mended?.message).toContain(`remove ${aside}`);
      await after.host.takeCheckpoint(0);
      expect(filesWith(MARKER)).toEqual([]);
      await after.stopped();
      // What was made anew since is nobody's business.
      const again = started();
      await again.folded();
      expect(again.conditions.list()).toEqual([]);
      expect(again.host.repairs(0)).toBe(0);
      await again.stopped();
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('goes on where it is when it folded the record, or began when the rows were gone', async () => {
    const known = await makeRig();
    await log.append(0, [...others(1), event(MARKER, 'SECRET')]);
    await known.settled();
    expect(hasRow(known)).toBe(true);
    const offset = await appendErase();
    await known.settled();
    await completeErase(offset);
    const fresh = await makeRig();
    // Its second view is read from the log's beginning, over the filler.
    await log.append(0, [encodeRecord({ case: 'definitions', value: definitions(2, [FIRST, SECOND]) })]);
    for (const rig of [known, fresh]) {
      await rig.settled();
      expect([hasRow(rig), hasRow(rig, viewHex(2))]).toEqual([false, false]);
      expect([...rig.shard.views.complete.keys()].sort()).toEqual([V1, viewHex(2)]);
      await rig.commit();
      await rig.crash();
      await rig.open();
      await log.append(0, others(2));
      await rig.settled();
    }
  });

  it('is made anew for a build that had read the entity’s rows, and none of the record', async () => {
    const held = new HeldLog(log);
    const rig = await makeRig(held);
    await log.append(0, [...others(1), event(MARKER, 'SECRET'), ...others(2)]);
    await rig.settled();
    held.below = 20;
    await log.append(0, [encodeRecord({ case: 'definitions', value: definitions(2, [FIRST, SECOND]) })]);
    while (rig.shard.fold.builds()[0]?.position !== 20) await turn();
    const offset = await appendErase();
    while (rig.shard.position <= offset) await turn();
    await rig.commit();
    await rig.crash();
    await completeErase(offset);
    held.below = undefined;
    await rig.open();
    expect(await failure(rig)).toBeInstanceOf(MissedErase);
    const { storage } = rig.shard.options;
    await expect(rig.crash(), 'its loops have ended').rejects.toBeInstanceOf(MissedErase);
    await storage.close();
  });

  it('forgets a checkpoint from behind the record, too, that has a build which had read the entity’s rows', async () => {
    const root = mkdtempSync(join(tmpdir(), 'freshet-missed-'));
    const held = new HeldLog(log);
    try {
      const before = startHost(root, held);
      await log.append(0, [...others(1), event(MARKER, 'SECRET'), ...others(2)]);
      await before.folded();
      held.below = 20;
      await log.append(0, [encodeRecord({ case: 'definitions', value: definitions(2, [FIRST, SECOND]) })]);
      while (before.host.shard(0)?.fold.builds()[0]?.position !== 20) await turn();
      const offset = await appendErase();
      await before.folded();
      await before.host.takeCheckpoint(0);
      await before.stopped();
      await completeErase(offset);

      held.below = undefined;
      const after = startHost(root, held);
      while (after.host.shard(0)?.views.complete.has(viewHex(2)) !== true) await turn();
      expect(after.host.repairs(0)).toBe(1);
      expect(after.row(MARKER)).toBeUndefined();
      await after.stopped();
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

it('a replica that was away drops the entity, also where the fold of who it follows never had it', async () => {
  const before = await makeRig();
  await log.append(0, [...others(1), event(MARKER, 'SECRET')]);
  await before.settled();
  const away = new ModelReplica();
  const first = before.subscribe(away);
  await catchUp(before, first, away, 1);
  await first.close();
  const rowOf = (replica: ModelReplica): string | undefined =>
    replica.rows.get(V1)?.get(keyString(keyOf(MARKER)))?.row || undefined;
  expect(rowOf(away)).toContain('SECRET');
  await completeErase(await appendErase());

  // It has every change since the log's beginning in its journal, and none of them is the entity's.
  const fresh = await makeRig();
  await fresh.settled();
  for (const when of ['live', 'from its store']) {
    const replica = away.copy();
    const subscription = fresh.subscribe(replica);
    await catchUp(fresh, subscription, replica, 1);
    expect([rowOf(replica), replica.passes], when).toEqual([undefined, 1]);
    await log.append(0, others(3));
    await fresh.settled();
    await catchUp(fresh, subscription, replica, 1);
    expect(replica.passes, 'who was told of it needs no other').toBe(1);
    await subscription.close();
    await fresh.commit();
    await fresh.crash();
    await fresh.open();
    await fresh.settled();
  }
});

it('a pass for who was told less than the filler is not begun again and again while the last commit is before it', async () => {
  const before = await makeRig();
  await log.append(0, [...others(1), event(MARKER, 'SECRET')]);
  await before.settled();
  const away = new ModelReplica();
  const first = before.subscribe(away);
  await catchUp(before, first, away, 1);
  await first.close();
  const offset = await appendErase();
  await completeErase(offset);

  const held = new HeldLog(log);
  held.below = offset;
  const fresh = await makeRig(held);
  while (fresh.shard.position < offset) await turn();
  await fresh.commit();
  await fresh.crash();
  held.below = undefined;
  await fresh.open();
  await fresh.settled();
  expect(fresh.shard.committed?.position).toBe(offset);
  const subscription = fresh.subscribe(away);
  await catchUp(fresh, subscription, away, 1);
  expect(away.passes).toBe(2);
  expect(hasRow(fresh)).toBe(false);
  await subscription.close();
});

/** A log of which a reading from its beginning can be held up. */
class HeldLog implements Log {
  readonly #log: SegmentLog;
  /** What begins at the beginning ends here. */
  below: number | undefined;

  constructor(of: SegmentLog) {
    this.#log = of;
  }

  get logId(): string {
    return this.#log.logId;
  }
  get partitionCount(): number {
    return this.#log.partitionCount;
  }
  append: Log['append'] = (partition, records) => this.#log.append(partition, records);
  describe: Log['describe'] = () => this.#log.describe();
  readFrames: Log['readFrames'] = (partition, from, signal) => this.#log.readFrames(partition, from, signal);
  trim: Log['trim'] = (partition, below) => this.#log.trim(partition, below);
  segments: Log['segments'] = (partition) => this.#log.segments(partition);
  close: Log['close'] = () => this.#log.close();

  async *read(partition: number, from: number, signal: AbortSignal): AsyncGenerator<LogBatch> {
    // One that began before goes on.
    const { below } = this;
    for await (const batch of this.#log.read(partition, from, signal)) {
      if (below === undefined || from >= below) yield batch;
      else {
        const entries = batch.entries.filter(({ offset }) => offset < below);
        if (entries.length > 0) yield { ...batch, entries };
        if ((batch.entries.at(-1)?.offset ?? 0) < below - 1) continue;
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        return;
      }
    }
  }
}
