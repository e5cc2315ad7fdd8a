/**
 * Makes sure that the log says what ForgetEntity is asked for: an Erase record of that key at that offset.
 *
 * Owns the comparison. Without it whoever can reach the node could have checkpoints removed and stores rewritten over and
 * over for entities that nobody erased. Where the log was trimmed above the offset there is nothing to compare with; the
 * erase is then taken at its word, because what it removes are states in which nothing is.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { keyString } from '@freshet/values/key.ts';

export interface EraseAt {
  readonly shard: number;
  /** Below the log's end. */
  readonly offset: number;
  /** The entity's key string. */
  readonly key: string;
}

/** One attempt. Throws INVALID_REQUEST when the record there is another one, UNAVAILABLE when the log cannot be read. */
export async function requireErase(
  log: LogReader,
  { shard, offset, key }: EraseAt,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const batch of log.read(shard, offset, signal)) {
      const entry = batch.entries[0];
      if (entry === undefined) continue;
      // A copy: the bytes are only lent.
      const { kind } = fromBinary(LogRecordSchema, entry.record.slice());
      if (kind.case === 'erase' && keyString(kind.value.entityKey) === key) return;
      throw new FreshetError('INVALID_REQUEST', `record ${offset} of shard ${shard} does not erase that entity`, {
        remedy: "erase it with 'freshet erase', which writes the record and then asks every node",
      });
    }
  } catch (error) {
    if (isFreshetError(error, 'OFFSET_OUT_OF_RANGE')) return;
    throw error;
  }
  signal.throwIfAborted();
  throw new FreshetError('UNAVAILABLE', 'the log ended the reading');
}
