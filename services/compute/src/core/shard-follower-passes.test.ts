/**
 * Goal: passes hold their promises to subscribers that take hours for them, and frames their size.
 * Method: as shard-follower.test.ts; hours are the clock's, which only a test moves.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { CountingFold, changeRecord, definitionsRecord, viewId } from '../testing/counting-fold.ts';
import { append, catchUp, insert, inserts, key, removeRigs, rigWithView } from '../testing/following.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { type ShardRig, type Subscription, wholeViews } from '../testing/shard-rig.ts';
import type { EncodedRow } from './fold-port.ts';
import type { JournalIndex } from './journal-index.ts';
import { PassPace } from './pass-pace.ts';

const V0 = viewId(0);

afterEach(removeRigs);

describe('a pass of a slow subscriber', () => {
  const KEYS = 40;
  const small = { bytes: 1 << 20, pageRows: 4, keys: 1_000 };

  /** Begins a pass and takes its first page. */
  async function beginPass(rig: ShardRig): Promise<{ replica: ModelReplica; subscription: Subscription }> {
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica);
    while (replica.pages === 0) replica.apply(await subscription.next());
    return { replica, subscription };
  }

  /** An hour goes by: every key changes, and the journal forgets all that it may. */
  async function anHour(rig: ShardRig): Promise<void> {
    for (let i = 0; i < 4; i++) {
      await rig.clock.advance(900_000_000);
      await append(rig, inserts(KEYS));
      await rig.commit();
    }
  }

  const journalOf = (rig: ShardRig): JournalIndex => rig.shard.options.storage.journal;

  async function filled(journal: { ageUs: number; bytes: number }): Promise<ShardRig> {
    const rig = await rigWithView({ limits: { tailBytes: 0, journal, frame: small } });
    await append(rig, inserts(KEYS));
    await rig.commit();
    return rig;
  }

  it('R1, R4: pins the journal, so that a pass of ten hours ends at what is now', async () => {
    const rig = await filled({ ageUs: 1_000_000, bytes: 1 << 20 });
    const { replica, subscription } = await beginPass(rig);
    while (replica.pages < 10) {
      await anHour(rig);
      replica.apply(await subscription.next());
    }
    await catchUp(rig, subscription, replica, 1);
    expect(replica.passes).toBe(1);
    expect(replica.present(V0).size).toBe(KEYS);
    await subscription.close();
    // With the pass over, nothing is kept for it.
    await append(rig, [insert(1)]);
    await rig.commit();
    expect(journalOf(rig).slots.length).toBeLessThan(3);
  });

  it('R4: pins no more than twice the journal, whoever has stopped reading', async () => {
    const bytes = 1_000;
    const rig = await filled({ ageUs: 1_000_000, bytes });
    const { subscription } = await beginPass(rig);
    for (let i = 0; i < 10; i++) await anHour(rig);
    const journal = journalOf(rig);
    // One entry may stick out on either side.
    const entry = must(journal.newest).bytes;
    expect(journal.bytes).toBeLessThan(2 * bytes + 2 * entry);
    expect(journal.bytes).toBeGreaterThan(bytes);
    await subscription.close();
  });

  it('R1: that outlives even the pinned journal ends where its changes stopped, and never begins again', async () => {
    const rig = await filled({ ageUs: 0, bytes: 0 });
    const { replica, subscription } = await beginPass(rig);
    const begun = rig.shard.position;
    while (Number(replica.cursor?.position) === 0) {
      await anHour(rig);
      replica.apply(await subscription.next());
    }
    // Complete through its beginning or a little later, at the rows of then or later ones.
    expect(replica.passes).toBe(1);
    expect(Number(replica.cursor?.position)).toBeGreaterThanOrEqual(begun);
    expect(Number(replica.cursor?.position)).toBeLessThan(rig.shard.position);
    expect(wholeViews(replica)).toEqual([V0]);
    expect(replica.present(V0).size).toBe(KEYS);
    // And so on with every further pass: completeness moves, though no pass ever sees the end of the changes.
    const first = Number(replica.cursor?.position);
    while (Number(replica.cursor?.position) === first) {
      await anHour(rig);
      replica.apply(await subscription.next());
    }
    expect(replica.passes).toBe(2);
    // When it is quiet again, it comes to the end.
    await catchUp(rig, subscription, replica, 1);
    for (const [of, { version }] of replica.present(V0)) expect(version).toBe(rig.shard.version(V0, of));
    await subscription.close();
  });

  it('R3: sends nothing of a view that is dropped and comes back while a page is read', async () => {
    const rig = await filled({ ageUs: 3_600_000_000, bytes: 1 << 20 });
    const { replica, subscription } = await beginPass(rig);
    const { storage } = rig.shard.options;
    const read = storage.page.bind(storage);
    let asked = false;
    let release = (): void => undefined;
    storage.page = async (...page) => {
      const result = await read(...page);
      asked = true;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return result;
    };
    const pending = subscription.next();
    while (!asked) await turn();
    await append(rig, [definitionsRecord(2, []), definitionsRecord(3, [{ n: 0, route: 0 }])]);
    storage.page = read;
    release();
    const frame = await pending;
    expect(frame.pass?.afterKey ?? key(0), 'no page of the view that was').not.toEqual(key(3));
    replica.apply(frame);
    await catchUp(rig, subscription, replica, 1);
    expect(replica.passes).toBe(2);
    expect(replica.present(V0).size).toBe(KEYS);
    await subscription.close();
  });
});

it('R4: a pass of a new view rests between changes of those that the subscriber has', async () => {
  const passPace = new PassPace();
  const rig = await rigWithView({ passPace });
  await append(rig, inserts(40));
  const replica = new ModelReplica();
  const subscription = rig.subscribe(replica);
  await catchUp(rig, subscription, replica, 1);
  const { clock } = rig;
  const nowUs = clock.monotonicUs();
  passPace.worked(nowUs - 10_000, nowUs);
  await append(rig, [
    definitionsRecord(2, [
      { n: 0, route: 0 },
      { n: 1, route: 0 },
    ]),
  ]);
  await rig.commit();
  for (let i = 0; i < 10; i++) {
    await append(rig, [insert(i)]);
    const frame = await subscription.next();
    expect(frame.pass).toBeUndefined();
    replica.apply(frame);
  }
  expect(replica.present(V0).get(int64KeyString(9n))?.version).toBe(rig.shard.version(V0, int64KeyString(9n)));
  await rig.clock.advance(Math.ceil(passPace.freeAtUs) - clock.monotonicUs());
  await catchUp(rig, subscription, replica, 2);
  expect(replica.passes).toBe(2);
  expect(replica.present(viewId(1)).size).toBe(40);
  await subscription.close();
});

it('R4: a pass that rests begins when it may, also while nothing else happens', async () => {
  const passPace = new PassPace();
  const rig = await rigWithView({ passPace });
  await append(rig, inserts(40));
  const replica = new ModelReplica();
  const subscription = rig.subscribe(replica);
  await catchUp(rig, subscription, replica, 1);
  const nowUs = rig.clock.monotonicUs();
  passPace.worked(nowUs - 10_000, nowUs);
  await append(rig, [
    definitionsRecord(2, [
      { n: 0, route: 0 },
      { n: 1, route: 0 },
    ]),
  ]);
  await rig.commit();
  for (let frame = await subscription.pull(); frame !== undefined; frame = await subscription.pull()) {
    expect(frame.pass).toBeUndefined();
    replica.apply(frame);
  }
  await rig.clock.advance(Math.ceil(passPace.freeAtUs) - rig.clock.monotonicUs());
  const frame = await subscription.pull(10_000);
  expect(frame?.pass?.last).toBe(true);
  await subscription.close();
});

describe('frames', () => {
  const ROW_BYTES = 3_000;
  const LIMIT_BYTES = 10_000;

  /** Its rows are a hundred times their states. */
  class LargeRows extends CountingFold {
    override row(view: string, of: string): EncodedRow | undefined {
      return large(super.row(view, of));
    }

    override rowFromState(view: string, of: string, state: Uint8Array): EncodedRow | undefined {
      return large(super.rowFromState(view, of, state));
    }
  }

  function large(row: EncodedRow | undefined): EncodedRow | undefined {
    return row === undefined ? undefined : { version: row.version, bytes: new Uint8Array(ROW_BYTES).fill(65) };
  }

  it('R4: hold their bytes and at most one row more, in passes and in changes, whatever the size of rows', async () => {
    const frame = { bytes: LIMIT_BYTES, pageRows: 500, keys: 5_000 };
    const rig = await rigWithView({ limits: { frame }, createFold: (options) => new LargeRows(options) });
    const all = inserts(60);
    await append(rig, all);
    const replica = new ModelReplica();
    const subscription = rig.subscribe(replica);
    let pages = 0;
    let changes = 0;
    for (const round of [1, 2]) {
      while (Number(replica.cursor?.position) < rig.shard.position || wholeViews(replica).length === 0) {
        const next = await subscription.next();
        const rows = next.rows.flatMap((view) => view.rows);
        const bytes = rows.reduce((sum, row) => sum + row.row.length, 0);
        expect(bytes).toBeLessThanOrEqual(LIMIT_BYTES + ROW_BYTES);
        if (next.pass !== undefined) pages += 1;
        else if (rows.length > 0) changes += 1;
        replica.apply(next);
      }
      if (round === 1) await append(rig, all);
    }
    expect(replica.present(V0).size).toBe(60);
    expect(pages).toBeGreaterThan(10);
    expect(changes).toBeGreaterThan(10);
    await subscription.close();
  });

  it('R1: of a pass are made once for followers in step, and never of an older commit than theirs', async () => {
    const rig = await rigWithView({ limits: { frame: { bytes: 1 << 20, pageRows: 10, keys: 5_000 } } });
    await append(rig, inserts(40));
    await rig.commit();
    const { storage } = rig.shard.options;
    const read = storage.page.bind(storage);
    let reads = 0;
    storage.page = (...page) => {
      reads += 1;
      return read(...page);
    };
    const replicas = Array.from({ length: 10 }, () => new ModelReplica());
    const subscriptions = replicas.map((replica) => rig.subscribe(replica));
    const isWhole = (replica: ModelReplica): boolean => wholeViews(replica).length === 1;
    while (!replicas.every(isWhole)) {
      for (const [i, replica] of replicas.entries())
        if (!isWhole(replica)) replica.apply(await must(subscriptions[i]).next());
    }
    const alone = must(replicas[0]).pages;
    // The very first may be read twice: who came first did not know that others would follow.
    expect(reads).toBeLessThanOrEqual(alone + 1);
    // What changes and is committed after that is in the pages of who comes later.
    await append(rig, [insert(3), changeRecord(0, key(4), Operation.DELETE)]);
    await rig.commit();
    const late = new ModelReplica();
    const subscription = rig.subscribe(late);
    await catchUp(rig, subscription, late, 1);
    expect(late.present(V0).size).toBe(39);
    expect(must(late.present(V0).get(int64KeyString(3))).row).toMatch(/^2@/);
    for (const each of [...subscriptions, subscription]) await each.close();
  });
});
