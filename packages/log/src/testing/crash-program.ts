/**
 * A program of appends, rolls, trims, reads, closings and openings of a log on a simulated disk that may end at any I/O,
 * and the model that says what must be there afterwards. For crash-points.test.ts and lying-disk tests.
 *
 * Owns the program (the same for the same seed) and the judgement. Records say by themselves which append they are of:
 * "17/1/3" is the second of the three records of append 17.
 */
import { must } from '@freshet/kit/assert.ts';
import type { Random } from '@freshet/testkit/simulation/random.ts';
import type { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect } from 'vitest';
import { readSome } from '../log-contract-suite.ts';
import { openSegmentLog, type SegmentLog } from '../segment-log.ts';

export const PARTITIONS = 2;
const SEGMENT_BYTES = 1_500;

/** What is known of a partition's content, over all lives of the disk. */
interface Known {
  /** Text and log time by offset, as acknowledged or as a reader saw it. */
  readonly records: Map<number, string>;
  readonly times: Map<number, number>;
  /** The offset after the last acknowledged or seen record. */
  end: number;
  /** The start that a trim resolved with, and the highest that one was asked for. */
  start: number;
  askedBelow: number;
}

export class CrashModel {
  readonly partitions: readonly Known[] = Array.from({ length: PARTITIONS }, () => ({
    records: new Map(),
    times: new Map(),
    end: 0,
    start: 0,
    askedBelow: 0,
  }));
  logId: string | undefined;
  readonly clock = new VirtualClock();
  /** The log that the program has open; undefined between two. */
  current: SegmentLog | undefined;
  #appends = 0;

  open(disk: SimulatedDisk): Promise<SegmentLog> {
    return openSegmentLog({
      directory: '/data/log',
      partitions: PARTITIONS,
      clock: this.clock,
      segmentBytes: SEGMENT_BYTES,
      tailBytes: 0,
      minFreeBytes: 0,
      files: disk,
      // A log that is made again has another id: the model knows which one was acknowledged.
      makeLogId: () => (this.#appends + 1).toString(16).padStart(32, '0'),
    });
  }

  /** Runs the program until it ends or the disk does; throws what the disk throws. */
  async run(disk: SimulatedDisk, random: Random, rounds: number): Promise<void> {
    let log = await this.open(disk);
    this.current = log;
    this.logId ??= log.logId;
    for (let round = 0; round < rounds; round++) {
      const partition = random.between(0, PARTITIONS - 1);
      const choice = random.between(0, 9);
      await this.clock.advance(random.between(0, 200_000));
      if (choice < 6) await this.#appendSome(log, random);
      else if (choice < 8) await this.#trim(log, partition, random);
      else if (choice < 9) await this.look(log, partition);
      else {
        this.current = undefined;
        await log.close();
        log = await this.open(disk);
        this.current = log;
      }
    }
    this.current = undefined;
    await log.close();
  }

  /** An append to each partition, which must go through. */
  async appendToAll(log: SegmentLog): Promise<void> {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const text = `${this.#appends++}/0/1:`;
      const { firstOffset, logTimeUs } = await log.append(partition, [new TextEncoder().encode(text)]);
      this.#note(partition, firstOffset, text, logTimeUs);
    }
  }

  /** A few appends at once, to whichever partitions; of one to a few records, of up to several sectors. */
  async #appendSome(log: SegmentLog, random: Random): Promise<void> {
    const appends = Array.from({ length: random.between(1, 4) }, () => {
      const partition = random.between(0, PARTITIONS - 1);
      const count = random.between(1, 3);
      const number = this.#appends++;
      const texts = Array.from({ length: count }, (_, index) =>
        `${number}/${index}/${count}:`.padEnd(random.pick([10, 90, 700]), '.'),
      );
      const result = log.append(
        partition,
        texts.map((text) => new TextEncoder().encode(text)),
      );
      return { partition, texts, result };
    });
    const results = await Promise.allSettled(appends.map(({ result }) => result));
    for (const [index, result] of results.entries()) {
      if (result.status === 'rejected') continue;
      const { partition, texts } = must(appends[index]);
      const { firstOffset, logTimeUs } = result.value;
      for (const [at, text] of texts.entries()) this.#note(partition, firstOffset + at, text, logTimeUs);
    }
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #trim(log: SegmentLog, partition: number, random: Random): Promise<void> {
    const known = must(this.partitions[partition]);
    const below = random.between(known.start, known.end);
    known.askedBelow = Math.max(known.askedBelow, below);
    known.start = await log.trim(partition, below);
    expect(known.start).toBeLessThanOrEqual(known.askedBelow);
  }

  /** Reads a partition whole, compares it with what is known, and takes what is new as known: it is readable now. */
  async look(log: SegmentLog, partition: number): Promise<void> {
    const known = must(this.partitions[partition]);
    const { start, end } = must((await log.describe()).partitions[partition]);
    const entries = await readSome(log, partition, start, end - start);
    expect(entries.length).toBe(end - start);
    for (const { offset, text, logTimeUs } of entries) {
      expect(text).toBe(known.records.get(offset) ?? text);
      this.#note(partition, offset, text, logTimeUs);
    }
  }

  /** Judges a log that was opened after a crash, and takes what it holds as known. Throws what it finds wrong. */
  async judge(log: SegmentLog): Promise<void> {
    if (this.logId !== undefined) expect(log.logId).toBe(this.logId);
    this.logId = log.logId;
    for (const [partition, { start, end }] of (await log.describe()).partitions.entries()) {
      const known = must(this.partitions[partition]);
      expect(end, 'acknowledged records are missing').toBeGreaterThanOrEqual(known.end);
      expect(start, 'the start went back').toBeGreaterThanOrEqual(known.start);
      expect(start, 'trimmed above what was asked for').toBeLessThanOrEqual(known.askedBelow);
      known.start = start;
      const acknowledged = known.end;
      await this.look(log, partition);
      this.#judgeWhole(known, acknowledged, end);
      this.#judgeTimes(known, start, end);
    }
    expect(log.damage).toEqual([]);
    expect(log.fault).toBeUndefined();
  }

  /** What nobody was told of is wholly there or not at all: appends from their first record to their last. */
  #judgeWhole(known: Known, from: number, end: number): void {
    for (let offset = from; offset < end; ) {
      const [, number, index, count] = must(/^(\d+)\/(\d+)\/(\d+):\.*$/.exec(must(known.records.get(offset))));
      expect(index, 'an append without its beginning').toBe('0');
      for (let at = 0; at < Number(count); at++) {
        expect(known.records.get(offset + at)?.split(':')[0], 'an append without its end').toBe(
          `${number}/${at}/${count}`,
        );
      }
      offset += Number(count);
    }
  }

  #judgeTimes(known: Known, start: number, end: number): void {
    for (let offset = start + 1; offset < end; offset++) {
      expect(must(known.times.get(offset))).toBeGreaterThanOrEqual(must(known.times.get(offset - 1)));
    }
  }

  #note(partition: number, offset: number, text: string, logTimeUs: number): void {
    const known = must(this.partitions[partition]);
    expect(known.records.get(offset) ?? text).toBe(text);
    known.records.set(offset, text);
    known.times.set(offset, logTimeUs);
    known.end = Math.max(known.end, offset + 1);
  }
}
