/**
 * The digest of a shard's state: SHA-256 over the position, the definitions, the routes' marks, and every key state of
 * the views that are complete, by instance and key; but for states in which nothing is, which may be dropped at any time.
 *
 * Invariant F1: it is the same for the same prefix of the log, whatever the batches, commits, evictions and machines;
 * except that a view enters it when its build is complete, which depends on how fast the build was.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type FoldMeta, FoldMetaSchema, RouteStateSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { keyBytes } from '@freshet/values/key.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import type { ColdState } from '../shard-fold.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { encodeState, isClearState } from '../state/state-codec.ts';
import { instanceName } from './instance-name.ts';
import { mergedKeys } from './merged-keys.ts';
import type { ViewInstance } from './view-instance.ts';

export interface StateDigest {
  /** States by (instance, key) ascending; those of instances that are not complete in the meta are passed over. */
  add(instance: string, key: string, state: Uint8Array): void;
  /** The 32 bytes. */
  finish(): Uint8Array;
}

/** A digest of the states that belong to the meta of one commit. */
export function createStateDigest(meta: Uint8Array): StateDigest {
  return digestOf(fromBinary(FoldMetaSchema, meta));
}

/** The digest of a fold as it is in memory and in its cold store. */
export function digestInstances(meta: FoldMeta, instances: readonly ViewInstance[], cold: ColdState): Uint8Array {
  const digest = digestOf(meta);
  const writer = new ByteWriter();
  const complete = instances.filter(({ completeAt }) => completeAt !== undefined);
  for (const instance of complete.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const key of mergedKeys(instance, cold)) {
      const state = must(instance.cache.peek(key), 'a key has no state');
      digest.add(instance.name, key, encodeState(writer, instance.view, state));
    }
  }
  return digest.finish();
}

function digestOf(meta: FoldMeta): StateDigest {
  const sha = sha256.create();
  const length = new DataView(new ArrayBuffer(8));
  const part = (bytes: Uint8Array): void => {
    length.setBigUint64(0, BigInt(bytes.length));
    sha.update(new Uint8Array(length.buffer));
    sha.update(bytes);
  };
  const numbers = new DataView(new ArrayBuffer(24));
  numbers.setBigUint64(0, meta.position);
  numbers.setBigInt64(8, meta.logTimeUs);
  numbers.setUint32(16, meta.recordCrc);
  part(new Uint8Array(numbers.buffer));
  part(meta.definitions);
  for (const route of meta.routes) part(toBinary(RouteStateSchema, route));
  const complete = new Set<string>();
  for (const view of meta.views) {
    if (view.completeAt === undefined) continue;
    const name = instanceName(view.viewId, view.instance);
    complete.add(name);
    part(keyBytes(name));
  }
  let before: string | undefined;
  return {
    add(instance, key, state) {
      const place = `${instance}${key}`;
      assert(before === undefined || before < place, 'F1: states are digested out of order');
      before = place;
      // A state in which nothing is may be there or not: it may be dropped at any time.
      if (!complete.has(instance) || isClearState(state)) return;
      part(keyBytes(instance));
      part(keyBytes(key));
      part(state);
    },
    finish: () => sha.digest(),
  };
}
