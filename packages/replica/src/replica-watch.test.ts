/**
 * Goal: a clock that jumps or is behind is told, and told to be over; memory that is short stops what can wait first.
 * Method: looks at hand-made instants and states.
 */
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { describe, expect, it } from 'vitest';
import { countView, definitions, keysOf, ModelShard, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { ReplicaWatch } from './replica-watch.ts';

const S = 1_000_000;
const WALL_US = 1_700_000_000 * S;

function subject(budgetBytes = 0): { state: ReplicaState; watch: ReplicaWatch; conditions: ConditionBoard } {
  const state = new ReplicaState();
  const conditions = new ConditionBoard({ clock: { nowUs: () => WALL_US }, log: silentLogger });
  const link = (): { upstream: string; reason: string; standstillUs: number } => {
    return { upstream: 'a:1', reason: '', standstillUs: 0 };
  };
  return { state, conditions, watch: new ReplicaWatch({ state, conditions, link, budgetBytes }) };
}

const ids = (conditions: ConditionBoard): string[] => conditions.list().map(({ id }) => id);

describe('ReplicaWatch', () => {
  it.each([3600, -3600])('tells a wall clock that jumped by %d s, for a while', (jump) => {
    const { watch, conditions } = subject();
    watch.look({ wallUs: WALL_US, monotonicUs: 0 });
    // A machine that is busy looks late: both clocks have gone on.
    watch.look({ wallUs: WALL_US + 30 * S, monotonicUs: 30 * S });
    expect(ids(conditions)).toEqual([]);
    watch.look({ wallUs: WALL_US + (31 + jump) * S, monotonicUs: 31 * S });
    expect(ids(conditions)).toEqual(['replica/clock/jump']);
    watch.look({ wallUs: WALL_US + (32 + jump) * S, monotonicUs: 32 * S });
    expect(ids(conditions)).toEqual(['replica/clock/jump']);
    watch.look({ wallUs: WALL_US + (700 + jump) * S, monotonicUs: 700 * S });
    expect(ids(conditions)).toEqual([]);
  });

  it('tells a wall clock that is behind the log', () => {
    const { state, watch, conditions } = subject();
    const { served } = state.newShard(0);
    served.completeThroughUs = WALL_US + 60 * S;
    watch.look({ wallUs: WALL_US, monotonicUs: 0 });
    expect(ids(conditions)).toEqual(['replica/clock/behind']);
    served.completeThroughUs = WALL_US + S;
    watch.look({ wallUs: WALL_US, monotonicUs: S });
    expect(ids(conditions)).toEqual([]);
  });

  it('tells which views wait for a new generation, since when, and in how many shards it is', () => {
    const { state, watch, conditions } = subject();
    const models = [0, 1].map((shard) => new ModelShard(shard, 9, [1]));
    state.define(definitions(1, [countView(1)]));
    state.learnShardCount(2);
    const feed = (model: ModelShard, frames: Iterable<SubscribeChangesResponse>): void => {
      for (const frame of frames) {
        const applied = state.apply(frame);
        if (applied.outcome === 'applied' && applied.rest !== undefined) Array.from(applied.rest);
        expect(applied.outcome, `shard ${model.shard}`).toBe('applied');
      }
    };
    const turn = (model: ModelShard): void => {
      const at = model.end;
      model.turn(1, 'begin');
      model.turn(1, 'end');
      const cursor = model.cursor(at, []);
      feed(model, [model.frame(at, cursor, [])]);
      feed(model, model.pass(cursor, model.end, 5));
    };
    for (const model of models) {
      model.records.push({ view: 1, key: must(keysOf(model.shard, 2, 1)[0]), drops: false });
      feed(model, model.pass(model.cursor(0), model.end, 5));
    }
    const rowsRead = (): unknown => state.catalog.views.get('view1')?.tables.map(({ rowCount }) => rowCount);
    watch.look({ wallUs: WALL_US, monotonicUs: 0 });
    expect([ids(conditions), rowsRead()]).toEqual([[], [1, 1]]);
    turn(must(models[0]));
    watch.look({ wallUs: WALL_US + S, monotonicUs: S });
    watch.look({ wallUs: WALL_US + 2 * S, monotonicUs: 2 * S });
    expect(watch.pending).toEqual([
      { viewId: viewId(1), name: 'view1', generation: 2, ready: 1, sinceUs: WALL_US + S },
    ]);
    expect(conditions.list().map(({ id, message }) => [id, message.includes('1 of 2 shards')])).toEqual([
      ['replica/generations', true],
    ]);
    // The new generation has no rows; nothing of it is read before the other shard has it, too.
    expect(rowsRead()).toEqual([1, 1]);
    turn(must(models[1]));
    watch.look({ wallUs: WALL_US + 3 * S, monotonicUs: 3 * S });
    expect([ids(conditions), watch.pending, rowsRead()]).toEqual([[], [], [0, 0]]);
  });

  it('R4: short of memory, first nothing new is built, then nothing at all is taken; with room again, all is', () => {
    const model = new ModelShard(0, 9, [1]);
    const keys = keysOf(0, 1, 200);
    for (const key of keys.slice(0, 100)) model.records.push({ view: 1, key, drops: false });
    const { state, watch, conditions } = subject(10);
    state.learnShardCount(1);
    for (const frame of model.pass(model.cursor(0), 100, 1000)) {
      const applied = state.apply(frame);
      if (applied.outcome === 'applied' && applied.rest !== undefined) Array.from(applied.rest);
    }
    const budget = (share: number): ReplicaWatch => {
      const link = (): undefined => undefined;
      return new ReplicaWatch({ state, conditions, link, budgetBytes: state.bytes / share });
    };
    const now = { wallUs: WALL_US, monotonicUs: 0 };
    expect(state.bytes).toBeGreaterThan(100 * 100);
    watch.look(now);
    expect(state.admission).toBe('none');
    for (const [share, admission] of [
      [1.05, 'none'],
      [0.97, 'served'],
      [0.9, 'all'],
      [0.97, 'all'],
      [1.02, 'served'],
      [1.12, 'none'],
    ] as const) {
      budget(share).look(now);
      expect(state.admission, `at ${share}`).toBe(admission);
      expect(conditions.has('replica/memory')).toBe(admission !== 'all');
    }
    model.records.push({ view: 1, key: keys[0]!, drops: false });
    const [live] = [...model.live(100, 101)];
    expect(state.apply(live!)).toMatchObject({ outcome: 'refused', code: 'LIMIT_EXCEEDED' });
    budget(1.02).look(now);
    state.admission = 'served';
    expect(state.apply(live!)).toMatchObject({ outcome: 'applied' });
    const other = new ModelShard(0, 8, [1]);
    other.records.push({ view: 1, key: keys[0]!, drops: false });
    const [page] = [...other.pass(other.cursor(0), 1, 1)];
    expect(state.apply(page!)).toMatchObject({ outcome: 'refused', code: 'LIMIT_EXCEEDED' });
    state.admission = 'all';
    expect(state.apply(page!)).toMatchObject({ outcome: 'applied' });
  });
});
