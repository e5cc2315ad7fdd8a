/**
 * Goal: batches reach the log in order and settle only when durable; a failure leaves no later record of its partition
 * behind; memory is bounded. Method: a log driven by hand, with random batches and random completions.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { LogWriter } from '@freshet/log/log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppendPipeline, LogFailure } from './append-pipeline.ts';
import { Batch } from './batch.ts';
import type { QuarantineEntry } from './quarantine.ts';

/** A log whose appends wait to be let through or refused. */
class HeldLog implements LogWriter {
  readonly durable = new Map<number, number[]>();
  readonly waiting: {
    partition: number;
    records: readonly Uint8Array[];
    resolve: () => void;
    reject: (error: Error) => void;
  }[] = [];

  append(partition: number, records: readonly Uint8Array[]): Promise<{ firstOffset: number; logTimeUs: number }> {
    return new Promise((resolve, reject) => {
      this.waiting.push({
        partition,
        records,
        resolve: () => {
          this.durable.set(partition, [
            ...(this.durable.get(partition) ?? []),
            ...records.map((record) => record[0] ?? -1),
          ]);
          resolve({ firstOffset: 0, logTimeUs: 0 });
        },
        reject,
      });
    });
  }
}

const noQuarantine = { append: () => Promise.resolve() };
const time = { clock: new VirtualClock(), random: () => 0 };
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function batchOf(...partitions: readonly [partition: number, value: number][]): Batch {
  const batch = new Batch();
  for (const [partition, value] of partitions) batch.addRecord(partition, Uint8Array.of(value));
  return batch;
}

describe('AppendPipeline', () => {
  it('tells what never becomes durable when nothing of it can come to the log any more, and nothing else', async () => {
    const log = new HeldLog();
    const pipeline = new AppendPipeline({ log, quarantine: noQuarantine, ...time, bytesMax: 1e9 });
    const told: string[] = [];
    const push = (name: string, batch: Batch): void =>
      pipeline.push(
        batch,
        () => told.push(`${name} durable`),
        () => told.push(`${name} dropped`),
      );
    push('first', batchOf([0, 1]));
    push('second', batchOf([0, 2]));
    push('empty', new Batch());
    await settle();
    log.waiting.shift()?.resolve();
    await settle();
    push('third', batchOf([0, 3]));
    const retired = pipeline.retire();
    await settle();
    // The second is with the log, which may have it yet.
    expect(told).toEqual(['empty durable', 'first durable']);
    log.waiting.shift()?.resolve();
    await retired;
    expect(told).toEqual(['empty durable', 'first durable', 'second durable', 'third dropped']);
  });

  it('I1: settles each batch once all of it is durable, with every partition in order, whatever the timing', async () => {
    const contents = fc.array(fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 4 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(contents, fc.infiniteStream(fc.nat()), async (batches, picks) => {
        const log = new HeldLog();
        const pipeline = new AppendPipeline({ log, quarantine: noQuarantine, ...time, bytesMax: 1e9 });
        const expected = new Map<number, number[]>();
        const settled: number[] = [];
        for (const [i, partitions] of batches.entries()) {
          for (const partition of partitions) expected.set(partition, [...(expected.get(partition) ?? []), i]);
          pipeline.push(batchOf(...partitions.map((partition) => [partition, i] as [number, number])), () => {
            for (const partition of partitions) expect(log.durable.get(partition)).toContain(i);
            settled.push(i);
          });
          if ((picks.next().value ?? 0) % 2 === 0) log.waiting.splice(0, 1)[0]?.resolve();
          if ((picks.next().value ?? 0) % 2 === 0) await settle();
        }
        await settle();
        while (log.waiting.length > 0) {
          const partitions = log.waiting.map(({ partition }) => partition);
          expect(new Set(partitions).size).toBe(partitions.length);
          log.waiting.splice((picks.next().value ?? 0) % log.waiting.length, 1)[0]?.resolve();
          await settle();
        }
        await pipeline.drained();
        expect([...settled].sort((a, b) => a - b)).toEqual(batches.map((_, i) => i));
        expect(log.durable).toEqual(expected);
        expect(pipeline.bytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('appends nothing after a failure, and tells everybody', async () => {
    const log = new HeldLog();
    let told: LogFailure | undefined;
    const pipeline = new AppendPipeline({
      log,
      quarantine: noQuarantine,
      ...time,
      bytesMax: 1,
      onFailure: (failure) => (told = failure),
    });
    let settled = 0;
    pipeline.push(batchOf([0, 1]), () => settled++);
    pipeline.push(batchOf([0, 2], [1, 2]), () => settled++);
    const waiting = pipeline.room(new AbortController().signal);
    log.waiting[0]?.reject(new Error('disk full'));
    await expect(waiting).rejects.toThrow('disk full');
    await expect(pipeline.drained()).rejects.toBeInstanceOf(LogFailure);
    expect(told).toBeInstanceOf(LogFailure);
    expect(() => pipeline.push(batchOf([2, 3]), () => {})).toThrow(LogFailure);
    for (const append of log.waiting.slice(1)) append.resolve();
    await settle();
    expect(log.durable.get(0)).toBeUndefined();
    expect(settled).toBe(0);
  });

  it('R4: has no room while more than its limit is on its way; giving up waiting is no failure', async () => {
    const log = new HeldLog();
    const pipeline = new AppendPipeline({ log, quarantine: noQuarantine, ...time, bytesMax: 10 });
    await pipeline.room(new AbortController().signal);
    pipeline.push(batchOf([0, 1]), () => {});
    const controller = new AbortController();
    const given = pipeline.room(controller.signal);
    controller.abort();
    await expect(given).rejects.toMatchObject({ code: 'CANCELLED' });
    const room = pipeline.room(new AbortController().signal);
    log.waiting[0]?.resolve();
    await room;
  });

  it('waits for the quarantine as for the log', async () => {
    const log = new HeldLog();
    let durable: (() => void) | undefined;
    const quarantine = { append: () => new Promise<void>((resolve) => (durable = resolve)) };
    const pipeline = new AppendPipeline({ log, quarantine, ...time, bytesMax: 10 });
    const batch = batchOf([0, 1]);
    batch.addEntry({ values: { a: 'x' }, held: 'table' } as unknown as QuarantineEntry);
    let settled = false;
    pipeline.push(batch, () => (settled = true));
    log.waiting[0]?.resolve();
    await settle();
    expect(settled).toBe(false);
    durable?.();
    await settle();
    expect(settled).toBe(true);
  });

  it('C1: puts rows aside in order, also when the first of them must wait for room', async () => {
    const clock = new VirtualClock();
    const taken: number[] = [];
    let full = true;
    const quarantine = {
      append: async (entries: readonly QuarantineEntry[]) => {
        await Promise.resolve();
        if (full) throw new FreshetError('DISK_FULL', 'no room');
        for (const { minor } of entries) {
          // As the file does: what is not beyond the newest of its lane is there already.
          if (minor > (taken.at(-1) ?? -1)) taken.push(minor);
        }
      },
    };
    const pipeline = new AppendPipeline({ log: new HeldLog(), quarantine, clock, random: () => 0.5, bytesMax: 1e9 });
    let settled = 0;
    const putAside = (minor: number): void => {
      const batch = new Batch();
      batch.addEntry({ minor, values: { a: 'x' } } as unknown as QuarantineEntry);
      pipeline.push(batch, () => settled++);
    };
    for (let minor = 0; minor < 20; minor++) putAside(minor);
    await clock.advance(1_000);
    full = false;
    putAside(20);
    await clock.advance(5_000_000);
    expect(taken).toEqual(Array.from({ length: 21 }, (_, minor) => minor));
    expect(settled).toBe(21);
    await pipeline.drained();
  });

  it('C1: rows that flow on behind one that is put aside come to the log when that is durable; released ones wait not', async () => {
    const log = new HeldLog();
    const waiting: (() => void)[] = [];
    const quarantine = { append: () => new Promise<void>((resolve) => waiting.push(resolve)) };
    const pipeline = new AppendPipeline({ log, quarantine, ...time, bytesMax: 1e9 });
    const aside = (batch: Batch, held?: 'table' | 'key'): Batch => {
      batch.addEntry({ values: {}, held } as unknown as QuarantineEntry);
      return batch;
    };
    const released = batchOf([0, 4]);
    released.isApart = true;
    pipeline.push(aside(batchOf([0, 1]), 'table'), () => {});
    pipeline.push(aside(batchOf([0, 2], [1, 2]), 'key'), () => {});
    pipeline.push(batchOf([0, 3]), () => {});
    pipeline.push(released, () => {});
    const appended = async (): Promise<number[][]> => {
      for (const append of log.waiting.splice(0)) append.resolve();
      await settle();
      for (const append of log.waiting.splice(0)) append.resolve();
      await settle();
      return [log.durable.get(0) ?? [], log.durable.get(1) ?? []];
    };
    expect(await appended()).toEqual([[1, 4], []]);
    waiting.shift()?.();
    await settle();
    waiting.shift()?.();
    await settle();
    expect(await appended()).toEqual([[1, 4, 2, 3], [2]]);
    await pipeline.drained();
  });
});
