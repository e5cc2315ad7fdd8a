/** What a source reports of itself, for the node's status. Owns the form only. */
import type { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';

/** What a source reports of itself. */
export interface SourceReport {
  readonly database: string;
  readonly phase: SourcePhase;
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
