/** QuarantineService.DiscardQuarantine: drops entries for good. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  DiscardQuarantineRequest,
  DiscardQuarantineResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

export interface Discarder {
  discard(source: string, keep: boolean, signal: AbortSignal): Promise<{ discarded: number; readAnew: number[] }>;
  discardEntries(ids: readonly string[]): Promise<number>;
}

export function discardQuarantine(
  desk: Discarder,
): (
  request: DiscardQuarantineRequest,
  context: { readonly signal: AbortSignal },
) => Promise<MessageInitShape<typeof DiscardQuarantineResponseSchema>> {
  return async ({ source, ids, keep }, { signal }) => {
    if ((source === '') === (ids.length === 0)) {
      throw new FreshetError('INVALID_REQUEST', 'name either a source or entries', {
        place: 'source',
        remedy: 'give the source whose held rows are to go, or the ids of entries',
      });
    }
    if (source === '') return { discarded: BigInt(await desk.discardEntries(ids)) };
    const { discarded, readAnew } = await desk.discard(source, keep, signal);
    return { discarded: BigInt(discarded), readAnew };
  };
}
