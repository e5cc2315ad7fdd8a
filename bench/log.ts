/**
 * The embedded log on this machine's disk: append with fsync, read with every checksum checked, scrub; each against bare
 * files of the same run that take the same bytes in the same pieces: write and fdatasync, and plain reads.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { FLUSH_BYTES_MAX } from '@freshet/log/limits.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import type { BenchResult } from './main.ts';
import { interleave, round } from './statistics.ts';

const PARTITIONS = 8;
const RECORD_BYTES = 200;
const RECORDS = 800_000;
/** What a source appends at once. */
const APPEND_RECORDS = 500;
/** Appends under way at once: more than a flush takes, so that commits are as large as under load. */
const IN_FLIGHT = PARTITIONS * 20;
const MIB = 1024 * 1024;
const BYTES = RECORDS * RECORD_BYTES;

export async function benchLog(runs: number): Promise<BenchResult> {
  const append = await interleave(
    runs,
    () => inDirectory(appendAll),
    () => inDirectory(bareWrite),
  );
  return inDirectory(async (directory) => {
    await appendAll(directory);
    await bareWrite(directory);
    const log = await openLog(directory);
    const read = await interleave(
      runs,
      () => readAll(log),
      () => bareRead(directory),
    );
    const scrub = await interleave(
      runs,
      () => scrubAll(log),
      () => bareRead(directory),
    );
    await log.close();
    return {
      append_mib_per_s: round(append.subject, 1),
      bare_write_mib_per_s: round(append.baseline, 1),
      ratio_append: round(append.ratio, 2),
      read_mib_per_s: round(read.subject, 1),
      bare_read_mib_per_s: round(read.baseline, 1),
      ratio_read: round(read.ratio, 2),
      scrub_mib_per_s: round(scrub.subject, 1),
      ratio_scrub: round(scrub.ratio, 2),
    };
  });
}

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function openLog(directory: string): Promise<SegmentLog> {
  return openSegmentLog({
    directory: join(directory, 'log'),
    partitions: PARTITIONS,
    clock: systemClock,
    segmentBytes: 8 * MIB,
    tailBytes: 0,
  });
}

/** Appends all records and closes; payload in MiB per second. */
async function appendAll(directory: string): Promise<number> {
  const log = await openLog(directory);
  const records = Array.from({ length: APPEND_RECORDS }, (_, n) => new Uint8Array(RECORD_BYTES).fill(n));
  const startedAt = performance.now();
  const under = new Set<Promise<unknown>>();
  for (let n = 0; n < RECORDS / APPEND_RECORDS; n++) {
    const append = log.append(n % PARTITIONS, records).finally(() => under.delete(append));
    under.add(append);
    if (under.size >= IN_FLIGHT) await Promise.race(under);
  }
  await Promise.all(under);
  const rate = rateOf(BYTES, startedAt);
  await log.close();
  return rate;
}

/** As many bytes into as many files at once, each written in pieces of a commit's size and synced. */
async function bareWrite(directory: string): Promise<number> {
  const piece = new Uint8Array(FLUSH_BYTES_MAX).fill(7);
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: PARTITIONS }, async (_, partition) => {
      const file = await open(join(directory, `bare-${partition}`), 'wx');
      for (let at = 0; at < BYTES / PARTITIONS; at += piece.length) {
        await file.write(piece, 0, piece.length, at);
        await file.datasync();
      }
      await file.close();
    }),
  );
  return rateOf(BYTES, startedAt);
}

/** Reads everything, decoded and checked; payload in MiB per second. */
async function readAll(log: SegmentLog): Promise<number> {
  const startedAt = performance.now();
  for (const [partition, { start, end }] of (await log.describe()).partitions.entries()) {
    let next = start;
    for await (const { entries } of log.read(partition, start, new AbortController().signal)) {
      next += entries.length;
      if (next === end) break;
    }
  }
  return rateOf(BYTES, startedAt);
}

async function bareRead(directory: string): Promise<number> {
  const target = new Uint8Array(256 * 1024);
  const startedAt = performance.now();
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const file: FileHandle = await open(join(directory, `bare-${partition}`), 'r');
    while ((await file.read(target, 0, target.length, null)).bytesRead > 0);
    await file.close();
  }
  return rateOf(BYTES, startedAt);
}

/** Scrubs the closed segments; bytes of files in MiB per second. */
async function scrubAll(log: SegmentLog): Promise<number> {
  const startedAt = performance.now();
  return rateOf(await log.scrub(() => Promise.resolve()), startedAt);
}

function rateOf(bytes: number, startedAt: number): number {
  return (bytes / MIB / (performance.now() - startedAt)) * 1_000;
}
