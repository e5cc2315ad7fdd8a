/** QuarantineService.ShowQuarantine: one entry with everything that is kept of it. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  ShowQuarantineRequest,
  ShowQuarantineResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { rowOf } from './list-quarantine.ts';

export function showQuarantine(desk: {
  show(id: string): Promise<QuarantineEntry>;
}): (request: ShowQuarantineRequest) => Promise<MessageInitShape<typeof ShowQuarantineResponseSchema>> {
  return async ({ id }) => {
    const entry = await desk.show(id);
    return { row: rowOf(entry), json: JSON.stringify({ ...entry, major: entry.major.toString() }) };
  };
}
