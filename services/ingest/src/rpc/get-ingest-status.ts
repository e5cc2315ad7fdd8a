/** IngestService.GetIngestStatus: what this node is doing. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type GetIngestStatusResponseSchema,
  type LogPartitionStatusSchema,
  type SnapshotProgressSchema,
  SnapshotStep,
  SourceState as State,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { Condition } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import type { KeptPartition, RetentionState } from '@freshet/log/retention-keeper.ts';
import type { AloneRows } from '../core/alone-index.ts';
import type { HeldRoute } from '../core/held-index.ts';
import type { SnapshotReport } from '../core/snapshot-progress.ts';
import type { SourceReport } from '../core/source-report.ts';
import { aloneRows, heldTable } from './list-quarantine.ts';

export interface IngestReport {
  readonly logId: string;
  readonly definitionsGeneration: bigint;
  readonly sources: readonly SourceReport[];
  /** Databases that definitions name and this node does not have. */
  readonly missing: readonly FreshetError[];
  readonly quarantined: number;
  /** What is held of tables. */
  readonly held: readonly HeldRoute[];
  /** What was put aside alone. */
  readonly alone: readonly AloneRows[];
  /** What is not as it should be. */
  readonly conditions: readonly Condition[];
  /** The log's partitions, by number. */
  readonly kept: RetentionState;
}

/** The answer. */
export function ingestStatus(report: IngestReport): MessageInitShape<typeof GetIngestStatusResponseSchema> {
  const { logId, definitionsGeneration, sources, missing, quarantined, held, alone, conditions, kept } = report;
  const sum = (count: (source: SourceReport) => number): bigint =>
    BigInt(sources.reduce((total, source) => total + count(source), 0));
  return {
    logId: Buffer.from(logId, 'hex'),
    definitionsGeneration,
    records: sum(({ records }) => records),
    bytes: sum(({ recordBytes }) => recordBytes),
    quarantined: BigInt(quarantined),
    held: held.map(heldTable),
    alone: aloneRows(alone),
    conditions: [...conditions],
    partitions: kept.partitions.map((partition) => partitionStatus(partition, kept)),
    sources: [
      ...sources.map(
        ({ database, phase, routes, durableLsn, serverLsn, commits, rows, unkeyed, problem, snapshot }) => ({
          database,
          state: phase,
          routes: [...routes],
          durableLsn,
          serverLsn,
          commits: BigInt(commits),
          rows: BigInt(rows),
          unkeyed: BigInt(unkeyed),
          ...(problem === undefined ? {} : { problem: toErrorDetail(problem) }),
          ...(snapshot === undefined ? {} : { snapshot: snapshotProgress(snapshot) }),
        }),
      ),
      ...missing.map((problem) => ({
        database: problem.place.replace(/^database /, ''),
        state: State.HALTED,
        problem: toErrorDetail(problem),
      })),
    ],
  };
}

function snapshotProgress({
  step,
  rows,
  rowsExpected,
}: SnapshotReport): MessageInitShape<typeof SnapshotProgressSchema> {
  return {
    step: step === 'reading' ? SnapshotStep.READING : SnapshotStep.APPENDING,
    rows: BigInt(rows),
    ...(rowsExpected === undefined ? {} : { rowsExpected: BigInt(rowsExpected) }),
  };
}

function partitionStatus(
  { partition, start, end, bytes, oldestLogTimeUs, allowedBelow }: KeptPartition,
  { overruns }: RetentionState,
): MessageInitShape<typeof LogPartitionStatusSchema> {
  return {
    partition,
    start: BigInt(start),
    end: BigInt(end),
    bytes: BigInt(bytes),
    ...(oldestLogTimeUs === undefined ? {} : { oldestLogTimeUs: BigInt(oldestLogTimeUs) }),
    ...(allowedBelow === undefined ? {} : { allowedBelow: BigInt(allowedBelow) }),
    overrun: overruns
      .filter((overrun) => overrun.partition === partition)
      .map(({ message, remedy }) => `${message}: ${remedy}`)
      .join('\n'),
  };
}
