/** What tests of followers share: rigs that are removed after each test, records, and catching up frame by frame. */
import { assert } from '@freshet/kit/assert.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { changeRecord, definitionsRecord } from './counting-fold.ts';
import type { ModelReplica } from './model-replica.ts';
import { type RigOptions, ShardRig, type Subscription, wholeViews } from './shard-rig.ts';

export const key = (n: number): Uint8Array => keyBytes(int64KeyString(n));
export const insert = (n: number, route = 0): Uint8Array => changeRecord(route, key(n));
/** An insert of each key from 0 to count - 1. */
export const inserts = (count: number): Uint8Array[] => Array.from({ length: count }, (_, n) => insert(n));

const rigs: ShardRig[] = [];

/** For afterEach. */
export async function removeRigs(): Promise<void> {
  for (const rig of rigs.splice(0)) await rig.remove();
}

export async function makeRig(options: RigOptions = {}): Promise<ShardRig> {
  const rig = await ShardRig.make(options);
  rigs.push(rig);
  await rig.open();
  return rig;
}

/** A rig with view 0 of route 0 in force and complete. */
export async function rigWithView(options: RigOptions = {}): Promise<ShardRig> {
  const rig = await makeRig(options);
  await append(rig, [definitionsRecord(1, [{ n: 0, route: 0 }])]);
  return rig;
}

export async function append(rig: ShardRig, records: readonly Uint8Array[]): Promise<void> {
  await rig.log.append(0, records);
  await rig.settled();
}

/** Pulls until the replica is at the shard's position with so many views; real I/O may be on the way. */
export async function catchUp(
  rig: ShardRig,
  subscription: Subscription,
  replica: ModelReplica,
  views: number,
): Promise<number> {
  for (let frames = 0, tries = 0; ; tries++) {
    if (Number(replica.cursor?.position) === rig.shard.position && wholeViews(replica).length === views) return frames;
    assert(tries < 20_000, 'the replica catches up');
    const frame = await subscription.pull();
    if (frame === undefined) continue;
    replica.apply(frame);
    frames += 1;
  }
}
