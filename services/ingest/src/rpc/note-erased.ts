/** IngestService.NoteErased and GetErase: an erase's receipt, as others add to it and as it stands. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  ErasePlace,
  EraseState,
  GetEraseRequest,
  GetEraseResponseSchema,
  NoteErasedRequest,
  NoteErasedResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';

/** Whoever keeps receipts: io/eraser.ts. */
export interface Receipts {
  note(eraseId: string, places: readonly ErasePlace[], complete: boolean): Promise<EraseState>;
  get(eraseId: string): Promise<EraseState>;
}

export function noteErased(
  eraser: Pick<Receipts, 'note'>,
): (request: NoteErasedRequest) => Promise<MessageInitShape<typeof NoteErasedResponseSchema>> {
  return async ({ eraseId, places, complete }) => ({ erase: await eraser.note(eraseId, places, complete) });
}

export function getErase(
  eraser: Pick<Receipts, 'get'>,
): (request: GetEraseRequest) => Promise<MessageInitShape<typeof GetEraseResponseSchema>> {
  return async ({ eraseId }) => ({ erase: await eraser.get(eraseId) });
}
