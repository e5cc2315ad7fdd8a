/** A checkpoint as the wire tells it. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CheckpointSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import type { CheckpointInfo } from '../core/checkpoint.ts';

export function checkpointMessage(info: CheckpointInfo): MessageInitShape<typeof CheckpointSchema> {
  return {
    shard: info.shard,
    logId: fromHex(info.logId),
    position: BigInt(info.position),
    logTimeUs: BigInt(info.logTimeUs),
    takenAtUs: BigInt(info.takenAtUs),
    bytes: BigInt(info.bytes),
    states: BigInt(info.states),
    stateDigest: fromHex(info.stateDigest),
    file: info.file,
  };
}
