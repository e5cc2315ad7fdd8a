/**
 * What a partition holds when its log is opened.
 *
 * Only the last segment is read whole: the ones before were synced before the next one was made, and are checked when
 * they are read. In the last one:
 *
 *     right frames to the end              nothing to do
 *     then bytes that are no frame, and
 *         no right frame after them        a torn tail: the crash came before its fsync, so nobody was told that it
 *                                          was written. Cut.
 *         a right frame after them         damage: refused, because what follows may have been acknowledged
 *
 * A torn tail cannot be told from damage to the very last frame, except after a clean close, which says where the log
 * ended (log-directory.ts): then any difference is damage.
 * Invariants: L1; nothing is readable before it is durable (what a killed process wrote is synced before it counts).
 */
import { readdir } from 'node:fs/promises';
import { must } from '@freshet/kit/assert.ts';
import type { LogFile, OpenFile } from './file-system.ts';
import { damaged } from './follow.ts';
import { findLaterFrame, scanFrames } from './frame.ts';
import type { CleanEnd } from './log-directory.ts';
import { Segment, segmentOffset, segmentPath } from './segment-file.ts';

export interface RecoveredPartition {
  /** Ascending; the last one takes what is appended. */
  readonly segments: readonly Segment[];
  /** The offset after the last record. */
  readonly end: number;
  /** Log time of the last record; -Infinity when there is none. */
  readonly logTimeUs: number;
  /** Checksum of the last record, if any. */
  readonly crc: number | undefined;
  /** How many bytes of a torn tail were cut. */
  readonly cutBytes: number;
}

export interface RecoverOptions {
  readonly directory: string;
  readonly openFile: OpenFile;
  /** Where the partition ended when it was closed cleanly. */
  readonly clean: CleanEnd | undefined;
}

/** Reads what a partition's directory holds and cuts a torn tail. Throws DATA_DAMAGED. */
export async function recoverPartition(options: RecoverOptions): Promise<RecoveredPartition> {
  const { directory, openFile, clean } = options;
  const segments = await listSegments(directory, openFile);
  const last = segments.at(-1);
  let tail: Tail = { end: 0, logTimeUs: -Infinity, crc: undefined, cutBytes: 0 };
  if (last !== undefined) {
    tail = await recoverTail(last, openFile, clean !== undefined);
    const before = segments.at(-2);
    // The last segment was made but nothing of it survived: the last record is in the one before.
    if (tail.end === last.firstOffset && before !== undefined) {
      tail = { ...(await readSealed(before, openFile, last.firstOffset)), cutBytes: tail.cutBytes };
    }
  }
  if (clean !== undefined && (clean.end !== tail.end || clean.crc !== tail.crc)) {
    throw damaged(
      last?.path ?? directory,
      `the log was closed with offset ${clean.end} as its end, but now ends with ${tail.end}`,
    );
  }
  return { segments, ...tail };
}

async function listSegments(directory: string, openFile: OpenFile): Promise<Segment[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw damaged(directory, 'the partition’s directory is missing');
  }
  const offsets = names.map(segmentOffset).filter((offset) => offset !== undefined);
  offsets.sort((a, b) => a - b);
  const segments: Segment[] = [];
  for (const offset of offsets) {
    const path = segmentPath(directory, offset);
    segments.push(new Segment(path, offset, await using(openFile, path, 'read', (file) => file.length())));
  }
  // Nothing is trimmed yet: the log begins with offset 0.
  if (segments.length > 0 && must(segments[0]).firstOffset !== 0) {
    throw damaged(segmentPath(directory, 0), 'the first segment is missing');
  }
  return segments;
}

type Tail = Omit<RecoveredPartition, 'segments'>;

async function recoverTail(segment: Segment, openFile: OpenFile, closedCleanly: boolean): Promise<Tail> {
  return using(openFile, segment.path, 'write', async (file) => {
    const bytes = await readWhole(file, segment.bytes);
    const run = scanFrames(bytes, 0, { offset: segment.firstOffset, logTimeUsMin: -Infinity }, (entry, position) =>
      segment.remember(entry.offset, position),
    );
    const end = segment.firstOffset + run.count;
    if (run.fault !== undefined) {
      const later = findLaterFrame(bytes, run.end + 1, end);
      if (later !== undefined || closedCleanly) throw notTorn(segment, run.end, end, later?.offset);
      await file.truncate(run.end);
      segment.bytes = run.end;
    }
    await file.sync();
    return { end, logTimeUs: run.logTimeUs, crc: run.crc, cutBytes: bytes.length - run.end };
  });
}

function notTorn(segment: Segment, position: number, offset: number, later: number | undefined): Error {
  const what = later === undefined ? 'though the log was closed cleanly' : `but the one of offset ${later} follows`;
  return damaged(
    `${segment.path}, byte ${position}`,
    `the record of offset ${offset} is not there, ${what}`,
    'put the file back from a copy. Without one: if the machine lost its power while it wrote, and only then, what ' +
      `follows was never acknowledged, and the file may be cut to ${position} bytes; otherwise start a new log`,
  );
}

async function readSealed(segment: Segment, openFile: OpenFile, end: number): Promise<Omit<Tail, 'cutBytes'>> {
  return using(openFile, segment.path, 'read', async (file) => {
    const bytes = await readWhole(file, segment.bytes);
    const run = scanFrames(bytes, 0, { offset: segment.firstOffset, logTimeUsMin: -Infinity }, () => {});
    const found = segment.firstOffset + run.count;
    if (run.fault !== undefined || found !== end) {
      throw damaged(`${segment.path}, byte ${run.end}`, `the record of offset ${found} is not there`);
    }
    return { end, logTimeUs: run.logTimeUs, crc: run.crc };
  });
}

async function readWhole(file: LogFile, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, await file.read(bytes, 0));
}

async function using<T>(
  openFile: OpenFile,
  path: string,
  mode: 'read' | 'write',
  use: (file: LogFile) => Promise<T>,
): Promise<T> {
  const file = await openFile(path, mode);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
