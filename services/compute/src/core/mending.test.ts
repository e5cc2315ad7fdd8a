/**
 * Goal: a node mends its shards by itself, says so, and one shard's trouble is never another's.
 * Method: a host of two shards on logs, stores and files in memory, with a clock that only a test moves; the disk is
 * damaged, filled or made read-only under it, and checkpoints are flipped.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { begin, COUNTS, define, Script } from '@freshet/engine/testing/script.testing.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { MemoryDisk, type StoreStep } from '@freshet/store/memory-store.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkpointDirectory, shardDirectory } from '../io/node-storage.ts';
import {
  changeRecord,
  createCountingDigest,
  createCountingFold,
  definitionsRecord,
  viewId,
} from '../testing/counting-fold.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost, type ShardHostOptions } from './shard-host.ts';
import type { UpkeepLimits } from './shard-upkeep.ts';

const DATA = '/data';
const insert = (n: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(n)));

let clock: VirtualClock;
let disk: MemoryDisk;
let files: SimulatedDisk;
let beforeStep: (step: StoreStep) => void;
let stops: (() => Promise<void>)[];

beforeEach(() => {
  clock = new VirtualClock();
  beforeStep = () => undefined;
  disk = new MemoryDisk({
    before: (step) => {
      beforeStep(step);
      return Promise.resolve();
    },
  });
  files = new SimulatedDisk();
  stops = [];
});

afterEach(async () => {
  for (const stop of stops) await stop();
});

async function filledLog(logId: string, keys: readonly number[]): Promise<MemoryLog> {
  const log = createMemoryLog({ partitions: 2, clock, logId });
  for (const partition of [0, 1])
    await log.append(partition, [definitionsRecord(1, [{ n: 0, route: 0 }]), ...keys.map(insert)]);
  return log;
}

interface Running {
  readonly host: ShardHost;
  readonly stop: () => Promise<void>;
}

function start(log: LogReader, upkeep: Partial<UpkeepLimits> = {}, other: Partial<ShardHostOptions> = {}): Running {
  const host = new ShardHost({
    log,
    ...testStorage(DATA, clock, { stores: disk, files, upkeep }),
    createFold: createCountingFold,
    createDigest: createCountingDigest,
    clock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: RIG_LIMITS,
    pages: new Gate(2),
    passPace: new PassPace(),
    ...other,
  });
  const controller = new AbortController();
  const run = host.run([0, 1], controller.signal);
  run.catch(() => undefined);
  const stop = async (): Promise<void> => {
    stops = stops.filter((other) => other !== stop);
    controller.abort();
    await run;
  };
  stops.push(stop);
  return { host, stop };
}

async function until(what: () => boolean, advanceUs = 0): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    assert(tries < 100_000, 'it comes to pass');
    if (advanceUs > 0) await clock.advance(advanceUs);
    await turn();
  }
}

const isAt = (host: ShardHost, shard: number, position: number): boolean =>
  host.shard(shard)?.position === position && host.shard(shard)?.fold.builds().length === 0;
const bothAt = (host: ShardHost, position: number): boolean => isAt(host, 0, position) && isAt(host, 1, position);
const countOf = (host: ShardHost, key: number): string | undefined => {
  const row = host.shard(0)?.row(viewId(0), int64KeyString(key));
  return row === undefined ? undefined : Buffer.from(row.bytes).toString().trim();
};
const conditionsOf = (host: ShardHost): string[] => host.conditionList.map(({ id, code }) => `${id} ${code}`);

function flip(key: number): void {
  const name = must(
    disk.keysOf(shardDirectory(DATA, 0)).find((k) => k.startsWith('s') && k.endsWith(int64KeyString(key))),
  );
  disk.damage(shardDirectory(DATA, 0), name, (sealed) => {
    sealed[0] = (sealed[0] ?? 0) ^ 1;
    return sealed;
  });
}

function checkpointFiles(): string[] {
  return files.paths().filter((path) => path.startsWith(checkpointDirectory(DATA, 0)));
}

describe('a shard whose store is damaged', () => {
  it('F1, L2: is restored from its newest checkpoint and folds on, without the records before it', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2, 1]);
    // What is read of the log by then would be gone if it were trimmed to the checkpoint.
    let lowest = Infinity;
    const watched: LogReader = {
      describe: () => log.describe(),
      read: (partition, from, signal) => {
        if (partition === 0) lowest = Math.min(lowest, from);
        return log.read(partition, from, signal);
      },
    };
    const { host } = start(watched);
    await until(() => bothAt(host, 4));
    const { position } = await host.takeCheckpoint(0);
    expect(position).toBe(4);
    await log.append(0, [insert(3)]);
    await until(() => isAt(host, 0, 5));
    await must(host.shard(0)).digest();
    lowest = Infinity;
    flip(1);
    await log.append(0, [insert(1)]);
    await until(() => host.repairs(0) === 1 && isAt(host, 0, 6));
    expect(countOf(host, 1)).toBe('3@5');
    expect(countOf(host, 3)).toBe('1@4');
    // The record before the checkpoint is looked at to know the log by it; nothing older is.
    expect(lowest).toBeGreaterThanOrEqual(3);
    expect(conditionsOf(host)).toEqual(['shard/0/mended DATA_DAMAGED']);
    expect(host.repairs(1)).toBe(0);
    expect([host.restores(0), host.restores(1)]).toEqual([1, 0]);
  });

  it('L2: is restored when a power cut left it behind its own checkpoint, up to which the log may be trimmed', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const first = start(log);
    await until(() => bothAt(first.host, 2));
    await must(first.host.shard(0)).digest();
    await log.append(0, [insert(2), insert(1)]);
    await until(() => isAt(first.host, 0, 4));
    expect((await first.host.takeCheckpoint(0)).position).toBe(4);
    await first.stop();
    // Of the commits, none of which was synced, only the oldest is left.
    disk.crash(() => 1);
    const { host } = start(log);
    await until(() => host.repairs(0) === 1 && isAt(host, 0, 4));
    expect(countOf(host, 1)).toBe('2@3');
    expect(host.shard(0)?.committed?.position).toBe(4);
  });

  it('L2: a checkpoint that a killed process left unsynced stays once it was found, as the log is trimmed by it', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const { host, stop } = start(log);
    await until(() => bothAt(host, 2));
    const kills: SimulatedDisk[] = [];
    let isRenamed = false;
    files.step = ({ kind }, of) => {
      if (isRenamed && kind === 'syncDirectory' && kills.length === 0) kills.push(of.kill());
      isRenamed ||= kind === 'rename';
    };
    await expect(host.takeCheckpoint(0)).rejects.toThrow();
    await stop().catch(() => undefined);
    files = must(kills[0]);
    const found = async (): Promise<number[]> => {
      const storage = testStorage(DATA, clock, { stores: disk, files });
      return (await storage.openCheckpoints(0)).list.map(({ position }) => position);
    };
    expect(await found()).toEqual([2]);
    files = files.powerCut({ real: () => 0.999 });
    expect(await found()).toEqual([2]);
  });

  it('F1: falls back to the checkpoint before, or to the log, when the newest checkpoint is damaged too', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    const { host, stop } = start(log);
    await until(() => bothAt(host, 3));
    await host.takeCheckpoint(0);
    await log.append(0, [insert(1)]);
    await until(() => isAt(host, 0, 4));
    await host.takeCheckpoint(0);
    const [older, newest] = checkpointFiles();
    const content = files.content(must(newest));
    const middle = Math.floor(content.length / 2);
    content[middle] = must(content[middle]) ^ 8;
    files.setContent(must(newest), content);
    flip(1);
    await log.append(0, [insert(1)]);
    await until(() => host.repairs(0) === 1 && isAt(host, 0, 5));
    expect(countOf(host, 1)).toBe('3@4');
    expect(host.checkpoints(0).map(({ position }) => position)).toEqual([3]);
    expect(checkpointFiles()).toEqual([older, `${newest}.damaged`]);
    expect(conditionsOf(host)).toContain('shard/0/checkpoint DATA_DAMAGED');
    await stop();
  });

  it('R3: never takes a checkpoint of another log, or of another history of the same', async () => {
    const first = start(await filledLog('11'.repeat(16), [1, 2, 3]));
    await until(() => bothAt(first.host, 4));
    await first.host.takeCheckpoint(0);
    await first.stop();
    const other = await filledLog('22'.repeat(16), [4, 5, 6]);
    const history = await filledLog('11'.repeat(16), [1, 7, 8, 9]);
    for (const log of [other, history]) {
      const end = must((await log.describe()).partitions[0]).end;
      const { host, stop } = start(log);
      await until(() => bothAt(host, end), 10_000);
      expect(countOf(host, 2)).toBeUndefined();
      expect(countOf(host, 3)).toBeUndefined();
      // L2: one of another history is of no use to fold on from; one of another log may be again.
      expect(host.checkpoints(0)).toHaveLength(log === other ? 1 : 0);
      await stop();
    }
    // Nor is it listed again by a node that starts and has no reason to ask about it.
    const again = start(history);
    await until(() => bothAt(again.host, 5), 10_000);
    expect(again.host.checkpoints(0)).toHaveLength(0);
    expect(checkpointFiles()).toHaveLength(1);
  });

  it('L2: keeps no checkpoint of another history of the log, which is further than the newest', async () => {
    const first = start(await filledLog('11'.repeat(16), [1, 2, 3, 4, 5, 6]));
    await until(() => bothAt(first.host, 7));
    await first.host.takeCheckpoint(0);
    await first.stop();
    const log = await filledLog('11'.repeat(16), [1, 9]);
    const second = start(log);
    await until(() => bothAt(second.host, 3), 10_000);
    for (const n of [7, 8, 9]) {
      await log.append(0, [insert(n)]);
      await until(() => isAt(second.host, 0, n - 3));
      await second.host.takeCheckpoint(0);
    }
    expect(second.host.checkpoints(0).map(({ position }) => position)).toEqual([6, 5, 4]);
    expect(checkpointFiles()).toHaveLength(3);
  });

  it('is found by the scrub when a key vanished that nobody asks for', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2, 3]);
    const { host } = start(log, { scrubIntervalMs: 1_000 });
    await until(() => bothAt(host, 4));
    await must(host.shard(0)).digest();
    await until(() => host.scrubbedAtUs(0) > 0, 100_000);
    const gone = must(disk.keysOf(shardDirectory(DATA, 0)).find((k) => k.endsWith(int64KeyString(2))));
    disk.lose(shardDirectory(DATA, 0), gone, false);
    await until(() => host.repairs(0) === 1 && isAt(host, 0, 4), 100_000);
    expect(countOf(host, 2)).toBe('1@2');
  });

  it('never becomes a checkpoint', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2, 3]);
    const { host } = start(log);
    await until(() => bothAt(host, 4));
    await must(host.shard(0)).digest();
    const gone = must(disk.keysOf(shardDirectory(DATA, 0)).find((k) => k.endsWith(int64KeyString(2))));
    disk.lose(shardDirectory(DATA, 0), gone, false);
    await expect(host.takeCheckpoint(0)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await until(() => host.repairs(0) === 1 && isAt(host, 0, 4));
    expect((await host.takeCheckpoint(0)).states).toBe(3);
  });

  it('waits longer and longer when it is damaged again and again, and says so', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const { host } = start(log);
    await until(() => bothAt(host, 2));
    for (let time = 1; time <= 4; time++) {
      await must(host.shard(0)).digest();
      flip(1);
      await log.append(0, [insert(1)]);
      await until(() => host.repairs(0) === time);
      const beganUs = clock.monotonicUs();
      await until(() => isAt(host, 0, 2 + time), 1_000_000);
      const waitedUs = clock.monotonicUs() - beganUs;
      expect(waitedUs).toBeGreaterThanOrEqual(must([0, 10_000_000, 60_000_000, 900_000_000][time - 1]));
    }
    expect(host.conditionList.find(({ id }) => id === 'shard/0/mended')?.message).toContain('4 times within an hour');
    expect(isAt(host, 1, 2)).toBe(true);
  });
});

describe('a shard whose disk takes no writes', () => {
  it('R4: is served on, stops folding at its bound, and goes on from its last commit once there is room', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    const { host } = start(log);
    await until(() => bothAt(host, 3));
    await must(host.shard(0)).digest();
    beforeStep = ({ kind, directory }) => {
      if (kind === 'write' && directory === shardDirectory(DATA, 0)) {
        throw new FreshetError('DISK_FULL', 'the disk is full', { place: directory });
      }
    };
    files.capacityBytes = 0;
    await log.append(0, [insert(1)]);
    await until(() => isAt(host, 0, 4));
    must(host.shard(0)).askCommit();
    await until(() => conditionsOf(host).includes('shard/0/disk DISK_FULL'));
    expect(countOf(host, 1)).toBe('2@3');
    expect(isAt(host, 1, 3)).toBe(true);
    // More than four commits' worth of keys: what is over it stays in the log.
    const perCommit = Math.ceil(RIG_LIMITS.commitBytes / 100);
    const many = Array.from({ length: 6 * perCommit }, (_, i) => insert(100 + i));
    for (let at = 0; at < many.length; at += 2_000) await log.append(0, many.slice(at, at + 2_000));
    const end = 4 + many.length;
    await until(() => must(host.shard(0)).position > 4 + 4 * perCommit);
    for (let i = 0; i < 500; i++) await turn();
    expect(must(host.shard(0)).position).toBeLessThan(end);
    await clock.advance(60_000_000);
    expect(conditionsOf(host)).toContain('shard/0/disk DISK_FULL');
    beforeStep = () => undefined;
    files.capacityBytes = Infinity;
    await until(() => isAt(host, 0, end), 100_000);
    expect(countOf(host, 1)).toBe('2@3');
    expect(host.repairs(0)).toBe(0);
    expect(conditionsOf(host)).toEqual([]);
  });

  it('takes no checkpoint that does not fit, says so, and takes it when there is room', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    files.capacityBytes = 1_000_000;
    const { host } = start(log, { checkpointIntervalMs: 60_000 });
    await until(() => bothAt(host, 3));
    await until(() => conditionsOf(host).includes('shard/0/checkpoint DISK_FULL'), 1_000_000);
    expect(checkpointFiles()).toEqual([]);
    files.capacityBytes = Infinity;
    await until(() => host.checkpoints(0).length === 1, 1_000_000);
    expect(conditionsOf(host).filter((id) => id.startsWith('shard/0'))).toEqual([]);
  });
});

describe('a node with a shard that cannot run', () => {
  it('comes up with the others, and says which and why', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    beforeStep = ({ kind, directory }) => {
      if (kind === 'open' && directory === shardDirectory(DATA, 0)) throw new FreshetError('STORE_LOCKED', 'held');
    };
    const { host } = start(log);
    await until(() => isAt(host, 1, 2));
    expect(conditionsOf(host)).toEqual(['shard/0/down STORE_LOCKED']);
    expect(host.whyDown(0)?.code).toBe('STORE_LOCKED');
    beforeStep = () => undefined;
    await until(() => isAt(host, 0, 2), 1_000_000);
    expect(conditionsOf(host)).toEqual([]);
  });

  it('is not tried again and again without a pause, though each life gets going', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    let lives = 0;
    const refusing: LogReader = {
      describe: () => log.describe(),
      read: (partition, from, signal) => {
        if (partition !== 0) return log.read(partition, from, signal);
        lives += 1;
        throw new FreshetError('INVALID_DEFINITION', 'a view needs a newer engine');
      },
    };
    const { host } = start(refusing);
    await until(() => isAt(host, 1, 2));
    for (let i = 0; i < 2_000; i++) await turn();
    expect(conditionsOf(host)).toEqual(['shard/0/down INVALID_DEFINITION']);
    expect(lives).toBe(2);
    await until(() => lives === 6, 100_000);
  });

  it('stops at once, though its upkeep waits for that of another', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const gate = new Gate(1);
    let finish = (): void => undefined;
    const busy = gate.run(() => new Promise<void>((resolve) => (finish = resolve)));
    const { host, stop } = start(log, { gate, checkpointIntervalMs: 1_000 });
    await until(() => bothAt(host, 2));
    await host.shard(0)?.digest();
    await clock.advance(2_000_000);
    for (let i = 0; i < 100; i++) await turn();
    await stop();
    expect(host.shards).toEqual([]);
    finish();
    await busy;
  });

  it('folds on when a new view begins with records that were trimmed, and says that it cannot be built', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    const { host } = start(log);
    await until(() => bothAt(host, 3));
    await log.trim(0, 3);
    const both = [
      { n: 0, route: 0 },
      { n: 1, route: 0 },
    ];
    await log.append(0, [definitionsRecord(2, both), insert(3)]);
    await until(() => host.shard(0)?.position === 5 && conditionsOf(host).length > 0);
    expect(conditionsOf(host)).toEqual(['shard/0/builds OFFSET_OUT_OF_RANGE']);
    expect(countOf(host, 3)).toBe('1@4');
    expect(host.shard(0)?.fold.builds()).toHaveLength(1);
  });

  it('keeps the newest checkpoints, and takes none when nothing changed', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const { host } = start(log, { checkpointIntervalMs: 60_000 });
    await until(() => bothAt(host, 2));
    for (let i = 0; i < 5; i++) {
      await log.append(0, [insert(i)]);
      await until(() => host.checkpoints(0)[0]?.position === 3 + i, 1_000_000);
    }
    expect(host.checkpoints(0).map(({ position }) => position)).toEqual([7, 6, 5]);
    const taken = must(host.checkpoints(1)[0]).takenAtUs;
    await clock.advance(180_000_000);
    expect(must(host.checkpoints(1)[0]).takenAtUs - taken).toBe(0);
  });

  it('F3: whose fold the disk broke within a record goes back to its last commit, and on', async () => {
    const script = new Script().add(define(1, COUNTS)).add(begin(1, 1)).change({ sequence: 1, user: 1 });
    const log = createMemoryLog({ partitions: 2, clock, logId: '11'.repeat(16) });
    for (const { record } of script.entries) await log.append(0, [record]);
    let failures = 0;
    const engine = (): Partial<ShardHostOptions> => ({
      ...testStorage(DATA, clock, {
        stores: disk,
        files,
        format: { engineVersion: 1, createDigest: createStateDigest, versionOf: readVersion },
      }),
      limits: { ...RIG_LIMITS, cacheBytes: 0 },
      createDigest: createStateDigest,
      createFold: (options) => {
        const load = (instance: string, key: string): Uint8Array | undefined => {
          if (failures > 0 && failures-- > 0) throw new FreshetError('TOO_MANY_OPEN_FILES', 'no descriptor is left');
          return options.cold.load(instance, key);
        };
        return new ShardFold({ ...options, cold: { load } });
      },
    });
    const first = start(log, {}, engine());
    await until(() => first.host.shard(0)?.committed?.position === 3, 1_000_000);
    await first.stop();
    failures = 1;
    const { host } = start(log, {}, engine());
    for (const { record } of script.change({ sequence: 2, user: 1 }).entries.slice(3)) await log.append(0, [record]);
    await until(() => isAt(host, 0, 4) && host.shard(0)?.committed?.position === 4, 1_000_000);
    expect([failures, host.repairs(0)]).toEqual([0, 0]);
    await until(() => conditionsOf(host).length === 0, 1_000_000);
  });

  it('says that the log is damaged, serves what is folded, and goes on once it is mended', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    let isDamaged = false;
    const broken: LogReader = {
      describe: () => log.describe(),
      async *read(partition, from, signal) {
        for await (const batch of log.read(partition, from, signal)) {
          const at = batch.entries[0]?.offset ?? 0;
          if (isDamaged && at >= 2) throw new FreshetError('DATA_DAMAGED', `record ${at} is damaged`);
          yield batch;
        }
      },
    };
    const { host } = start(broken);
    await until(() => bothAt(host, 2));
    isDamaged = true;
    await log.append(0, [insert(1)]);
    await until(() => conditionsOf(host).includes('shard/0/log DATA_DAMAGED'), 100_000);
    expect(countOf(host, 1)).toBe('1@1');
    expect(host.repairs(0)).toBe(0);
    isDamaged = false;
    await until(() => isAt(host, 0, 3), 100_000);
    expect(conditionsOf(host)).toEqual([]);
  });
});
