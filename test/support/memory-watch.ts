/**
 * What the processes of a mesh take of memory, by what the system says (/proc, Linux): looked at every 100 ms, with the
 * system's own mark of the most, so that nothing between two looks is missed.
 *
 * Owns the looking. Does not own what is allowed: that is docs/running.md's and the test's.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const EVERY_MS = 100;
const KIB = 1024;

/** Bytes of memory of one process. */
export interface ProcessMemory {
  /** All that is resident, files that are mapped included. */
  readonly resident: number;
  /** What only this process can give back: heaps and stacks. */
  readonly anonymous: number;
  /** The most that ever was resident, by the system. */
  readonly residentMost: number;
}

/** The most that was seen of each process, over all its lives. */
export interface MemoryPeak {
  /** Bytes resident. */
  readonly resident: number;
  /** Bytes that are no file's. */
  readonly anonymous: number;
  /** How often it was looked at. */
  readonly looks: number;
}

export interface MemoryWatch<Name extends string> {
  readonly peaks: Readonly<Record<Name, MemoryPeak>>;
  /** Ends the watch after one last look. */
  stop(): Promise<void>;
}

/** The memory of a process now; undefined when it is gone, or where the system does not tell. */
export function memoryOf(pid: number): ProcessMemory | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * KIB;
    const memory = { resident: bytes('VmRSS'), anonymous: bytes('RssAnon'), residentMost: bytes('VmHWM') };
    // A process that has ended and was not waited for yet has a status without memory.
    return Number.isNaN(memory.resident) ? undefined : memory;
  } catch {
    return undefined;
  }
}

/** Watches processes by name; `pidOf` says which process a name is now. */
export function watchMemory<Name extends string>(
  names: readonly Name[],
  pidOf: (name: Name) => number | undefined,
): MemoryWatch<Name> {
  const none: MemoryPeak = { resident: 0, anonymous: 0, looks: 0 };
  const peaks = Object.fromEntries(names.map((name) => [name, none])) as Record<Name, MemoryPeak>;
  const stop = new AbortController();
  const look = (): void => {
    for (const name of names) {
      const pid = pidOf(name);
      const memory = pid === undefined ? undefined : memoryOf(pid);
      if (memory === undefined) continue;
      const before = peaks[name];
      peaks[name] = {
        resident: Math.max(before.resident, memory.residentMost),
        anonymous: Math.max(before.anonymous, memory.anonymous),
        looks: before.looks + 1,
      };
    }
  };
  const watching = (async () => {
    while (!stop.signal.aborted) {
      look();
      await pause(EVERY_MS);
    }
    look();
  })();
  return {
    peaks,
    stop: async () => {
      stop.abort();
      await watching;
    },
  };
}
