/**
 * Goal: each way in which a subscriber can come to a shard gets the frames that compute.proto promises, and no more.
 * Method: a shard on a log in memory and a real store, one case per test, a frame at a time. The clock only moves when
 * a test moves it: what comes without that needed no timer.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { changeRecord, definitionsRecord, tickRecord, viewId } from '../testing/counting-fold.ts';
import { append, catchUp, insert, inserts, key, makeRig, removeRigs, rigWithView } from '../testing/following.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { type ShardRig, type Subscription, wholeViews } from '../testing/shard-rig.ts';

const V0 = viewId(0);
const V1 = viewId(1);

afterEach(removeRigs);

async function following(
  rig: ShardRig,
  views = 1,
  coalesceUs = 0,
): Promise<{ replica: ModelReplica; subscription: Subscription }> {
  const replica = new ModelReplica();
  const subscription = rig.subscribe(replica, [], coalesceUs);
  await catchUp(rig, subscription, replica, views);
  return { replica, subscription };
}

describe('a subscriber with nothing', () => {
  it('R1: gets a pass, its cursor standing still, then a frame with the cursor', async () => {
    const rig = await rigWithView();
    await append(rig, inserts(1_200));
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica);
    await catchUp(rig, subscription, replica, 1);
    expect(replica.pages).toBeGreaterThan(1);
    expect(replica.present(V0).size).toBe(1_200);
    expect(replica.generation).toBe(1);
    await subscription.close();
  });

  it('is told at once of a shard that has no views', async () => {
    const rig = await makeRig();
    await append(rig, [insert(1), insert(2)]);
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica);
    expect(await catchUp(rig, subscription, replica, 0)).toBe(1);
    await subscription.close();
  });

  it('R1: gets what changes during the pass as well', async () => {
    const rig = await rigWithView();
    await append(rig, inserts(1_200));
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica);
    while (replica.pages === 0) {
      const frame = await subscription.pull();
      if (frame !== undefined) replica.apply(frame);
    }
    await append(rig, [insert(3), insert(1_199), insert(5_000), changeRecord(0, key(7), Operation.DELETE)]);
    await catchUp(rig, subscription, replica, 1);
    expect(replica.present(V0).size).toBe(1_200);
    expect(replica.present(V0).has(int64KeyString(7))).toBe(false);
    expect(must(replica.present(V0).get(int64KeyString(3))).row).toMatch(/^2@/);
    await subscription.close();
  });
});

describe('a subscriber that follows', () => {
  it('gets a change without any timer, one frame for what was folded together', async () => {
    const rig = await rigWithView();
    const { replica, subscription } = await following(rig);
    await rig.log.append(0, [insert(1), insert(2), insert(1)]);
    const frame = await subscription.next();
    expect(frame.rows[0]?.rows.map((row) => Number(row.version))).toEqual([3, 2]);
    expect(Number(frame.cursor?.position)).toBe(4);
    replica.apply(frame);
    expect(await subscription.pull()).toBeUndefined();
    await subscription.close();
  });

  it('hears of log time alone by a tick, and not of every record that changes nothing', async () => {
    const rig = await rigWithView();
    const { replica, subscription } = await following(rig);
    await append(rig, [insert(1, 9)]);
    expect(await subscription.pull()).toBeUndefined();
    await rig.clock.advance(1_000_000);
    await append(rig, [tickRecord()]);
    const frame = await subscription.next();
    replica.apply(frame);
    expect(frame.rows).toEqual([]);
    expect(Number(frame.completeThroughUs)).toBe(rig.clock.nowUs());
    await subscription.close();
  });

  it('R4: that is slow gets the newest rows once, not the history', async () => {
    const rig = await rigWithView();
    const { replica, subscription } = await following(rig);
    for (let i = 0; i < 50; i++) await append(rig, [insert(1), insert(2), insert(i + 10)]);
    const frame = await subscription.next();
    replica.apply(frame);
    expect(Number(replica.cursor?.position)).toBe(rig.shard.position);
    expect(frame.rows[0]?.rows).toHaveLength(52);
    expect(must(replica.present(V0).get(int64KeyString(1))).row).toMatch(/^50@/);
    await subscription.close();
  });

  it('R1: has every key at its position, though more changes while a round of frames is sent', async () => {
    const rig = await rigWithView({ limits: { frame: { bytes: 1, pageRows: 10, keys: 1 } } });
    const { replica, subscription } = await following(rig);
    await rig.log.append(0, [insert(1), insert(2), insert(3)]);
    await rig.settled();
    replica.apply(await subscription.next());
    expect(Number(replica.cursor?.position)).toBe(1);
    await append(rig, [insert(2), insert(3), insert(3)]);
    while (Number(replica.cursor?.position) === 1) replica.apply(await subscription.next());
    expect(Number(replica.cursor?.position)).toBe(4);
    expect([...replica.present(V0).values()].map(({ version }) => version)).toEqual([1, 4, 6]);
    await subscription.close();
  });

  it('waits as long as it asked to between two frames', async () => {
    const rig = await rigWithView();
    const { replica, subscription } = await following(rig, 1, 20_000);
    await rig.clock.advance(20_000);
    await append(rig, [insert(1)]);
    replica.apply(await subscription.next());
    await append(rig, [insert(2)]);
    await append(rig, [insert(3)]);
    expect(await subscription.pull()).toBeUndefined();
    await rig.clock.advance(20_000);
    const frame = await subscription.next();
    expect(frame.rows[0]?.rows).toHaveLength(2);
    await subscription.close();
  });

  it('gets a new view beside the changes of the others, and hears when one is dropped', async () => {
    const rig = await rigWithView();
    await append(rig, [insert(1), insert(1, 1)]);
    const { replica, subscription } = await following(rig);
    await rig.log.append(0, [
      definitionsRecord(2, [
        { n: 0, route: 0 },
        { n: 1, route: 1 },
      ]),
    ]);
    await rig.settled();
    await catchUp(rig, subscription, replica, 2);
    expect(replica.present(V1).size).toBe(1);
    expect(replica.generation).toBe(2);
    await append(rig, [definitionsRecord(3, [{ n: 1, route: 1 }])]);
    await catchUp(rig, subscription, replica, 1);
    expect(wholeViews(replica)).toEqual([V1]);
    expect(replica.rows.has(V0)).toBe(false);
    await subscription.close();
  });

  it('gets only the views that it asked for', async () => {
    const rig = await makeRig();
    await append(rig, [
      definitionsRecord(1, [
        { n: 0, route: 0 },
        { n: 1, route: 0 },
      ]),
      insert(1),
    ]);
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica, [V1]);
    await catchUp(rig, subscription, replica, 1);
    await append(rig, [insert(2)]);
    await catchUp(rig, subscription, replica, 1);
    expect([...replica.rows.keys()]).toEqual([V1]);
    expect(replica.present(V1).size).toBe(2);
    await subscription.close();
  });

  it('ends with an error when the shard stops', async () => {
    const rig = await rigWithView();
    const { subscription } = await following(rig);
    const next = subscription.pull(1_000);
    rig.shard.fail(new Error('gone'));
    await expect(subscription.pull()).resolves.toBeUndefined();
    await expect(next).resolves.toBeUndefined();
    await expect(subscription.next()).rejects.toThrow('gone');
  });
});

describe('a subscriber that comes back', () => {
  it('R1: goes on from its cursor by changes alone', async () => {
    const rig = await rigWithView();
    await append(rig, inserts(100));
    const { replica, subscription } = await following(rig);
    await subscription.close();
    const { pages } = replica;
    await append(rig, [insert(5), insert(200)]);
    await rig.commit();
    await append(rig, [insert(6)]);
    const again = rig.subscribe(replica);
    let rows = 0;
    while (Number(replica.cursor?.position) < rig.shard.position) {
      const frame = await again.next();
      for (const view of frame.rows) rows += view.rows.length;
      replica.apply(frame);
    }
    expect(replica.pages).toBe(pages);
    expect(rows).toBe(3);
    await again.close();
  });

  it('R1: after a crash of the shard waits until it has folded as far, then goes on', async () => {
    const rig = await rigWithView();
    await rig.commit();
    await append(rig, [insert(1)]);
    const { replica, subscription } = await following(rig);
    await append(rig, [insert(2)]);
    await catchUp(rig, subscription, replica, 1);
    await subscription.close();
    const { pages } = replica;
    await rig.crash();
    await rig.open();
    expect(rig.shard.position).toBeLessThan(Number(replica.cursor?.position));
    const again = rig.subscribe(replica);
    await append(rig, [insert(3)]);
    await catchUp(rig, again, replica, 1);
    expect(replica.pages).toBe(pages);
    expect(replica.present(V0).size).toBe(3);
    await again.close();
  });

  it('R1: too late for the journal gets a pass, and what went meanwhile goes', async () => {
    const rig = await rigWithView({ limits: { tailBytes: 0, journal: { ageUs: 0, bytes: 0 } } });
    await append(rig, [insert(1), insert(2)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();
    const { pages } = replica;
    await append(rig, [changeRecord(0, key(1), Operation.DELETE), insert(3)]);
    for (let i = 0; i < 3; i++) {
      await append(rig, [insert(50 + i)]);
      await rig.commit();
    }
    const again = rig.subscribe(replica);
    await catchUp(rig, again, replica, 1);
    expect(replica.pages).toBeGreaterThan(pages);
    expect([...replica.present(V0).keys()].sort()).toEqual([2, 3, 50, 51, 52].map((n) => int64KeyString(n)));
    await again.close();
  });

  it('R3: to another log starts over', async () => {
    const rig = await rigWithView();
    await append(rig, [insert(1)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();

    const log = createMemoryLog({ partitions: 1, clock: rig.clock, logId: 'ab'.repeat(16) });
    const other = await rigWithView({ log });
    await append(other, [insert(7), insert(8), insert(9)]);
    const again = other.subscribe(replica);
    const first = await again.next();
    expect(first.after).toBe(0n);
    expect(first.cursor?.position).toBe(0n);
    replica.apply(first);
    await catchUp(other, again, replica, 1);
    expect([...replica.present(V0).keys()]).toEqual([7, 8, 9].map((n) => int64KeyString(n)));
    await again.close();
  });

  it('R3: to another history under the same id starts over, which the record before its cursor tells', async () => {
    const rig = await rigWithView();
    await append(rig, [insert(1), insert(2)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();

    const other = await rigWithView();
    await append(other, [insert(1), insert(3), insert(4)]);
    const again = other.subscribe(replica);
    expect((await again.next()).after).toBe(0n);
    await again.close();
  });

  it('R3: with rows beyond its cursor starts over where the log has another record than theirs', async () => {
    const rig = await rigWithView({ limits: { frame: { bytes: 1, pageRows: 10, keys: 1 } } });
    const { replica, subscription } = await following(rig);
    await rig.log.append(0, [insert(1), insert(2), insert(3)]);
    await rig.settled();
    const frame = await subscription.next();
    replica.apply(frame);
    await subscription.close();
    expect(frame.rows).not.toEqual([]);
    expect(replica.cursor).toMatchObject({ position: 1n, aheadPosition: 4n });

    const again = rig.subscribe(replica);
    expect((await again.next()).after).toBe(1n);
    await again.close();
    const other = await rigWithView();
    await append(other, [insert(1), insert(2), insert(4)]);
    const elsewhere = other.subscribe(replica);
    expect((await elsewhere.next()).after).toBe(0n);
    await elsewhere.close();
  });

  it('R3: with more than the log has starts over at once: waiting, it would be taken for one of what comes instead', async () => {
    const rig = await rigWithView();
    await append(rig, [insert(1), insert(2), insert(3)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();
    const cut = await rigWithView();
    await append(cut, [insert(1)]);
    const again = cut.subscribe(replica);
    expect((await again.next()).after).toBe(0n);
    await again.close();
  });

  it('R3: tells of a page without rows, too, how far what it takes away reaches', async () => {
    const rig = await rigWithView({ limits: { tailBytes: 0, journal: { ageUs: 0, bytes: 0 } } });
    await append(rig, [insert(1)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();
    await append(rig, [changeRecord(0, key(1), Operation.DELETE)]);
    for (let i = 0; i < 3; i++) {
      await append(rig, [tickRecord()]);
      await rig.commit();
    }
    const again = rig.subscribe(replica);
    const page = await again.next();
    expect(page).toMatchObject({ rows: [], pass: { last: true } });
    replica.apply(page);
    expect(replica.cursor).toMatchObject({ position: 2n, aheadPosition: BigInt(rig.shard.position) });
    await again.close();
    const other = await rigWithView();
    await append(other, [insert(1)]);
    await append(other, inserts(4));
    const elsewhere = other.subscribe(replica);
    expect((await elsewhere.next()).after).toBe(0n);
    await elsewhere.close();
  });

  it('R3: whose cursor the log has no more is known by the rows beyond it', async () => {
    const rig = await rigWithView({ limits: { frame: { bytes: 1, pageRows: 10, keys: 1 } } });
    const { replica, subscription } = await following(rig);
    await rig.log.append(0, [insert(1), insert(2), insert(3)]);
    await rig.settled();
    replica.apply(await subscription.next());
    await subscription.close();
    expect(replica.cursor).toMatchObject({ position: 1n, aheadPosition: 4n });

    const other = await rigWithView({ limits: { tailBytes: 0, journal: { ageUs: 0, bytes: 0 } } });
    for (const record of [insert(1), insert(2), insert(4), insert(5)]) {
      await append(other, [record]);
      await other.commit();
    }
    await other.log.trim(0, 2);
    const elsewhere = other.subscribe(replica);
    expect((await elsewhere.next()).after).toBe(0n);
    await elsewhere.close();
    // Where it has neither, there is nothing to tell by, and no reason to begin anew.
    for (let i = 0; i < 3; i++) {
      await append(other, [insert(6)]);
      await other.commit();
    }
    await other.log.trim(0, 6);
    const later = other.subscribe(replica);
    expect((await later.next()).after).toBe(1n);
    await later.close();
  });

  it('R4: waits for a shard that folds again without asking a log that is known to go far enough', async () => {
    const rig = await rigWithView();
    await append(rig, [insert(1), insert(2), insert(3)]);
    const { replica, subscription } = await following(rig);
    await subscription.close();
    const end = rig.shard.position;
    const other = await makeRig();
    const { log } = other;
    await other.crash();
    const read = log.read.bind(log);
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    log.read = async function* (...from) {
      await held;
      yield* read(...from);
    };
    await log.append(0, [definitionsRecord(1, [{ n: 0, route: 0 }])]);
    await log.append(0, [insert(1), insert(2), insert(3)]);
    const shard = await other.open();
    while (shard.logEnd < end) await turn();
    const ask = vi.spyOn(log, 'describe');
    const again = other.subscribe(replica);
    expect(await again.pull()).toBeUndefined();
    expect(shard.position).toBe(0);
    expect(ask).not.toHaveBeenCalled();
    release();
    expect((await again.next()).after).toBe(BigInt(end));
    await again.close();
  });
});
