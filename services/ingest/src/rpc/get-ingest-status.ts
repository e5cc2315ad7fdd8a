/** IngestService.GetIngestStatus: what this node is doing. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type GetIngestStatusRequest,
  type GetIngestStatusResponseSchema,
  type SourceState,
  SourceState as State,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';

/** What a source reports. */
export interface SourceReport {
  readonly database: string;
  readonly phase: SourceState;
  readonly routes: readonly number[];
  readonly durableLsn: bigint;
  readonly serverLsn: bigint;
  readonly commits: number;
  readonly rows: number;
  readonly records: number;
  readonly recordBytes: number;
  readonly unkeyed: number;
  readonly problem: FreshetError | undefined;
}

export interface IngestReport {
  readonly logId: string;
  readonly definitionsGeneration: bigint;
  readonly sources: readonly SourceReport[];
  /** Databases that definitions name and this node does not have. */
  readonly missing: readonly FreshetError[];
  readonly quarantined: number;
}

/** The handler. */
export function getIngestStatus(
  report: () => IngestReport,
): (request: GetIngestStatusRequest) => Promise<MessageInitShape<typeof GetIngestStatusResponseSchema>> {
  return () => {
    const { logId, definitionsGeneration, sources, missing, quarantined } = report();
    const sum = (count: (source: SourceReport) => number): bigint =>
      BigInt(sources.reduce((total, source) => total + count(source), 0));
    return Promise.resolve({
      logId: Buffer.from(logId, 'hex'),
      definitionsGeneration,
      records: sum(({ records }) => records),
      bytes: sum(({ recordBytes }) => recordBytes),
      quarantined: BigInt(quarantined),
      sources: [
        ...sources.map(({ database, phase, routes, durableLsn, serverLsn, commits, rows, unkeyed, problem }) => ({
          database,
          state: phase,
          routes: [...routes],
          durableLsn,
          serverLsn,
          commits: BigInt(commits),
          rows: BigInt(rows),
          unkeyed: BigInt(unkeyed),
          ...(problem === undefined ? {} : { problem: toErrorDetail(problem) }),
        })),
        ...missing.map((problem) => ({
          database: problem.place.replace(/^database /, ''),
          state: State.HALTED,
          problem: toErrorDetail(problem),
        })),
      ],
    });
  };
}
