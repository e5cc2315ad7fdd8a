/** Judges the machine: the version of Node, how many files may be open, memory. Pure. */
import { bytesText, type Finding, Findings } from './finding.ts';

export interface MachineFacts {
  /** "v24.11.0" */
  readonly nodeVersion: string;
  /** The limits of open files for what this shell starts; undefined where the system does not tell. */
  readonly openFiles: { readonly soft: number; readonly hard: number } | undefined;
  /** Bytes of memory, of the container where there is one. */
  readonly memoryBytes: number;
  readonly partitions: number;
  /** Processes of the mesh that run. */
  readonly processes: readonly ProcessUse[];
}

/** What a running process uses of what it may. */
export interface ProcessUse {
  readonly what: string;
  readonly pid: number;
  readonly openFiles?: { readonly used: number; readonly soft: number } | undefined;
}

const NODE_MAJOR = 24;
/** Connections, segment files and libraries. */
const FILES_BASE = 1_024;
/** A shard's LevelDB keeps its tables open. */
const FILES_PER_PARTITION = 128;
const MEMORY_MIN_BYTES = 2 * 1024 ** 3;
const FULL_SHARE = 0.8;

export function judgeMachine(facts: MachineFacts): Finding[] {
  const findings = new Findings('machine');
  const major = Number(/^v(\d+)\./.exec(facts.nodeVersion)?.[1] ?? 0);
  if (major < NODE_MAJOR) {
    findings.problem({
      message: `Node ${facts.nodeVersion} is too old; ${NODE_MAJOR} is needed`,
      remedy: 'run npm install, which brings the right one, and start by npx freshet',
    });
  } else findings.ok(`Node ${facts.nodeVersion}`);
  judgeOpenFiles(findings, facts);
  if (facts.memoryBytes < MEMORY_MIN_BYTES) {
    findings.warning({
      message: `${bytesText(facts.memoryBytes)} of memory; four services with their defaults want ${bytesText(MEMORY_MIN_BYTES)}`,
      remedy: 'give compute a smaller --cache-bytes, or the machine more memory',
    });
  } else findings.ok(`${bytesText(facts.memoryBytes)} of memory`);
  return findings.list;
}

function judgeOpenFiles(findings: Findings, { openFiles, partitions, processes }: MachineFacts): void {
  const need = FILES_BASE + partitions * FILES_PER_PARTITION;
  if (openFiles !== undefined) {
    const { soft, hard } = openFiles;
    if (soft < need) {
      findings.warning({
        message: `a process may open ${soft} files; ${partitions} partitions may want ${need}`,
        remedy:
          hard >= need
            ? `ulimit -n ${hard === Infinity ? need : hard}   # in the shell or unit that starts the mesh`
            : `raise the hard limit of ${hard} (LimitNOFILE= of the unit, or /etc/security/limits.conf) to ${need}`,
      });
    } else findings.ok(`a process may open ${soft === Infinity ? 'any number of' : soft} files; ${need} are enough`);
  }
  for (const { what, pid, openFiles: use } of processes) {
    if (use === undefined || use.used < use.soft * FULL_SHARE) continue;
    findings.warning({
      message: `${what} has ${use.used} of ${use.soft} files open`,
      remedy: `start the mesh with more (ulimit -n); what they are: ls -l /proc/${pid}/fd`,
      place: `pid ${pid}`,
    });
  }
}
