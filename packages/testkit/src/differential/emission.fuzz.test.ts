/**
 * Goal: what the fold says has changed is what a replica needs, no less (R1), and no version goes back (R2). Method: random
 * histories; one replica is kept by takeDirty after every batch and by an ordered pass when a view becomes complete;
 * another is brought from a random commit to the end by the journal entries (takeCommit's changed) since. Both must end with
 * exactly the engine's rows.
 */
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type Recipe, recipes } from '../generate/recipe.ts';
import { buildScenario } from '../generate/scenario.ts';
import { hex } from '../oracle/history.ts';
import { show } from './compare.ts';
import { EngineUnderTest } from './engine-under-test.ts';
import { assertFuzz, FUZZ_MS_MAX } from './fuzz-options.ts';

const RUNS = 200;

interface Run {
  readonly recipe: Recipe;
  readonly batches: readonly number[];
  /** Every how many batches there is a commit. */
  readonly commitEvery: number;
}

const runs: fc.Arbitrary<Run> = fc.record({
  recipe: fc.oneof(
    recipes({ maxRecords: 40 }),
    recipes({ maxRecords: 15, churn: true }),
    recipes({ maxRecords: 40, mutable: true }),
    recipes({ maxRecords: 15, churn: true, mutable: true }),
  ),
  batches: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
  commitEvery: fc.integer({ min: 1, max: 4 }),
});

/** What a replica holds of one view. */
interface Held {
  /** The position since which the view was complete when the replica took it up. */
  readonly completeAt: number | undefined;
  readonly rows: Map<string, { version: number; bytes: string }>;
}

class Replica {
  readonly #views = new Map<string, Held>();

  /** Takes the current rows of the keys; never an older version. */
  apply(engine: EngineUnderTest, view: string, keys: Iterable<string>): void {
    const rows = this.#views.get(view)?.rows;
    if (rows === undefined) return;
    for (const key of keys) {
      const row = engine.fold.row(view, key);
      const held = rows.get(key);
      if (row !== undefined && held !== undefined && row.version < held.version) {
        throw new Error(`R2: a row's version went from ${held.version} back to ${row.version}`);
      }
      if (row === undefined) rows.delete(key);
      else rows.set(key, { version: row.version, bytes: hex(row.bytes) });
    }
  }

  /** Follows the set of complete views: new ones, and ones that were away in between, by a pass; dropped ones go. */
  follow(engine: EngineUnderTest): void {
    const complete = engine.fold.completeViews();
    for (const view of this.#views.keys()) if (!complete.includes(view)) this.#views.delete(view);
    for (const view of complete) {
      const completeAt = engine.fold.completeAt(view);
      const held = this.#views.get(view);
      if (held !== undefined && held.completeAt === completeAt) continue;
      this.#views.set(view, { completeAt, rows: new Map() });
      this.apply(engine, view, engine.fold.keys(view));
    }
  }

  rows(): string {
    const list = [...this.#views].flatMap(([view, { rows }]) => [...rows].map(([key, row]) => ({ view, key, ...row })));
    return show(list.sort((a, b) => (a.view + a.key < b.view + b.key ? -1 : 1)));
  }

  copy(): Replica {
    const copy = new Replica();
    for (const [view, { completeAt, rows }] of this.#views) copy.#views.set(view, { completeAt, rows: new Map(rows) });
    return copy;
  }
}

async function check({ recipe, batches, commitEvery }: Run): Promise<void> {
  const scenario = buildScenario(recipe);
  const engine = new EngineUnderTest(scenario, { cacheBytes: 1_000 });
  const live = new Replica();
  // Replicas as they were at each commit; the journal from there on must bring each of them to the end.
  const behind: Replica[] = [];
  for (let batch = 0; engine.fold.position < scenario.records.length; batch++) {
    engine.foldNext(must(batches[batch % batches.length]));
    engine.feedBuilds();
    const dirty = engine.fold.takeDirty();
    live.follow(engine);
    for (const [view, keys] of dirty) live.apply(engine, view, keys);
    if (batch % commitEvery === 0) {
      commit(engine, behind);
      behind.push(live.copy());
    }
  }
  commit(engine, behind);
  await Promise.resolve();
  const expected = show(engine.rows());
  for (const replica of [live, ...behind]) {
    if (replica.rows() !== expected)
      throw new Error(
        `R1: a replica differs ${show(recipe.definitions)} ${show(batches)} ${commitEvery} ${replica === live} ${show(recipe.records.map((r) => r.kind))}\n  engine  ${expected}\n  replica ${replica.rows()}`,
      );
  }
}

function commit(engine: EngineUnderTest, behind: readonly Replica[]): void {
  const changed = engine.commit();
  for (const replica of behind) {
    replica.follow(engine);
    for (const [view, keys] of changed) replica.apply(engine, view, keys);
  }
}

describe('what the fold emits', () => {
  it('R1 R2: brings a follower, live or by the journal, to exactly the rows of the state', {
    timeout: FUZZ_MS_MAX,
  }, async () => {
    await assertFuzz(RUNS, runs, check);
  });
});
