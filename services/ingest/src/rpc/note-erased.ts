/** IngestService.NoteErased and GetErase: an erase's receipt, as others add to it and as it stands. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  GetEraseRequest,
  GetEraseResponseSchema,
  NoteErasedRequest,
  NoteErasedResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { Eraser } from '../io/eraser.ts';

export function noteErased(
  eraser: Pick<Eraser, 'note'>,
): (request: NoteErasedRequest) => Promise<MessageInitShape<typeof NoteErasedResponseSchema>> {
  return async ({ eraseId, places, complete }) => ({ erase: await eraser.note(eraseId, places, complete) });
}

export function getErase(
  eraser: Pick<Eraser, 'get'>,
): (request: GetEraseRequest) => Promise<MessageInitShape<typeof GetEraseResponseSchema>> {
  return async ({ eraseId }) => ({ erase: await eraser.get(eraseId) });
}
