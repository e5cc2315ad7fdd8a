/** What goes wrong with the quarantine's file, each with what to do. */
import { FreshetError } from '@freshet/kit/errors.ts';

/** What was found of damage when the quarantine was opened. */
export interface QuarantineDamage {
  readonly lines: number;
  /** Where the file is kept as it was found. */
  readonly keptAt: string;
}

/** What to say of damage that was found. */
export function quarantineDamaged({ lines, keptAt }: QuarantineDamage): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the quarantine was damaged: ${lines} of its lines cannot be read`, {
    remedy:
      'The file as it was found is kept beside it. Look there for rows that are missing, and at the disk; rows that were ' +
      'being written when the machine lost power are among them, and come again by themselves.',
    place: keptAt,
  });
}

/** It has as much as it may. */
export function full(path: string, bytesMax: number): FreshetError {
  return new FreshetError(
    'DISK_FULL',
    `the quarantine has ${Math.round(bytesMax / 1024 ** 2)} MiB, which is its limit`,
    {
      remedy:
        'Capture waits, and loses nothing. Release or discard what is held, which makes room (freshet quarantine list, release, ' +
        'discard). Do not move the file away while anything is held: what is in it would be forgotten.',
      place: path,
    },
  );
}

/** A line is not what was written. */
export function damagedLine(path: string, end: number): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'a line of the quarantine was damaged while ingest ran', {
    remedy: 'Start ingest again, which puts the file aside and goes on with its sound lines; then ask again.',
    place: `${path}, the line that ends at byte ${end}`,
  });
}

/** A write failed of which nobody knows how much is on the disk. */
export function unknownContent(path: string, cause: unknown): FreshetError {
  return new FreshetError('LOG_HALTED', 'the quarantine takes no more entries: a write to it failed half-way', {
    remedy: 'look at the disk; the process starts again by itself, and what was not acknowledged is sent again',
    place: path,
    cause,
  });
}
