/** What a source reports of itself. */
import type { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { SnapshotReport } from './snapshot-progress.ts';

/** Counts are since start. */
export interface SourceReport {
  readonly database: string;
  readonly phase: SourcePhase;
  readonly routes: readonly number[];
  /** No commit before this comes again. */
  readonly acknowledgedLsn: bigint;
  readonly durableLsn: bigint;
  readonly serverLsn: bigint;
  readonly commits: number;
  readonly rows: number;
  readonly records: number;
  readonly recordBytes: number;
  readonly unkeyed: number;
  readonly problem: FreshetError | undefined;
  /** How far the reading of initial rows is; undefined while none are read. */
  readonly snapshot?: SnapshotReport | undefined;
}
