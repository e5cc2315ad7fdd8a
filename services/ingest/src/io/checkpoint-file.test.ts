/**
 * Goal: the log is kept back to the oldest checkpoint of everybody who folds it, also over restarts of ingest, and no clock
 * that leaps lets it go. Method: the file on a simulated disk; the RPC's handler; a clock that the test moves and sets.
 */
import { create } from '@bufbuild/protobuf';
import { NoteCheckpointsRequestSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { createRetentionKeeper } from '@freshet/log/retention-keeper.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckpointBook, NODES_MAX } from '../core/checkpoint-book.ts';
import { noteCheckpoints } from '../rpc/note-checkpoints.ts';
import { CheckpointFile } from './checkpoint-file.ts';
import { keepOnce } from './retention.ts';

const LOG_ID = 'ab'.repeat(16);
const DAY = 86_400_000_000;
const PATH = '/ingest/checkpoints.json';

function open(disk: SimulatedDisk, clock = new VirtualClock(), logId = LOG_ID): Promise<CheckpointFile> {
  return CheckpointFile.open({ files: disk, path: PATH, logId, clock, logger: silentLogger, nodeTimeoutUs: 7 * DAY });
}

/** Lets time pass in steps in which a node could be heard. */
async function listen(file: CheckpointFile, clock: VirtualClock, us: number): Promise<void> {
  for (let passed = 0; passed < us; passed += 300_000_000) {
    await clock.advance(300_000_000);
    await file.count();
  }
}

function at(...offsets: readonly [shard: number, offset: number][]): Map<number, number> {
  return new Map(offsets);
}

describe('CheckpointBook', () => {
  it('L2: allows nothing away that the last word of any known node still needs', () => {
    const word = fc.record({
      node: fc.constantFrom('a', 'b', 'c'),
      offsets: fc.array(fc.tuple(fc.nat({ max: 2 }), fc.nat({ max: 9 })), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (words) => {
        let book = new CheckpointBook();
        const last = new Map<string, Map<number, number>>();
        for (const { node, offsets } of words) {
          book = book.noted(node, new Map(offsets));
          last.set(node, new Map(offsets));
        }
        for (const partition of [0, 1, 2]) {
          const needed = [...last.values()].flatMap((offsets) => offsets.get(partition) ?? []);
          const allowed = book.allowedBelow(partition);
          if (needed.length === 0 || needed.includes(0)) expect(allowed).toBeUndefined();
          else expect(allowed).toBe(Math.min(...needed));
        }
      }),
    );
  });

  it('R4: takes so many nodes and no more', () => {
    let book = new CheckpointBook();
    for (let i = 0; i < NODES_MAX; i++) book = book.noted(`n${i}`, at([0, 1]));
    expect(() => book.noted('one more', at([0, 1]))).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    expect(book.noted('n0', at([0, 2])).nodes).toHaveLength(NODES_MAX);
  });
});

describe('CheckpointFile', () => {
  it('L2: knows after a restart what it answered before, whenever the power fails', async () => {
    for (let point = 0; point < 40; point++) {
      const lives: SimulatedDisk[] = [];
      const disk = new SimulatedDisk({
        step: ({ number }, life) => {
          if (number === point) lives.push(life.powerCut({ real: () => (point % 3) / 3 }));
        },
      });
      let answered = 0;
      try {
        const file = await open(disk);
        for (let offset = 1; offset <= 3; offset++) {
          await file.note('a', at([0, offset * 10]));
          answered = offset * 10;
        }
      } catch {
        // The power failed.
      }
      const allowed = (await open(lives[0] ?? disk.kill())).allowedBelow(0) ?? 0;
      expect([answered, answered + 10]).toContain(allowed);
    }
  });

  it('forgets who was silent for long while it listened, and nobody because a clock leapt or ingest was away', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const file = await open(disk, clock);
    await file.note('a', at([0, 10]));
    await file.note('b', at([0, 50]));
    clock.setWallUs(clock.nowUs() + 400 * DAY);
    await file.count();
    expect(file.allowedBelow(0)).toBe(10);
    await listen(file, clock, 4 * DAY);
    // It stood still for long, and so heard nobody.
    await clock.advance(10 * DAY);
    await file.count();
    expect(file.forgotten).toEqual([]);
    // Away for long, and started again: what it could not hear is nobody's silence.
    const later = new VirtualClock(clock.nowUs() + 30 * DAY);
    const again = await open(disk, later);
    await again.note('b', at([0, 60]));
    await listen(again, later, 2 * DAY);
    expect(again.allowedBelow(0)).toBe(10);
    await listen(again, later, 2 * DAY);
    expect(again.allowedBelow(0)).toBe(60);
    expect(again.forgotten.map(({ nodeId }) => nodeId)).toEqual(['a']);
  });

  it('allows nothing by checkpoints of another log, nor by a damaged file, which it keeps aside', async () => {
    const disk = new SimulatedDisk();
    await (await open(disk)).note('a', at([0, 10]));
    expect((await open(disk, new VirtualClock(), 'cd'.repeat(16))).allowedBelow(0)).toBeUndefined();
    const bytes = disk.content(PATH);
    bytes[50] = (bytes[50] ?? 0) ^ 1;
    disk.setContent(PATH, bytes);
    expect((await open(disk)).allowedBelow(0)).toBeUndefined();
    expect(disk.paths()).toContain(`${PATH}.damaged-1`);
  });
});

describe('NoteCheckpoints and retention', () => {
  it('answers how far the log may be trimmed; refuses another log, and offsets that the log does not have', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 2, clock, logId: LOG_ID });
    for (let i = 0; i < 20; i++) await log.append(0, [Uint8Array.of(i)]);
    const checkpoints = await open(new SimulatedDisk(), clock);
    const note = noteCheckpoints(log, checkpoints);
    const request = (nodeId: string, logId: string, ...told: readonly [number, bigint][]) =>
      create(NoteCheckpointsRequestSchema, {
        nodeId,
        logId: Buffer.from(logId, 'hex'),
        checkpoints: told.map(([shard, offset]) => ({ shard, offset })),
      });
    expect(await note(request('a', LOG_ID, [0, 12n], [1, 0n]))).toEqual({ allowedBelow: [12n, 0n] });
    expect(await note(request('b', LOG_ID, [0, 7n]))).toEqual({ allowedBelow: [7n, 0n] });
    expect(await note(request('b', LOG_ID))).toEqual({ allowedBelow: [12n, 0n] });
    await expect(note(request('a', 'cd'.repeat(16), [0, 1n]))).rejects.toMatchObject({ code: 'WRONG_LOG' });
    await expect(note(request('a', LOG_ID, [0, 21n]))).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    await expect(note(request('a', LOG_ID, [2, 0n]))).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('L2: tells of a limit that no checkpoint lets it keep, for as long as that is so', async () => {
    const clock = new VirtualClock();
    let segments = [
      { firstOffset: 0, end: 10, bytes: 100, newestLogTimeUs: 0 },
      { firstOffset: 10, end: 20, bytes: 100, newestLogTimeUs: 10 * DAY },
    ];
    const log = {
      partitionCount: 1,
      segments: () => segments,
      trim: (_partition: number, below: number) => {
        segments = segments.filter(({ end }) => end > below);
        return Promise.resolve(below);
      },
    };
    const checkpoints = await open(new SimulatedDisk(), clock);
    const conditions = new ConditionBoard({ clock, log: silentLogger });
    const keeper = createRetentionKeeper({
      log,
      limits: { ageUs: DAY },
      clock,
      allowedBelow: (partition) => checkpoints.allowedBelow(partition),
    });
    await keepOnce({ keeper, checkpoints, conditions, clock });
    expect(conditions.list()).toMatchObject([{ id: 'retention/age/0/no-checkpoint', code: 'LIMIT_EXCEEDED' }]);
    await checkpoints.note('a', at([0, 5]));
    await keepOnce({ keeper, checkpoints, conditions, clock });
    expect(conditions.list()).toMatchObject([{ id: 'retention/age/0/checkpoint-behind' }]);
    expect(segments).toHaveLength(2);
    await checkpoints.note('a', at([0, 10]));
    await keepOnce({ keeper, checkpoints, conditions, clock });
    expect(conditions.list()).toEqual([]);
    expect(segments).toHaveLength(1);
  });
});
