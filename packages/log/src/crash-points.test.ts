/**
 * Goal: L1 at every I/O of the log. Method: a program of appends, rolls, trims, reads, closings and openings on a
 * simulated disk is run once to count its I/Os, and then killed at each of them: the process alone, and the machine with
 * its power, where any part of what was not synced may be gone, in several ways. Each time the log is opened again
 * (sometimes killed in the middle of that, too), judged against what was acknowledged or read, used further, closed,
 * opened and judged again.
 *
 *     FRESHET_FUZZ_RUNS=10    ten times as many programs
 */
import { must } from '@freshet/kit/assert.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { type DiskOperation, diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { openSegmentLog } from './segment-log.ts';
import { CrashModel } from './testing/crash-program.ts';

const ROUNDS = 14;
/** A program that also removes segments, and closes and opens the log in between; later ones do what chance makes of them. */
const FIRST = 9;
const PROGRAMS = must(fuzzParameters(1).numRuns);

type HowToEnd = 'kill' | 'power cut';

/** Runs what is given on a disk that ends at the operation with a number; returns the disk that is left. */
async function endAt(
  disk: SimulatedDisk,
  number: number,
  how: HowToEnd,
  random: Random,
  run: () => Promise<unknown>,
): Promise<SimulatedDisk | undefined> {
  let after: SimulatedDisk | undefined;
  disk.step = (operation, self) => {
    if (operation.number === number) after = how === 'kill' ? self.kill() : self.powerCut(random);
  };
  const result = await run().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (after === undefined && result !== undefined) throw result;
  return after;
}

/** One program, ended at one I/O. */
async function crash(seed: number, number: number, how: HowToEnd, way: number): Promise<void> {
  const model = new CrashModel();
  const random = new Random(`${seed}/${number}/${how}/${way}`);
  const disk = new SimulatedDisk();
  const after = must(await endAt(disk, number, how, random, () => model.run(disk, new Random(seed), ROUNDS)));
  // Once in a while recovery itself is cut short.
  let left: SimulatedDisk = after;
  if (random.oneIn(2)) {
    const again = left;
    const ended = await endAt(
      again,
      again.operations + random.between(0, 60),
      random.pick(['kill', 'power cut']),
      random,
      async () => {
        const log = await model.open(again);
        await model.judge(log);
        await log.close();
      },
    );
    left = ended ?? again;
  }
  left.step = () => {};
  const log = await model.open(left);
  await model.judge(log);
  await log.close();
  await model.run(left, random, 4);
  const last = await model.open(left);
  await model.judge(last);
  await last.close();
  expect(left.openFiles).toBe(0);
}

describe('killed at every I/O', () => {
  for (let program = FIRST; program < FIRST + PROGRAMS; program++) {
    it(`L1: nothing acknowledged is lost, nothing is half there, and the log goes on (program ${program})`, async () => {
      const operations: DiskOperation[] = [];
      const counting = new SimulatedDisk({ step: (operation) => void operations.push(operation) });
      await new CrashModel().run(counting, new Random(program), ROUNDS);
      expect(operations.length).toBeGreaterThan(150);
      if (program === FIRST) {
        const segments = operations.filter(({ path }) => path.endsWith('.log'));
        expect(segments.filter(({ kind }) => kind === 'remove').length).toBeGreaterThan(3);
        expect(segments.filter(({ kind }) => kind === 'rename').length).toBeGreaterThan(5);
      }
      for (const { number, kind, path } of operations) {
        for (const [how, way] of [
          ['kill', 0],
          ['power cut', 0],
          ['power cut', 1],
          ['power cut', 2],
        ] as const) {
          try {
            await crash(program, number, how, way);
          } catch (cause) {
            throw new Error(`program ${program}, ${how} ${way} at I/O ${number} (${kind} ${path}): ${String(cause)}`, {
              cause,
            });
          }
        }
      }
    });
  }
});

it('L1: what a killed process had renamed and not yet synced is made safe before anything is built on it', async () => {
  const operations: DiskOperation[] = [];
  const counting = new SimulatedDisk({ step: (operation) => void operations.push(operation) });
  await new CrashModel().run(counting, new Random(FIRST), ROUNDS);
  const kills = operations.filter(
    ({ kind }, index) => kind === 'syncDirectory' && operations[index - 1]?.path.endsWith('partition.json') === true,
  );
  expect(kills.length).toBeGreaterThan(5);
  const killAt = async (number: number, model: CrashModel): Promise<SimulatedDisk> => {
    const disk = new SimulatedDisk();
    const run = () => model.run(disk, new Random(FIRST), ROUNDS);
    return must(await endAt(disk, number, 'kill', new Random(0), run));
  };
  let removals = 0;
  for (const { number } of kills) {
    // What opening does after that kill: the power goes at each of its changes.
    const opening: DiskOperation[] = [];
    const model = new CrashModel();
    const trial = await killAt(number, model);
    trial.step = (operation) => void opening.push(operation);
    await (await model.open(trial)).close();
    for (const { number: later, kind, path } of opening.filter(({ changes }) => changes)) {
      const removing = opening.some((operation) => operation.kind === 'remove' && operation.path.endsWith('.log'));
      if (removing && kind === 'syncDirectory' && path.includes('partition')) removals++;
      for (let way = 0; way < (removing ? 12 : 1); way++) {
        const again = new CrashModel();
        const killed = await killAt(number, again);
        const open = async () => (await again.open(killed)).close();
        const left = (await endAt(killed, later, 'power cut', new Random(`${later}/${way}`), open)) ?? killed;
        left.step = () => {};
        const log = await again.open(left);
        await again.judge(log);
        await log.close();
      }
    }
  }
  expect(removals).toBeGreaterThan(0);
});

it('L1: what a killed process had written and not yet synced is lost to no power cut once it was readable', async () => {
  const operations: DiskOperation[] = [];
  const counting = new SimulatedDisk({ step: (operation) => void operations.push(operation) });
  await new CrashModel().run(counting, new Random(FIRST), ROUNDS);
  let readable = 0;
  for (const { number } of operations.filter(({ kind, path }) => kind === 'sync' && path.endsWith('.log'))) {
    for (let way = 0; way < 4; way++) {
      const random = new Random(`${number}/${way}`);
      const model = new CrashModel();
      const disk = new SimulatedDisk();
      const killed = must(await endAt(disk, number, 'kill', random, () => model.run(disk, new Random(FIRST), ROUNDS)));
      killed.step = () => {};
      const before = model.partitions.reduce((sum, { end }) => sum + end, 0);
      await model.judge(await model.open(killed));
      readable += model.partitions.reduce((sum, { end }) => sum + end, 0) - before;
      const log = await model.open(killed.powerCut(random));
      await model.judge(log);
      await log.close();
    }
  }
  expect(readable).toBeGreaterThan(0);
});

it('log time and the last checksum are known when a new segment has no record and those before are gone', async () => {
  const disk = new SimulatedDisk();
  const options = { directory: '/log', partitions: 1, files: disk, segmentBytes: 500, minFreeBytes: 0 };
  const log = await openSegmentLog({ ...options, clock: new VirtualClock() });
  let last = await log.append(0, [new Uint8Array(300)]);
  disk.step = ({ kind, path }) => {
    // The next segment is made, but its first record is not written.
    if (kind === 'write' && path.endsWith('1.log')) throw diskFailure('EIO');
  };
  await expect(log.append(0, [new Uint8Array(300)])).rejects.toMatchObject({ code: 'LOG_HALTED' });
  disk.step = () => {};
  expect(await log.trim(0, 1)).toBe(1);
  await log.close();
  for (let round = 0; round < 2; round++) {
    const earlier = new VirtualClock(last.logTimeUs - 3_600_000_000);
    const again = await openSegmentLog({ ...options, clock: earlier });
    expect(again.segments(0).at(-1)).toMatchObject({ firstOffset: 1 });
    // The first round only closes: what it notes of the end must hold for the second.
    if (round === 1) {
      const { logTimeUs } = last;
      last = await again.append(0, [new Uint8Array(1)]);
      expect(last).toMatchObject({ firstOffset: 1, logTimeUs });
    }
    await again.close();
  }
});
