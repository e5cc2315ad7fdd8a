/**
 * LogService.ReadLog: streams a partition's durable records, then follows its tail until the caller cancels.
 *
 * Passes frames on as they lie on disk; their checksums are the caller's to check. Pulled by the gRPC server only
 * while the socket accepts writes, so that a slow caller holds one batch and nothing else (R4). How far a caller is, is noted
 * in core/log-readers.ts.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ReadLogRequest, ReadLogResponseSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { FrameReader } from '@freshet/log/log.ts';
import { LogReaders } from '../core/log-readers.ts';

/** The handler for a log; `readers` is told how far each caller is. */
export function readLog(
  log: FrameReader & { readonly logId: string },
  readers: LogReaders = new LogReaders(),
): (
  request: ReadLogRequest,
  context: { readonly signal: AbortSignal },
) => AsyncIterable<MessageInitShape<typeof ReadLogResponseSchema>> {
  return async function* (request, { signal }) {
    checkLogId(log.logId, request.logId);
    const read = readers.opened(request.partition, Number(request.from));
    try {
      // An offset beyond 2^53 becomes a number that no partition reaches, and is refused as such.
      for await (const batch of log.readFrames(request.partition, Number(request.from), signal)) {
        yield {
          firstOffset: BigInt(batch.firstOffset),
          count: batch.count,
          frames: batch.frames,
          end: BigInt(batch.end),
        };
        readers.took(read, batch.firstOffset + batch.count, batch.end);
      }
    } finally {
      readers.closed(read);
    }
  };
}

/** R3: a position in one log means nothing in another. */
function checkLogId(logId: string, expected: Uint8Array): void {
  if (expected.length === 0) return;
  const wanted = Buffer.from(expected).toString('hex');
  if (wanted === logId) return;
  throw new FreshetError('WRONG_LOG', `this is log ${logId}, not ${wanted}`, {
    place: 'log_id',
    remedy: 'state folded from another log does not continue here: start it anew from this log',
  });
}
