/** IngestService.EraseEntity: forgets an entity here, telling each step. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  EraseEntityRequest,
  EraseEntityResponseSchema,
  EraseState,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';

/** Whoever erases: io/eraser.ts. */
export interface EntityEraser {
  erase(request: EraseEntityRequest, signal: AbortSignal): AsyncIterable<{ step: string; erase: EraseState }>;
}

export function eraseEntity(
  eraser: EntityEraser,
): (
  request: EraseEntityRequest,
  context: { readonly signal: AbortSignal },
) => AsyncIterable<MessageInitShape<typeof EraseEntityResponseSchema>> {
  return (request, { signal }) => eraser.erase(request, signal);
}
