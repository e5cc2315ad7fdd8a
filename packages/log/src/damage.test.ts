/**
 * Goal: whatever happens to a log's files while it is closed, it gives the right records or an announced error: never a
 * wrong record, never silence about a missing one. Method: a log of several segments, trimmed once, is written on a
 * simulated disk, closed cleanly or killed; then hundreds of copies are damaged in one or two places each (cut, zeroed,
 * overwritten, a bit flipped, removed, exchanged, copied over another, put back from an older copy, extended), opened,
 * read from every offset, scrubbed.
 *
 *     FRESHET_FUZZ_RUNS=10    ten times as many damaged logs
 */
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from './log-contract-suite.ts';
import { segmentOffset } from './segment-file.ts';
import { SEGMENT_HEADER_BYTES } from './segment-header.ts';
import { openSegmentLog, type SegmentLog } from './segment-log.ts';

const PARTITIONS = 2;
const DAMAGED = must(fuzzParameters(400).numRuns);

function open(disk: SimulatedDisk): Promise<SegmentLog> {
  return openSegmentLog({
    directory: '/log',
    partitions: PARTITIONS,
    clock: new VirtualClock(),
    segmentBytes: 900,
    tailBytes: 0,
    minFreeBytes: 0,
    files: disk,
    makeLogId: () => 'ab'.repeat(16),
  });
}

interface Written {
  readonly disk: SimulatedDisk;
  /** Per partition the texts by offset, and where it starts. */
  readonly texts: readonly string[][];
  readonly starts: readonly number[];
  /** Contents that files had earlier. */
  readonly older: ReadonlyMap<string, readonly Uint8Array[]>;
}

async function write(clean: boolean): Promise<Written> {
  let disk = new SimulatedDisk();
  const log = await open(disk);
  const texts: string[][] = [[], []];
  const older = new Map<string, Uint8Array[]>();
  for (let n = 0; n < 30; n++) {
    for (const partition of [0, 1]) {
      // Some appends of several records, of which no part may pass for the whole.
      const some = Array.from({ length: 1 + (n % 3) }, (_, i) =>
        `${partition}/${n}/${i}`.padEnd(40 + ((n * 37) % 90), '.'),
      );
      await log.append(partition, some.map(bytesOf));
      texts[partition]!.push(...some);
    }
    if (n === 12) for (const partition of [0, 1]) await log.trim(partition, 8);
    if (n % 5 === 0) for (const path of disk.paths()) older.set(path, [...(older.get(path) ?? []), disk.content(path)]);
  }
  const starts = (await log.describe()).partitions.map(({ start }) => start);
  if (clean) await log.close();
  else disk = disk.kill();
  return { disk: disk.copy(), texts, starts, older };
}

type Damage = (disk: SimulatedDisk, path: string, random: Random, written: Written) => string;

/** Each says what it did; some do nothing when there is nothing to do it to. */
const DAMAGES: Readonly<Record<string, Damage>> = {
  cut: (disk, path, random) => {
    const content = disk.content(path);
    const length = random.oneIn(4) ? 0 : random.between(0, Math.max(0, content.length - 1));
    disk.setContent(path, content.subarray(0, length));
    return `to ${length}`;
  },
  extended: (disk, path, random) => {
    const more = new Uint8Array(random.between(1, 300)).fill(random.pick([0, 0xff, 65]));
    disk.setContent(path, Buffer.concat([disk.content(path), more]));
    return `by ${more.length}`;
  },
  zeroed: (disk, path, random) => overwrite(disk, path, random, () => 0),
  garbage: (disk, path, random) => overwrite(disk, path, random, () => random.between(0, 255)),
  flipped: (disk, path, random) => {
    const content = disk.content(path);
    if (content.length === 0) return 'nothing';
    const at = random.between(0, content.length - 1);
    content[at]! ^= 1 << random.between(0, 7);
    disk.setContent(path, content);
    return `at ${at}`;
  },
  removed: (disk, path) => {
    disk.takeAway(path);
    return 'all';
  },
  exchanged: (disk, path, random) => {
    const other = random.pick(disk.paths());
    const content = disk.content(path);
    disk.setContent(path, disk.content(other));
    disk.setContent(other, content);
    return `with ${other}`;
  },
  copied: (disk, path, random) => {
    const other = random.pick(disk.paths());
    const to = random.oneIn(2) ? other : other.replace(/\d\d\.log$/, `${random.between(10, 99)}.log`);
    disk.setContent(to, disk.content(path));
    return `to ${to}`;
  },
  older: (disk, path, random, { older }) => {
    const contents = older.get(path);
    if (contents === undefined) return 'nothing';
    disk.setContent(path, random.pick(contents));
    return 'copy';
  },
};

function overwrite(disk: SimulatedDisk, path: string, random: Random, byte: () => number): string {
  const content = disk.content(path);
  if (content.length === 0) return 'nothing';
  const from = random.between(0, content.length - 1);
  const to = Math.min(content.length, from + random.pick([1, 8, 28, 200, 512]));
  for (let at = from; at < to; at++) content[at] = byte();
  disk.setContent(path, content);
  return `${from} to ${to}`;
}

/** The path of the partition's last segment. */
function lastSegment(disk: SimulatedDisk, partition: number): string {
  return must(
    disk.paths().findLast((path) => path.startsWith(`/log/partition-000${partition}/`) && path.endsWith('.log')),
  );
}

/** Reads what there is, by whichever way around what is damaged; texts by offset. */
async function readAll(log: SegmentLog, partition: number): Promise<{ texts: Map<number, string>; errors: unknown[] }> {
  const { start, end } = must((await log.describe()).partitions[partition]);
  const texts = new Map<number, string>();
  const errors: unknown[] = [];
  for (let from = start; from < end; ) {
    try {
      for await (const { entries } of log.read(partition, from, new AbortController().signal)) {
        for (const { offset, record } of entries) texts.set(offset, new TextDecoder().decode(record));
        from += entries.length;
        if (from === end) break;
      }
    } catch (error) {
      errors.push(error);
      from++;
    }
  }
  return { texts, errors };
}

function announced(error: unknown): void {
  if (!isFreshetError(error, 'DATA_DAMAGED', 'INVALID_CONFIG')) throw error;
  expect(error.place).not.toBe('');
  expect(error.remedy).not.toBe('');
}

const outcomes = { refused: 0, served: 0, unreadable: 0, shorter: 0, scrubbed: 0 };

async function judge(disk: SimulatedDisk, original: Written, clean: boolean): Promise<void> {
  const changed = changedPaths(original.disk, disk);
  let log: SegmentLog;
  try {
    log = await open(disk);
  } catch (error) {
    outcomes.refused++;
    return announced(error);
  }
  const bounds = (await log.describe()).partitions;
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const expected = must(original.texts[partition]);
    const { texts, errors } = await readAll(log, partition);
    const { start, end } = must(bounds[partition]);
    expect(start).toBe(original.starts[partition]);
    for (const error of errors) announced(error);
    for (const [offset, text] of texts) expect(text).toBe(expected[offset]);
    expect(texts.size + errors.length).toBe(end - start);
    outcomes.unreadable += errors.length > 0 ? 1 : 0;
    if (end !== expected.length) {
      // Only what stood at the very end of a log that was not closed can go without a word, with its whole commits.
      outcomes.shorter++;
      const last = lastSegment(original.disk, partition);
      expect(clean && !changed.has('/log/clean.json')).toBe(false);
      expect(changed.has(last)).toBe(true);
      // A segment that is gone whole is missed, as long as the note of it is there.
      if (!changed.has(`/log/partition-000${partition}/partition.json`)) expect(disk.paths()).toContain(last);
      expect(end).toBeGreaterThanOrEqual(must(segmentOffset(last.slice(-24))));
    }
  }
  // Whatever was done to a closed segment is known after a scrub, if it was not before.
  await log.scrub(() => Promise.resolve());
  outcomes.scrubbed += log.damage.length > 0 ? 1 : 0;
  for (const path of changed) {
    if (
      !path.endsWith('.log') ||
      [0, 1].some(
        (partition) =>
          path >= lastSegment(original.disk, partition) && path.startsWith(`/log/partition-000${partition}`),
      )
    )
      continue;
    expect(log.damage.length, `${path} was damaged and nobody says so`).toBeGreaterThan(0);
  }
  for (const error of log.damage) announced(error);
  outcomes.served++;
  await log.close();
}

function changedPaths(before: SimulatedDisk, after: SimulatedDisk): Set<string> {
  const paths = new Set([...before.paths(), ...after.paths()]);
  const content = (disk: SimulatedDisk, path: string): string =>
    disk.paths().includes(path) ? Buffer.from(disk.content(path)).toString('latin1') : 'none';
  return new Set([...paths].filter((path) => content(before, path) !== content(after, path)));
}

describe('a damaged log', () => {
  const written: Record<'clean' | 'killed', Written | undefined> = { clean: undefined, killed: undefined };
  beforeAll(async () => {
    written.clean = await write(true);
    written.killed = await write(false);
  });

  it('that is not damaged opens and reads as it was written', async () => {
    for (const how of ['clean', 'killed'] as const) {
      const original = must(written[how]);
      expect(original.starts.every((start) => start > 0)).toBe(true);
      expect(original.disk.paths().filter((path) => path.endsWith('.log')).length).toBeGreaterThan(10);
      const before = { ...outcomes };
      await judge(original.disk.copy(), original, how === 'clean');
      expect(outcomes).toEqual({ ...before, served: before.served + 1 });
    }
  });

  it('L1: gives the right records or an announced error, every time', async () => {
    for (let seed = 0; seed < DAMAGED; seed++) {
      const random = new Random(seed);
      const how = random.pick(['clean', 'killed'] as const);
      const original = must(written[how]);
      const disk = original.disk.copy();
      const done: string[] = [how];
      for (let times = random.oneIn(4) ? 2 : 1; times > 0; times--) {
        const path = random.pick(disk.paths().filter((name) => name.endsWith('.log') || random.oneIn(4)));
        const kind = random.pick(Object.keys(DAMAGES));
        done.push(`${path} ${kind} ${must(DAMAGES[kind])(disk, path, random, original)}`);
      }
      try {
        await judge(disk, original, how === 'clean');
      } catch (cause) {
        throw new Error(`seed ${seed}: ${done.join(', ')}: ${String(cause)}`, { cause });
      }
    }
    // Each way out was taken.
    for (const [outcome, count] of Object.entries(outcomes)) expect(count, outcome).toBeGreaterThan(0);
  });

  it('a bit that flipped in a file that says what the log is, is told, and nothing is done by it', async () => {
    const original = must(written.clean);
    const random = new Random('flip');
    for (const path of original.disk.paths().filter((name) => name.endsWith('.json'))) {
      // The last byte is the end of the line.
      for (let at = 0; at < original.disk.content(path).length - 1; at++) {
        const disk = original.disk.copy();
        const content = disk.content(path);
        content[at]! ^= 1 << random.between(0, 6);
        disk.setContent(path, content);
        await expect(open(disk), `${path}, byte ${at}`).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: path });
        expect(disk.paths()).toEqual(original.disk.paths());
      }
    }
  });

  it('a closed segment that is missing, short, long, of another partition or under another name is known at once', async () => {
    const original = must(written.clean);
    const paths = original.disk
      .paths()
      .filter((name) => name.startsWith('/log/partition-0000/') && name.endsWith('.log'));
    const [, second = '', third = ''] = paths;
    const foreign = must(
      original.disk.paths().find((name) => name.startsWith('/log/partition-0001/') && name.endsWith('.log')),
    );
    const acts: ((disk: SimulatedDisk) => void)[] = [
      (disk) => disk.takeAway(second),
      (disk) => disk.setContent(second, disk.content(second).slice(0, -1)),
      (disk) => disk.setContent(second, Buffer.concat([disk.content(second), new Uint8Array(1)])),
      (disk) => disk.setContent(second, disk.content(foreign)),
      (disk) => disk.setContent(second, disk.content(third)),
    ];
    for (const act of acts) {
      const disk = original.disk.copy();
      act(disk);
      const log = await open(disk);
      expect(log.damage.length).toBe(1);
      await log.close();
    }
  });

  it('a file that was put back is whole again after the next scrub', async () => {
    const original = must(written.clean);
    const disk = original.disk.copy();
    const path = must(disk.paths().find((name) => name.endsWith('.log')));
    const content = disk.content(path);
    disk.setContent(path, content.subarray(0, SEGMENT_HEADER_BYTES + 10));
    const log = await open(disk);
    expect(log.damage).toMatchObject([{ code: 'DATA_DAMAGED' }]);
    expect((await readAll(log, 0)).errors.every((error) => error instanceof FreshetError)).toBe(true);
    disk.setContent(path, content);
    await log.scrub(() => Promise.resolve());
    expect(log.damage).toEqual([]);
    expect((await readAll(log, 0)).errors).toEqual([]);
    await log.close();
  });
});
