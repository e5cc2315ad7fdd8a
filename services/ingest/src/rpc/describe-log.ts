/** LogService.DescribeLog: says which log this node holds and how far each partition reaches. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DescribeLogRequest, DescribeLogResponseSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { LogReader } from '@freshet/log/log.ts';

/** The handler for a log. */
export function describeLog(
  log: Pick<LogReader, 'describe'>,
): (request: DescribeLogRequest) => Promise<MessageInitShape<typeof DescribeLogResponseSchema>> {
  return async () => {
    const { logId, partitions } = await log.describe();
    return {
      logId: Buffer.from(logId, 'hex'),
      partitions: partitions.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) })),
    };
  };
}
