/**
 * What a partition holds when its log is opened.
 *
 * Of every segment the head is read, and compared with its name, with the log, and with what the next one says of it:
 * a segment that is missing, exchanged, too short or too long is known at once. Only the last one is read whole: those
 * before were durable before the next one was made, and their records are checked when they are read and by the scrub.
 * In the last one:
 *
 *     right frames to the end              nothing to do, if the last of them ends a commit
 *     then bytes that are no frame, and
 *         no right frame after them of     a torn tail: the crash came before the fsync of the last commit, so nobody
 *         a commit that began later        was told that it was written. Cut, with all of that commit.
 *         such a frame                     damage: refused, because a commit begins only when the one before is durable
 *
 * A torn tail cannot be told from damage to the very last commit, except after a clean close, which says where the log
 * ended (log-directory.ts): then any difference is damage.
 * Invariants: L1; nothing is readable before it is durable (what a killed process wrote is synced before it counts).
 */
import { join } from 'node:path';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { type DirectoryEntry, type DiskFile, type FileSystem, isErrno } from './file-system.ts';
import { damaged } from './follow.ts';
import { findLaterCommit, scanFrames } from './frame.ts';
import type { CleanEnd } from './log-directory.ts';
import { type PartitionExtent, readExtent } from './partition-file.ts';
import { Segment, segmentOffset, segmentPath } from './segment-file.ts';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment-header.ts';
import { DRAFT_SUFFIX } from './whole-file.ts';

export interface RecoveredPartition {
  readonly extent: PartitionExtent;
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
  readonly logId: string;
  readonly partition: number;
  readonly files: FileSystem;
  /** Where the partition ended when it was closed cleanly. */
  readonly clean: CleanEnd | undefined;
}

const PUT_BACK = 'put the file back from a copy; without one, start a new log and let its sources take new snapshots';

/** Reads what a partition's directory holds, ends a trim that was begun, and cuts a torn tail. Throws DATA_DAMAGED. */
export async function recoverPartition(options: RecoverOptions): Promise<RecoveredPartition> {
  const { directory, files, clean } = options;
  const entries = await listDirectory(files, directory);
  // What a process renamed that was killed before it could sync is believed from here on: first it must be durable.
  await files.syncDirectory(directory);
  const extent = await readExtent(files, directory);
  await removeLeftovers(files, directory, entries, extent.start);
  const segments = await openSegments(options, entries, extent);
  const last = segments.at(-1);
  const tail = last === undefined ? EMPTY : await recoverTail(last, files, clean !== undefined);
  if (clean !== undefined && (clean.end !== tail.end || clean.crc !== tail.crc)) {
    throw damaged(
      last?.path ?? directory,
      `the log was closed with offset ${clean.end} as its end, but now ends with ${tail.end}`,
    );
  }
  return { extent, segments, ...tail };
}

async function listDirectory(files: FileSystem, directory: string): Promise<DirectoryEntry[]> {
  try {
    return await files.list(directory);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    throw damaged(directory, 'the partition’s directory is missing');
  }
}

/** Drafts of a file that was never made, and segments whose trim is durable but whose removal may not be. */
async function removeLeftovers(
  files: FileSystem,
  directory: string,
  entries: readonly DirectoryEntry[],
  start: number,
): Promise<void> {
  const names = entries
    .map(({ name }) => name)
    .filter((name) => name.endsWith(DRAFT_SUFFIX) || (segmentOffset(name) ?? start) < start);
  for (const name of names) await files.remove(join(directory, name));
  if (names.length > 0) await files.syncDirectory(directory);
}

async function openSegments(
  options: RecoverOptions,
  entries: readonly DirectoryEntry[],
  { start, newest }: PartitionExtent,
): Promise<Segment[]> {
  const { directory } = options;
  const offsets = entries.map(({ name }) => segmentOffset(name)).filter((offset) => offset !== undefined);
  const segments: Segment[] = [];
  for (const firstOffset of offsets.filter((offset) => offset >= start)) {
    segments.push(await openSegment(options, firstOffset));
  }
  if ((newest !== undefined || segments.length > 0) && segments[0]?.firstOffset !== start) {
    throw damaged(segmentPath(directory, start), 'the first segment is missing');
  }
  if (newest !== undefined && !segments.some(({ firstOffset }) => firstOffset === newest)) {
    throw damaged(segmentPath(directory, newest), 'the newest segment is missing');
  }
  // One may have been made that is not noted yet; what is beyond is not of this log's making.
  const extra = segments.filter(({ firstOffset }) => firstOffset > (newest ?? -1))[1];
  if (extra !== undefined) throw damaged(extra.path, 'no such segment was made', 'move the file away');
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    if (next !== undefined) judgeClosed(segment, next);
    else if (segment.fault !== undefined) throw segment.fault.error;
  }
  return segments;
}

/** Opens a segment and judges its head. */
async function openSegment(options: RecoverOptions, firstOffset: number): Promise<Segment> {
  const path = segmentPath(options.directory, firstOffset);
  const { bytes, header } = await using(options.files, path, 'read', async (file) => ({
    bytes: await file.length(),
    header: decodeSegmentHeader(await readFront(file, SEGMENT_HEADER_BYTES)),
  }));
  const reason = typeof header === 'string' ? header : misplaced(header, options, firstOffset);
  const segment = new Segment({ path, firstOffset, header: typeof header === 'string' ? undefined : header, bytes });
  if (reason !== undefined) segment.fault = { error: damaged(path, reason), whole: true };
  return segment;
}

function misplaced(
  { logId, partition, firstOffset }: SegmentHeader,
  expected: { readonly logId: string; readonly partition: number },
  offset: number,
): string | undefined {
  if (logId !== expected.logId) return `it is of log ${logId}`;
  if (partition !== expected.partition) return `it is of partition ${partition}`;
  return firstOffset === offset ? undefined : `it begins with offset ${firstOffset}`;
}

/** Compares a closed segment with what the next one says of it. */
function judgeClosed(segment: Segment, next: Segment): void {
  const before = next.header?.before;
  if (segment.fault !== undefined || next.fault !== undefined || before === undefined) return;
  let reason: string | undefined;
  if (before.firstOffset !== segment.firstOffset) {
    reason = `the segment that begins with offset ${before.firstOffset} is missing after it`;
  } else if (before.bytes !== segment.bytes) {
    reason = `it has ${segment.bytes} bytes and had ${before.bytes} when it was closed`;
    segment.bytes = Math.min(segment.bytes, before.bytes);
  }
  if (reason !== undefined) segment.fault = { error: damaged(segment.path, reason), whole: false };
}

type Tail = Pick<RecoveredPartition, 'end' | 'logTimeUs' | 'crc' | 'cutBytes'>;

const EMPTY: Tail = { end: 0, logTimeUs: -Infinity, crc: undefined, cutBytes: 0 };

async function recoverTail(segment: Segment, files: FileSystem, closedCleanly: boolean): Promise<Tail> {
  const { firstOffset } = segment;
  const before = segment.header?.before;
  return using(files, segment.path, 'write', async (file) => {
    const bytes = await readFront(file, segment.bytes);
    const expected = { offset: firstOffset, logTimeUsMin: before?.logTimeUs ?? -Infinity };
    const { whole, count, fault } = scanFrames(bytes, SEGMENT_HEADER_BYTES, expected, (entry, position) =>
      segment.remember(entry.offset, position),
    );
    const end = firstOffset + whole.count;
    if (fault !== undefined || count !== whole.count) {
      const later = findLaterCommit(bytes, whole.end, end);
      if (later !== undefined || closedCleanly) throw notTorn(segment, whole.end, end, later?.offset);
      await file.truncate(whole.end);
      segment.bytes = whole.end;
      segment.forget(end);
    }
    await file.sync();
    const { logTimeUs, crc = before?.crc } = whole;
    return { end, logTimeUs, crc, cutBytes: bytes.length - whole.end };
  });
}

function notTorn(segment: Segment, position: number, offset: number, later: number | undefined): FreshetError {
  const what = later === undefined ? 'though the log was closed cleanly' : `but the one of offset ${later} follows`;
  return damaged(`${segment.path}, byte ${position}`, `the record of offset ${offset} is not there, ${what}`, PUT_BACK);
}

async function readFront(file: DiskFile, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, await file.read(bytes, 0));
}

async function using<T>(
  files: FileSystem,
  path: string,
  mode: 'read' | 'write',
  use: (file: DiskFile) => Promise<T>,
): Promise<T> {
  const file = await files.open(path, mode);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
