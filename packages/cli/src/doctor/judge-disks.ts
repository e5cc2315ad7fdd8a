/** Judges data directories: there, ours, writable, with room, not shared with strangers. Pure. */
import { durationText } from '../output/values.ts';
import { bytesText, type Finding, Findings } from './finding.ts';

/** A directory as it was found. */
export interface DirectoryFacts {
  readonly path: string;
  /** Whose it is: "ingest". */
  readonly what: string;
  /** Unset: there is none yet; room and permission are then those of the nearest directory above. */
  readonly owned?: { readonly uid: number; readonly mode: number } | undefined;
  /** Why it cannot be written to: an error code of the system. Unset: it can. */
  readonly notWritable?: string | undefined;
  readonly room: Room;
  readonly aside: readonly AsideFacts[];
}

export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Unset where the file system does not count them. */
  readonly freeInodes?: number | undefined;
  readonly totalInodes?: number | undefined;
}

/** Data that a service put out of its way, because it could not be trusted. */
export interface AsideFacts {
  readonly path: string;
  readonly bytes: number;
  /** When it was last written, microseconds since the Unix epoch. */
  readonly atUs: number;
}

export interface DisksContext {
  /** Our user's number; undefined where the system has none. */
  readonly uid: number | undefined;
  readonly user: string;
  readonly nowUs: number;
}

/** The log takes no more records when less is free (ingest --help). */
const NEEDED_BYTES = 64 * 1024 ** 2;
/** Enough for a checkpoint of a small mesh and for LevelDB to compact: less is soon nothing. */
const COMFORTABLE_BYTES = 2 * 1024 ** 3;
const COMFORTABLE_SHARE = 0.05;
const NEEDED_INODES = 200;
const COMFORTABLE_INODES = 10_000;

export function judgeDisks(directories: readonly DirectoryFacts[], context: DisksContext): Finding[] {
  const findings = new Findings('disks');
  for (const directory of directories) {
    const before = findings.list.length;
    judgeAccess(findings, directory, context);
    judgeRoom(findings, directory);
    if (findings.list.length === before) {
      const state = directory.owned === undefined ? 'will be made when it is needed' : 'ours, writable';
      findings.ok(`${directory.what}: ${state}, ${bytesText(directory.room.freeBytes)} free`, directory.path);
    }
    judgeAside(findings, directory, context);
  }
  return findings.list;
}

function judgeAccess(findings: Findings, directory: DirectoryFacts, { uid, user }: DisksContext): void {
  const { path: place, what, owned, notWritable } = directory;
  if (notWritable === 'EROFS') {
    findings.problem({
      message: `${what}: the file system is read-only`,
      remedy: `look at the kernel log first (dmesg | tail): a disk that fails is often mounted so; then: mount -o remount,rw $(findmnt -n -o TARGET -T ${place})`,
      place,
    });
  } else if (notWritable !== undefined) {
    findings.problem({
      message: `${what}: user ${user} may not write there (${notWritable})`,
      remedy: `chown -R ${user} ${place} && chmod -R u+rwX ${place}`,
      place,
    });
  }
  if (owned === undefined) return;
  if (uid !== undefined && uid !== 0 && owned.uid !== uid) {
    findings.warning({
      message: `${what}: the directory belongs to user ${owned.uid}, and you are ${user} (${uid})`,
      remedy: `run as that user, or: chown -R ${user} ${place}`,
      place,
    });
  }
  if ((owned.mode & 0o002) !== 0) {
    findings.problem({
      message: `${what}: everybody on this machine may write there`,
      remedy: `chmod -R o-w ${place}`,
      place,
    });
  }
}

function judgeRoom(findings: Findings, { path: place, what, room }: DirectoryFacts): void {
  const { freeBytes, totalBytes, freeInodes, totalInodes } = room;
  const free = `${what}: ${bytesText(freeBytes)} of ${bytesText(totalBytes)} are free`;
  if (freeBytes < NEEDED_BYTES) {
    findings.problem({
      message: `${free}; capture stops below ${bytesText(NEEDED_BYTES)}`,
      remedy: `make room on the disk of ${place} (du -xh ${place} | sort -h | tail), or move the data directory`,
      place,
    });
  } else if (freeBytes < COMFORTABLE_BYTES || freeBytes < totalBytes * COMFORTABLE_SHARE) {
    findings.warning({
      message: free,
      remedy: `make room on the disk of ${place}, or keep less: --retain-age, --retain-bytes of ingest`,
      place,
    });
  }
  // A file system that makes inodes as it goes says that it has none at all.
  if (freeInodes === undefined || totalInodes === undefined || totalInodes === 0) return;
  const inodes = `${what}: ${freeInodes} of ${totalInodes} inodes are free`;
  const remedy = `many small files are somewhere on this disk: find them with du --inodes -x / | sort -n | tail`;
  if (freeInodes < NEEDED_INODES) findings.problem({ message: inodes, remedy, place });
  else if (freeInodes < COMFORTABLE_INODES) findings.warning({ message: inodes, remedy, place });
}

function judgeAside(findings: Findings, { what, aside }: DirectoryFacts, { nowUs }: DisksContext): void {
  for (const { path, bytes, atUs } of aside) {
    findings.note({
      message: `${what}: ${bytesText(bytes)} were put aside ${durationText(Math.max(0, nowUs - atUs))} ago, because they could not be trusted`,
      remedy: `the log of ${what} says why; keep it for a report, or: rm -r ${path}`,
      place: path,
    });
  }
}
