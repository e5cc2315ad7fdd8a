/**
 * Goal: while a route begins anew, followers have the rows of before and know through when; then those of the new
 * generation, whole, however often the shard is started again in between. Method: a shard with the engine's fold on real
 * LevelDB, driven by hand, and followers that check every frame (model-replica.ts).
 */
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { userKey } from '@freshet/engine/testing/plans.testing.ts';
import { begin, COUNTS, define, Script, snapshotEnd, V1 } from '@freshet/engine/testing/script.testing.ts';
import { must } from '@freshet/kit/assert.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { append, catchUp, makeRig, removeRigs } from '../testing/following.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { RIG_LIMITS, type ShardRig } from '../testing/shard-rig.ts';

afterEach(removeRigs);

const engineRig = (): Promise<ShardRig> =>
  makeRig({
    createFold: (options) => new ShardFold(options),
    createDigest: createStateDigest,
    versionOf: readVersion,
    limits: { frame: { ...RIG_LIMITS.frame, pageRows: 1 } },
  });

/** What the script says, from one record on. */
const since = (script: Script, from: number): Uint8Array[] => script.entries.slice(from).map(({ record }) => record);

async function follow(rig: ShardRig, replica: ModelReplica): Promise<void> {
  const subscription = rig.subscribe(replica);
  await catchUp(rig, subscription, replica, 1);
  await subscription.close();
}

describe('followers of a view whose route begins anew', () => {
  it.each([false, true])(
    'R1, R3: have the old rows, then the new ones (the shard is restarted: %s)',
    async (restarts) => {
      const rig = await engineRig();
      const again = async (): Promise<void> => {
        if (!restarts) return;
        await rig.commit();
        await rig.crash();
        await rig.open();
        await rig.settled();
      };
      const script = new Script().add(define(1, COUNTS)).add(begin(1, 1)).add(snapshotEnd(1, 1));
      script.change({ sequence: 1, user: 1 }).change({ sequence: 2, user: 2 });
      await append(rig, since(script, 0));
      const replica = new ModelReplica();
      await follow(rig, replica);
      const before = replica.present(V1);
      expect([before.size, replica.generations.get(V1), replica.standing.size]).toEqual([2, 1, 0]);

      await append(rig, since(script.add(begin(1, 2)).change({ sequence: 1, generation: 2, user: 3 }), 5));
      const begunUs = must(rig.shard.fold.standing(V1)).logTimeUs;
      await again();
      const late = new ModelReplica();
      for (const each of [replica, late]) {
        await follow(rig, each);
        expect([each.present(V1), each.generations.get(V1), each.building]).toEqual([before, 1, []]);
        expect(each.standing).toEqual(new Map([[V1, begunUs]]));
      }
      await again();
      await append(rig, since(script.add(snapshotEnd(1, 2)).change({ sequence: 9, generation: 2, user: 2 }), 7));
      await again();
      for (const each of [replica, late]) {
        await follow(rig, each);
        expect([...each.present(V1).keys()]).toEqual([userKey(2), userKey(3)]);
        expect([each.generations.get(V1), each.standing.size]).toEqual([2, 0]);
      }
      // The old states are gone from the store.
      await rig.commit();
      expect(rig.shard.committed?.instances.map(({ instance }) => instance)).toEqual([rig.shard.fold.instanceOf(V1)]);
    },
  );
});
