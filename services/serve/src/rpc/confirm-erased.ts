/** ServeService.ConfirmErased: that nothing of an erased entity is held here any more. */
import { create } from '@bufbuild/protobuf';
import {
  type ConfirmErasedRequest,
  type ConfirmErasedResponse,
  ConfirmErasedResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { asidesOf } from '@freshet/replica/asides.ts';
import type { Replica } from '@freshet/replica/replica.ts';

const KEY_BYTES_MAX = 2048;

export function confirmErased(
  replica: Pick<Replica, 'confirmErased'>,
  files: FileSystem,
  directory: string,
): (request: ConfirmErasedRequest, context: { readonly signal: AbortSignal }) => Promise<ConfirmErasedResponse> {
  return async ({ logId, shard, offset, entityKey, setAside }, { signal }) => {
    if (logId.length !== 16 || entityKey.length === 0 || entityKey.length > KEY_BYTES_MAX) {
      throw new FreshetError('INVALID_REQUEST', 'a log id of 16 bytes and an encoded entity key are needed');
    }
    const question = { logId: toHex(logId), shard, offset: Number(offset), entityKey };
    const answer = await replica.confirmErased(question, signal);
    const asides = await asidesOf(files, directory);
    if (setAside) for (const path of asides) await files.removeDirectory(path);
    return create(ConfirmErasedResponseSchema, {
      position: BigInt(answer.position),
      rowsDropped: answer.rowsDropped,
      rowsLeft: answer.rowsLeft,
      laterRows: answer.laterRows,
      rewritten: true,
      setAside: asides,
      setAsideRemoved: setAside,
    });
  };
}
