/**
 * Checks that the frames of a stream come once each and in order: R1 rests on it, and a frame that does not move the
 * cursor would not be missed otherwise. gRPC delivers so; what stands between two nodes need not.
 */
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** The frames. Throws UNAVAILABLE at one that is not the next: subscribe anew. */
export async function* inSequence(
  frames: AsyncIterable<SubscribeChangesResponse>,
): AsyncGenerator<SubscribeChangesResponse> {
  let next = 0n;
  for await (const frame of frames) {
    if (frame.sequence !== next) {
      throw new FreshetError('UNAVAILABLE', `frame ${frame.sequence} of the stream came, not ${next}`);
    }
    next += 1n;
    yield frame;
  }
}
