/** Names a plan, so that apply can tell whether it is still the one that was looked at. */
import { createHash } from 'node:crypto';
import { clone, toBinary } from '@bufbuild/protobuf';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';

/**
 * A hash over what would be in force (contracts and route numbers are part of it) and the generation that it was
 * planned against. 16 bytes.
 */
export function planHash(resolved: DefinitionSet, generation: bigint): Uint8Array {
  const set = clone(DefinitionSetSchema, resolved);
  set.generation = generation;
  const hash = createHash('sha256').update('freshet plan 1\n').update(toBinary(DefinitionSetSchema, set));
  return Uint8Array.from(hash.digest().subarray(0, 16));
}
