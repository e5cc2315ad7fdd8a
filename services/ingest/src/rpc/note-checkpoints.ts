/** LogService.NoteCheckpoints: a node tells how far back it may have to read, and hears how far the log may be trimmed. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { NoteCheckpointsRequest, NoteCheckpointsResponseSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { checkOffsets } from '../core/checkpoint-book.ts';

/** What is known of checkpoints: io/checkpoint-file.ts. */
export interface Checkpoints {
  /** Resolves when it is durable; no offsets: the node leaves. */
  note(nodeId: string, offsets: ReadonlyMap<number, number>): Promise<void>;
  /** The offset below which nobody needs the partition; undefined: all of it may be needed. */
  allowedBelow(partition: number): number | undefined;
}

/** The handler for a log and what is known of its checkpoints. */
export function noteCheckpoints(
  log: Pick<LogReader, 'describe'>,
  checkpoints: Checkpoints,
): (request: NoteCheckpointsRequest) => Promise<MessageInitShape<typeof NoteCheckpointsResponseSchema>> {
  return async (request) => {
    const { logId, partitions } = await log.describe();
    const told = Buffer.from(request.logId).toString('hex');
    if (told !== logId) {
      throw new FreshetError('WRONG_LOG', `the checkpoints are of log ${told}; this is ${logId}`, {
        remedy:
          'See that compute reads from the ingest node that it was set up with; state of another log is made anew.',
      });
    }
    const offsets = new Map(request.checkpoints.map(({ shard, offset }) => [shard, Number(offset)]));
    checkOffsets(
      offsets,
      partitions.map(({ end }) => end),
    );
    await checkpoints.note(request.nodeId, offsets);
    return { allowedBelow: partitions.map((_, partition) => BigInt(checkpoints.allowedBelow(partition) ?? 0)) };
  };
}
