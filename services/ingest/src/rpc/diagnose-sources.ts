/** IngestService.DiagnoseSources: what the databases offer and how their slots stand, for `freshet doctor`. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  DiagnoseSourcesRequest,
  DiagnoseSourcesResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';

type Response = MessageInitShape<typeof DiagnoseSourcesResponseSchema>;

/** Whoever can look at databases: io/diagnose.ts. */
export type Diagnose = (patienceMs: number, signal: AbortSignal) => Promise<NonNullable<Response['databases']>>;

export const PATIENCE_MS = 5_000;

/** The handler. */
export function diagnoseSources(
  diagnose: Diagnose,
): (request: DiagnoseSourcesRequest, context: { readonly signal: AbortSignal }) => Promise<Response> {
  return async ({ patienceMs }, { signal }) => ({ databases: await diagnose(patienceMs || PATIENCE_MS, signal) });
}
