/**
 * Goal: of two pipelines of a source, nothing of the first comes to the log once the second has begun; what may be better
 * later is tried again in order, and told. Method: a log and a clock driven by hand.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { Batch } from './batch.ts';
import { SourcePipelines } from './source-pipelines.ts';

/** A log whose appends wait to be let through or refused, and that keeps the order in which they came. */
class HeldLog {
  readonly appended: number[] = [];
  readonly waiting: { settle: () => void; refuse: (error: Error) => void }[] = [];

  append(_partition: number, records: readonly Uint8Array[]): Promise<{ firstOffset: number; logTimeUs: number }> {
    return new Promise((resolve, reject) => {
      this.waiting.push({
        settle: () => {
          this.appended.push(...records.map((record) => record[0] ?? -1));
          resolve({ firstOffset: 0, logTimeUs: 0 });
        },
        refuse: reject,
      });
    });
  }

  settleNext(): void {
    this.waiting.shift()?.settle();
  }
}

function batchOf(value: number): Batch {
  const batch = new Batch();
  batch.addRecord(0, Uint8Array.of(value));
  return batch;
}

function pipelinesOver(log: HeldLog) {
  const clock = new VirtualClock();
  const notes: (string | undefined)[] = [];
  const pipelines = new SourcePipelines({
    log,
    quarantine: { append: () => Promise.resolve() },
    clock,
    random: () => 0,
    bytesMax: 1e9,
    onWaiting: (why) => notes.push(why?.code),
  });
  return { clock, pipelines, notes };
}

describe('SourcePipelines', () => {
  it('F3: begins the next only when nothing of the one before can come to the log any more', async () => {
    const log = new HeldLog();
    const { clock, pipelines } = pipelinesOver(log);
    const first = await pipelines.begin();
    const settled: number[] = [];
    for (const value of [1, 2, 3]) first.push(batchOf(value), () => settled.push(value));
    let begun = false;
    const beginning = pipelines.begin().then((pipeline) => {
      begun = true;
      return pipeline;
    });
    await clock.advance(60_000_000);
    expect(begun).toBe(false);
    expect(() => first.push(batchOf(4), () => {})).toThrow('retired');
    log.settleNext();
    const second = await beginning;
    second.push(batchOf(9), () => {});
    while (log.waiting.length > 0) {
      log.settleNext();
      await clock.advance(1);
    }
    expect(log.appended).toEqual([1, 9]);
    expect(settled).toEqual([1]);
    expect(pipelines.records).toBe(2);
  });

  it('F3: is not held up by an append that waits to be tried again', async () => {
    const log = new HeldLog();
    const { clock, pipelines, notes } = pipelinesOver(log);
    const first = await pipelines.begin();
    first.push(batchOf(1), () => {});
    log.waiting.shift()?.refuse(new FreshetError('DISK_FULL', 'no room'));
    await clock.advance(1);
    expect(notes).toEqual(['DISK_FULL']);
    await pipelines.retire();
    await clock.advance(10_000_000);
    expect(log.waiting).toEqual([]);
    expect(notes).toEqual(['DISK_FULL', undefined]);
  });

  it('L1: tries again what may be better later, in its place, and tells for how long', async () => {
    const log = new HeldLog();
    const { clock, pipelines, notes } = pipelinesOver(log);
    const pipeline = await pipelines.begin();
    for (const value of [1, 2, 3]) pipeline.push(batchOf(value), () => {});
    for (let i = 0; i < 5; i++) {
      log.waiting.shift()?.refuse(new FreshetError('DISK_FULL', 'no room'));
      await clock.advance(2_000_000);
      expect(log.waiting).toHaveLength(1);
    }
    expect(notes).toEqual(['DISK_FULL']);
    while (log.waiting.length > 0) {
      log.settleNext();
      await clock.advance(1);
    }
    expect(log.appended).toEqual([1, 2, 3]);
    expect(notes).toEqual(['DISK_FULL', undefined]);
    expect(pipeline.bytes).toBe(0);
  });
});
