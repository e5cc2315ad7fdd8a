/** IngestService.EraseEntity: forgets an entity here, telling each step. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { EraseEntityRequest, EraseEntityResponseSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { Eraser } from '../io/eraser.ts';

export function eraseEntity(
  eraser: Pick<Eraser, 'erase'>,
): (
  request: EraseEntityRequest,
  context: { readonly signal: AbortSignal },
) => AsyncIterable<MessageInitShape<typeof EraseEntityResponseSchema>> {
  return (request, { signal }) => eraser.erase(request, signal);
}
