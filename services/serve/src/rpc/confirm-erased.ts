/** ServeService.ConfirmErased: that nothing of an erased entity is held here any more. */
import { create } from '@bufbuild/protobuf';
import {
  type ConfirmErasedRequest,
  type ConfirmErasedResponse,
  ConfirmErasedResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { Replica } from '@freshet/replica/replica.ts';

const KEY_BYTES_MAX = 2048;

/** What lies out of the way: io/asides.ts. */
export interface Asides {
  list(): Promise<readonly string[]>;
  remove(path: string): Promise<void>;
}

export function confirmErased(
  replica: Pick<Replica, 'confirmErased'>,
  asides: Asides,
): (request: ConfirmErasedRequest, context: { readonly signal: AbortSignal }) => Promise<ConfirmErasedResponse> {
  return async ({ logId, shard, offset, entityKey, setAside }, { signal }) => {
    if (logId.length !== 16 || entityKey.length === 0 || entityKey.length > KEY_BYTES_MAX) {
      throw new FreshetError('INVALID_REQUEST', 'a log id of 16 bytes and an encoded entity key are needed');
    }
    const question = { logId: toHex(logId), shard, offset: Number(offset), entityKey };
    const answer = await replica.confirmErased(question, signal);
    const paths = await asides.list();
    if (setAside) for (const path of paths) await asides.remove(path);
    return create(ConfirmErasedResponseSchema, {
      position: BigInt(answer.position),
      rowsDropped: answer.rowsDropped,
      rowsLeft: answer.rowsLeft,
      laterRows: answer.laterRows,
      rewritten: true,
      setAside: [...paths],
      setAsideRemoved: setAside,
    });
  };
}
