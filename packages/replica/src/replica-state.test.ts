/**
 * Goal: what is served changes only when what replaces it is whole, in all shards, at once.
 * Method: two shards driven frame by frame through a new log, new definitions, and views that go and come back.
 */
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { describe, expect, it } from 'vitest';
import { countView, definitions, keysOf, ModelShard, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { rowKeyOfText } from './row-key.ts';
import { NOT_READABLE_US } from './view-table.ts';

const SHARDS = 2;

function feed(state: ReplicaState, frames: Iterable<SubscribeChangesResponse>): void {
  for (const frame of frames) {
    const applied = state.apply(frame);
    expect(applied).toMatchObject({ outcome: 'applied' });
    if (applied.outcome === 'applied' && applied.rest !== undefined) Array.from(applied.rest);
  }
}

/** Upstream's shards on a log, each with a few rows of each view. */
function upstream(log: number, views: readonly number[], rows = 3): ModelShard[] {
  return Array.from({ length: SHARDS }, (_, shard) => {
    const model = new ModelShard(shard, log, views);
    for (const view of views)
      for (const key of keysOf(shard, SHARDS, rows)) model.records.push({ view, key, drops: false });
    return model;
  });
}

function bootstrap(state: ReplicaState, model: ModelShard): void {
  feed(state, model.pass(model.cursor(0), model.end, 2));
}

/** A state that serves the views from log 9. */
function serving(views: readonly number[]): { state: ReplicaState; models: ModelShard[] } {
  const state = new ReplicaState();
  state.learnShardCount(SHARDS);
  state.define(
    definitions(
      1,
      views.map((v) => countView(v)),
    ),
  );
  const models = upstream(9, views);
  for (const model of models) bootstrap(state, model);
  return { state, models };
}

/** The logs that served rows come from. */
function servedLogs(state: ReplicaState): Set<string> {
  return new Set([...state.shards.values()].map(({ served }) => served.logId));
}

describe('what is served', () => {
  it('R3: a view is served once it is whole in every shard, not before', () => {
    const state = new ReplicaState();
    state.learnShardCount(SHARDS);
    state.define(definitions(1, [countView(1)]));
    const [first, second] = upstream(9, [1]) as [ModelShard, ModelShard];
    bootstrap(state, first);
    expect(state.catalog.services.has('all')).toBe(false);
    expect(state.catalog.pending).toContain('service all');
    const frames = [...second.pass(second.cursor(0), second.end, 1)];
    feed(state, frames.slice(0, -1));
    expect(state.catalog.services.has('all')).toBe(false);
    feed(state, frames.slice(-1));
    expect(state.catalog.services.has('all')).toBe(true);
    expect(state.catalog.generation).toBe(1n);
  });

  it('R3: nothing is served while the number of shards is unknown', () => {
    const state = new ReplicaState();
    state.define(definitions(1, [countView(1)]));
    for (const model of upstream(9, [1])) bootstrap(state, model);
    expect(state.catalog.services.size).toBe(0);
    state.learnShardCount(SHARDS);
    expect(state.catalog.services.size).toBe(1);
  });

  it('R3: rows of another log are built beside, and take over in all shards at once', () => {
    const { state } = serving([1]);
    const old = [...state.shards.values()].map(({ served }) => served);
    const [first, second] = upstream(8, [1], 5) as [ModelShard, ModelShard];
    bootstrap(state, first);
    expect(servedLogs(state)).toEqual(new Set([viewId(9)]));
    // The first shard goes on by the new log's cursor, live, while the second is not whole.
    expect(Number(state.cursor(0).position)).toBe(first.end);
    first.records.push({ view: 1, key: keysOf(0, SHARDS, 1)[0]!, drops: false });
    feed(state, first.live(first.end - 1, first.end));
    const frames = [...second.pass(second.cursor(0), second.end, 2)];
    feed(state, frames.slice(0, -1));
    expect([...state.shards.values()].map(({ served }) => served)).toEqual(old);
    expect(state.catalog.services.has('all')).toBe(true);
    feed(state, frames.slice(-1));
    expect(servedLogs(state)).toEqual(new Set([viewId(8)]));
    expect(state.catalog.services.has('all')).toBe(true);
    expect(state.discardedCopies.map(({ copy }) => copy)).toEqual(old.map(({ copy }) => copy));
    expect(state.rowCount).toBe(10);
  });

  it('R3: a log that would lose a served service does not take over', () => {
    const { state } = serving([1, 2]);
    for (const model of upstream(8, [1])) bootstrap(state, model);
    expect(servedLogs(state)).toEqual(new Set([viewId(9)]));
    expect(state.catalog.services.get('all')?.outputs).toHaveLength(2);
  });

  it('R3: a stream that ends in a bootstrap of another log leaves nothing of it behind', () => {
    const { state } = serving([1]);
    const [first] = upstream(8, [1], 5) as [ModelShard];
    feed(state, [...first.pass(first.cursor(0), first.end, 2)].slice(0, 2));
    expect(state.shards.get(0)?.incoming).toBeDefined();
    state.disconnected([0]);
    expect(state.shards.get(0)?.incoming).toBeUndefined();
    expect(Number(state.cursor(0).position)).toBeGreaterThan(0);
  });

  it('R3: another history of the same log replaces its shard alone', () => {
    const { state, models } = serving([1]);
    const other = upstream(9, [1], 1)[0]!;
    bootstrap(state, other);
    expect(state.shards.get(0)?.served.position).toBe(other.end);
    expect(state.shards.get(1)?.served.position).toBe(models[1]!.end);
    expect(state.catalog.services.has('all')).toBe(true);
  });

  it('R3: another history of two shards replaces both at once when each alone would lose the view', () => {
    const state = new ReplicaState();
    state.learnShardCount(3);
    state.define(definitions(1, [countView(1)]));
    const began = (shard: number, rows: number): ModelShard => {
      const model = new ModelShard(shard, 9, [1]);
      for (const key of keysOf(shard, 3, rows)) model.records.push({ view: 1, key, drops: false });
      return model;
    };
    const models = [began(0, 3), began(1, 3), began(2, 3)];
    for (const model of models) bootstrap(state, model);
    // The route begins anew; where the log lost records, it does so in another history.
    const others = [began(0, 1), began(1, 1), models[2]!];
    const [, , last] = others as [ModelShard, ModelShard, ModelShard];
    const at = last.end;
    for (const model of others) {
      model.turn(1, 'begin');
      model.turn(1, 'end');
    }
    feed(state, [last.frame(at, last.cursor(at, []), [])]);
    feed(state, last.pass(last.cursor(at, []), last.end, 5));
    const generations = (): unknown => state.catalog.views.get('view1')?.tables.map(({ generation }) => generation);
    bootstrap(state, others[0]!);
    expect(generations()).toEqual([1, 1, 1]);
    expect(state.catalog.services.has('all')).toBe(true);
    bootstrap(state, others[1]!);
    expect(generations()).toEqual([2, 2, 2]);
    expect([...state.shards.values()].map(({ served, incoming }) => [served.position, incoming])).toEqual(
      others.map(({ end }) => [end, undefined]),
    );
    expect(state.pending).toEqual([]);
  });

  it('R2: a pass of an older commit does not bring back what is gone', () => {
    const { state, models } = serving([1]);
    const [model] = models as [ModelShard];
    const [key] = keysOf(0, SHARDS, 1) as [string];
    const asOf = model.end;
    model.records.push({ view: 1, key, drops: true });
    feed(state, model.live(asOf, model.end));
    const table = state.shards.get(0)!.served.tables.get(viewId(1));
    expect(table?.rows.has(rowKeyOfText(key))).toBe(false);
    // The journal of the node does not reach back to us, and its last commit was before that record.
    const cursor = model.cursor(model.end);
    feed(state, model.passOf(1, model.end, cursor, asOf, 2));
    expect(table?.rows.has(rowKeyOfText(key))).toBe(false);
  });

  it('R3: a frame that comes twice does not make a whole copy of nothing', () => {
    const { state } = serving([1]);
    const [, other] = upstream(8, [1]) as [ModelShard, ModelShard];
    const frames = [...other.pass(other.cursor(0), other.end, 2)];
    feed(state, frames);
    expect(state.apply(frames.at(-1)!)).toMatchObject({ outcome: 'refused' });
    expect(state.shards.get(1)?.incoming?.tables.get(viewId(1))?.rowCount).toBe(3);
    // Nor does a cursor that names a view of which no pass has ended.
    const model = new ModelShard(0, 9, [1, 2]);
    const served = state.shards.get(0)!.served;
    const cursor = model.cursor(served.position + 1, [1, 2]);
    expect(state.apply(model.frame(served.position, cursor, []))).toMatchObject({ outcome: 'refused' });
  });

  it('a frame that continues no copy, or does not fit the number of shards, is refused', () => {
    const { state } = serving([1]);
    const stranger = upstream(7, [1])[0]!;
    expect(state.apply(stranger.frame(2, stranger.cursor(3), []))).toMatchObject({ outcome: 'refused' });
    const beyond = new ModelShard(5, 9, [1]);
    expect(state.apply(beyond.frame(0, beyond.cursor(1), []))).toMatchObject({ outcome: 'refused' });
    const misplaced = new ModelShard(0, 9, [1]);
    const row = { view: 1, key: keysOf(1, SHARDS, 1)[0]!, version: 9 };
    expect(state.apply(misplaced.frame(3, misplaced.cursor(4), [row]))).toMatchObject({ outcome: 'refused' });
  });
});

describe('new definitions', () => {
  it('are served when all views of the service are whole everywhere; until then the old ones are', () => {
    const { state, models } = serving([1]);
    // View 2 is another plan of what was view 1: same name, other id.
    state.define(definitions(2, [countView(2, 'view1')]));
    expect(state.catalog.services.get('all')?.generation).toBe(1n);
    expect(state.catalog.generation).toBe(1n);
    expect(state.catalog.pending).toEqual(new Set(['view view1', 'service all']));
    expect(state.sets).toHaveLength(2);
    for (const [index, model] of models.entries()) {
      const at = model.end;
      // Upstream builds view 2, and drops view 1.
      model.views = [1, 2];
      model.records.push({ view: 2, key: keysOf(index, SHARDS, 1)[0]!, drops: false });
      feed(state, [model.frame(at, model.cursor(model.end, [1]), [])]);
      feed(state, model.passOf(2, model.end, model.cursor(model.end, [1]), model.end, 2));
      expect(state.catalog.services.get('all')?.generation).toBe(1n);
      model.views = [2];
      model.records.push({ view: 2, key: keysOf(index, SHARDS, 1)[0]!, drops: false });
      feed(state, model.live(model.end - 1, model.end));
    }
    expect(state.catalog.services.get('all')?.generation).toBe(2n);
    expect(state.catalog.generation).toBe(2n);
    expect(state.sets).toHaveLength(1);
    // Nobody names view 1 any more.
    expect([...state.shards.values()].flatMap(({ served }) => [...served.tables.keys()])).toEqual([
      viewId(2),
      viewId(2),
    ]);
    expect(state.discardedTables).toHaveLength(2);
  });

  it('that drop a service stop serving it; older or equal generations change nothing', () => {
    const { state } = serving([1]);
    const gone = definitions(2, [countView(1)]);
    gone.services = [];
    state.define(gone);
    expect(state.catalog.services.size).toBe(0);
    state.define(definitions(2, [countView(1)]));
    expect(state.catalog.services.size).toBe(0);
    expect(state.catalog.views.size).toBe(1);
  });

  it('a view that upstream dropped stands still, and says so', () => {
    const { state, models } = serving([1, 2]);
    const [model] = models as [ModelShard];
    const before = state.shards.get(0)?.served.tables.get(viewId(2))?.completeThroughUs;
    const at = model.end;
    model.views = [1];
    model.records.push({ view: 1, key: keysOf(0, SHARDS, 1)[0]!, drops: false });
    feed(state, model.live(at, model.end));
    const { tables, completeThroughUs } = state.shards.get(0)!.served;
    expect(tables.get(viewId(2))?.completeThroughUs).toBe(before);
    expect(tables.get(viewId(1))?.completeThroughUs).toBe(completeThroughUs);
    expect(completeThroughUs).toBeGreaterThan(before ?? 0);
  });

  it('R3: a view that comes back is built beside its old rows', () => {
    const { state, models } = serving([1, 2]);
    const [model] = models as [ModelShard];
    const key = keysOf(0, SHARDS, 1)[0]!;
    const away = model.end;
    model.views = [1];
    model.records.push({ view: 1, key, drops: false });
    feed(state, model.live(away, model.end));
    const old = state.shards.get(0)!.served.tables.get(viewId(2));
    model.views = [1, 2];
    model.records.push({ view: 2, key, drops: false });
    const cursor = model.cursor(model.end, [1]);
    feed(state, [model.frame(model.end - 1, cursor, [])]);
    const pages = [...model.passOf(2, model.end, cursor, model.end, 1)];
    feed(state, pages);
    expect(state.shards.get(0)!.served.tables.get(viewId(2))).toBe(old);
    expect(old?.rows.get(rowKeyOfText(key))?.version).toBeLessThan(model.end - 1);
    model.records.push({ view: 1, key, drops: false });
    feed(state, model.live(model.end - 1, model.end));
    const back = state.shards.get(0)!.served.tables.get(viewId(2));
    expect(back).not.toBe(old);
    expect(back?.rows.get(rowKeyOfText(key))?.version).toBe(model.end - 2);
    expect(state.catalog.services.get('all')?.outputs[1]?.view.tables[0]).toBe(back);
    expect(state.discardedTables).toContain(old?.number);
  });
});

describe('a shard that was lost while older definitions are served', () => {
  /** Served by definitions that have view 1 where the newest have view 2; upstream has dropped view 1 and builds view 2. */
  function waiting(): { state: ReplicaState; models: ModelShard[] } {
    const { state, models } = serving([1, 3]);
    state.define(definitions(2, [countView(2, 'view1'), countView(3)]));
    for (const model of models) model.views = [3];
    expect(state.catalog.services.get('all')?.generation).toBe(1n);
    return { state, models };
  }

  function loseShard(state: ReplicaState, number: number): void {
    const shard = state.shards.get(number)!;
    shard.served = state.newCopy(number, '');
    state.lose(shard);
    state.settle();
  }

  function completeness(state: ReplicaState, view: string): (number | undefined)[] {
    return state.catalog.views.get(view)!.tables.map(({ completeThroughUs }) => completeThroughUs);
  }

  function expectHalfAway(state: ReplicaState, models: readonly ModelShard[]): void {
    // What came again is read; what nobody can send again is not, and not half: the service says so for the shard's keys.
    expect(state.catalog.services.get('all')?.generation).toBe(1n);
    expect(state.shards.get(0)?.served.position).toBe(models[0]!.end);
    expect(completeness(state, 'view1')[0]).toBe(NOT_READABLE_US);
    expect(completeness(state, 'view1')[1]).toBeGreaterThan(0);
    expect(completeness(state, 'view3')[0]).toBeGreaterThan(0);
    expect(state.healing).toEqual([0]);
  }

  function buildNew(state: ReplicaState, models: readonly ModelShard[]): void {
    for (const [number, model] of models.entries()) {
      model.views = [2, 3];
      model.records.push({ view: 2, key: keysOf(number, SHARDS, 1)[0]!, drops: false });
      const cursor = model.cursor(Number(state.cursor(number).position), [3]);
      feed(state, [model.frame(Number(cursor.position), cursor, [])]);
      feed(state, model.passOf(2, Number(cursor.position), cursor, model.end, 2));
      feed(state, [model.frame(Number(cursor.position), model.cursor(model.end), [])]);
    }
    expect(state.catalog.services.get('all')?.generation).toBe(2n);
    expect(state.healing).toEqual([]);
    expect(completeness(state, 'view1').includes(NOT_READABLE_US)).toBe(false);
  }

  it('R3: it comes again without what upstream has no more, which is said to be unreadable there alone', () => {
    const { state, models } = waiting();
    loseShard(state, 0);
    bootstrap(state, models[0]!);
    expectHalfAway(state, models);
    buildNew(state, models);
  });

  it('R3: its fresh copy replaces another one although the older service cannot be answered from it', () => {
    const { state, models } = waiting();
    loseShard(state, 0);
    bootstrap(state, models[0]!);
    // The log went on otherwise: another history of the same log.
    models[0] = upstream(9, [3], 2)[0]!;
    bootstrap(state, models[0]!);
    expectHalfAway(state, models);
    buildNew(state, models);
  });
});

describe('R4: what is discarded', () => {
  it('rows of a view that definitions dropped go, also when something else was on its way as upstream dropped it', () => {
    const { state, models } = serving([1, 2]);
    const [model] = models as [ModelShard];
    const { served } = state.shards.get(0)!;
    const old = served.tables.get(viewId(2));
    state.define(definitions(2, [countView(1)]));
    const at = model.end;
    model.views = [1];
    feed(state, model.passOf(1, at, model.cursor(at), at, 1));
    expect(served.tables.get(viewId(2)), 'a pass is under way').toBe(old);
    model.records.push({ view: 1, key: keysOf(0, SHARDS, 1)[0]!, drops: false });
    feed(state, model.live(at, model.end));
    expect(served.tables.has(viewId(2))).toBe(false);
    expect(state.discardedTables).toContain(old?.number);
  });

  it('half a copy leaves nothing behind, however often its stream ends', () => {
    const state = new ReplicaState();
    state.learnShardCount(SHARDS);
    const [model] = upstream(9, [1]) as [ModelShard];
    for (let i = 0; i < 5; i++) {
      feed(state, [...model.pass(model.cursor(0), model.end, 1)].slice(0, 2));
      expect(state.rowCount).toBeGreaterThan(0);
      state.disconnected([0]);
      expect(state.rowCount).toBe(0);
    }
    expect(state.discardedCopies).toEqual([]);
  });

  it('is known by its numbers alone: the disk may be away for long, and rows would stay in memory for it', () => {
    const { state } = serving([1]);
    const old = [...state.shards.values()].map(({ served: { shard, copy, tables } }) => ({
      shard,
      copy,
      tables: [...tables.values()].map(({ number }) => number),
    }));
    for (const model of upstream(8, [1])) bootstrap(state, model);
    expect(state.discardedCopies).toEqual(old);
  });
});
