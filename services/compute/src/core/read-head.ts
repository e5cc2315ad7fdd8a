/** Asks the log itself what stands before a position, to check a cursor that nothing nearer knows. */
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { LogReader } from '@freshet/log/log.ts';
import type { Head } from './tail.ts';

/** The record before a position; undefined when the log no longer has it. One attempt: UNAVAILABLE is the caller's. */
export async function readHead(
  log: LogReader,
  partition: number,
  position: number,
  signal: AbortSignal,
): Promise<Head | undefined> {
  try {
    for await (const batch of log.read(partition, position - 1, signal)) {
      const entry = batch.entries[0];
      if (entry !== undefined) return { position, logTimeUs: entry.logTimeUs, recordCrc: entry.crc };
    }
  } catch (error) {
    if (isFreshetError(error, 'OFFSET_OUT_OF_RANGE')) return undefined;
    throw error;
  }
  throw new FreshetError('UNAVAILABLE', 'the log ended the reading');
}
