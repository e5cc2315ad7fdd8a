/** IngestService.DiagnoseSources: what the databases offer and how their slots stand, for `freshet doctor`. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  DiagnoseSourcesRequest,
  DiagnoseSourcesResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';

type Response = MessageInitShape<typeof DiagnoseSourcesResponseSchema>;

export interface Asked {
  /** How long each database has, in milliseconds. */
  readonly patienceMs: number;
  /** The tables that definitions name. */
  readonly tables: readonly PostgresTable[];
}

/** Whoever can look at databases: io/diagnose.ts. */
export type Diagnose = (asked: Asked, signal: AbortSignal) => Promise<NonNullable<Response['databases']>>;

const PATIENCE_MS = 5_000;

/** What a request asks, with what it left out. */
export function askedOf({ patienceMs, tables }: DiagnoseSourcesRequest): Asked {
  return { patienceMs: patienceMs || PATIENCE_MS, tables };
}

/** The handler. */
export function diagnoseSources(
  diagnose: Diagnose,
): (request: DiagnoseSourcesRequest, context: { readonly signal: AbortSignal }) => Promise<Response> {
  return async (request, { signal }) => ({ databases: await diagnose(askedOf(request), signal) });
}
