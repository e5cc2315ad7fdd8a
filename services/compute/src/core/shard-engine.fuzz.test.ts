/**
 * Goal: R1, F1 and F3 with the real engine: what followers have equals what a fold of the log in one go has.
 * Method: random histories of the engine's own generator (late, repeated and future events, rows that change, definitions that change
 * midway, routes that begin late or again), cut by random steps into appends, commits, crashes and subscriptions, on
 * real LevelDB with little or much cache. The rows that must be come from a second fold of the log's first records that
 * has all its state in memory and is never cut.
 */
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import { encodeTick } from '@freshet/log/record-writer.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { type Recipe, recipes } from '@freshet/testkit/generate/recipe.ts';
import { buildScenario } from '@freshet/testkit/generate/scenario.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModelRow } from '../testing/model-replica.ts';
import type { ShardRig } from '../testing/shard-rig.ts';
import { type Happening, happenings, inWorld, type Replay, ShardWorld, smallLimits } from '../testing/shard-world.ts';

type Limits = typeof smallLimits extends fc.Arbitrary<infer L> ? L : never;
type Step = Happening | { readonly do: 'append'; readonly count: number };

const views = fc.uniqueArray(fc.nat(5), { maxLength: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('append' as const), count: fc.integer({ min: 1, max: 8 }) }) },
  ...happenings(views),
);

/** Folds again from the first record, in memory. */
class EngineReplay implements Replay {
  readonly #rig: ShardRig;

  constructor(rig: ShardRig) {
    this.#rig = rig;
  }

  async rows(viewId: string, position: number): Promise<Map<string, ModelRow>> {
    const fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: Number.MAX_SAFE_INTEGER });
    const entries = await this.#entries(position);
    for (const entry of entries) {
      fold.fold([entry]);
      // Builds take no time here: a view whose route begins anew stands still, as it does in any shard that had built it.
      for (const build of fold.builds()) fold.foldBuild(build.viewId, entries.slice(build.position));
    }
    const rows = new Map<string, ModelRow>();
    for (const key of fold.keys(viewId)) {
      const { version, bytes } = must(fold.row(viewId, key));
      rows.set(key, { version, row: Buffer.from(bytes).toString('latin1') });
    }
    return rows;
  }

  goesFrom(): boolean {
    return false;
  }

  async #entries(position: number): Promise<LogEntry[]> {
    const entries: LogEntry[] = [];
    const controller = new AbortController();
    if (position === 0) return entries;
    for await (const batch of this.#rig.log.read(0, 0, controller.signal)) {
      for (const entry of batch.entries) entries.push({ ...entry, record: entry.record.slice() });
      if (entries.length >= position) break;
    }
    return entries.slice(0, position);
  }
}

async function live(rig: ShardRig, recipe: Recipe, steps: readonly Step[]): Promise<number> {
  const scenario = buildScenario(recipe);
  const viewIds = scenario.views.map((view) => toHex(view.viewId));
  const world = new ShardWorld(rig, new EngineReplay(rig), {
    viewIdOf: (index) => must(viewIds[index % viewIds.length]),
    tick: encodeTick,
  });
  const records = scenario.records.map(({ record }) => record);
  for (const next of steps) {
    if (next.do === 'append') await world.append(records.splice(0, next.count));
    else await world.happen(next);
  }
  await world.append(records);
  await world.finish();
  return world.pages;
}

/** Checks so many histories; resolves with how many pages of passes were seen. */
async function pagesOf(parameters: fc.Parameters<[Recipe, Step[], Limits]>): Promise<number> {
  let pages = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(recipes({ maxRecords: 60 }), recipes({ maxRecords: 60, mutable: true })),
      fc.array(step, { minLength: 5, maxLength: 50, size: 'max' }),
      smallLimits,
      async (recipe, steps, limits) => {
        const options = { limits, createFold: (o: ConstructorParameters<typeof ShardFold>[0]) => new ShardFold(o) };
        const engine = { createDigest: createStateDigest, versionOf: readVersion };
        pages += await inWorld({ ...options, ...engine }, (rig) => live(rig, recipe, steps));
      },
    ),
    parameters,
  );
  return pages;
}

describe("a shard with the engine's fold", () => {
  it('R1, F1, F3: any cut of a history into steps leaves every follower with the rows of an uncut fold', async () => {
    expect(await pagesOf(fuzzParameters(25))).toBeGreaterThan(0);
  });

  // A view that was incomplete came to have something to be built of, and stayed incomplete: nobody began the build.
  it.each([3, 8])('F2: begins a build that becomes possible later (histories of seed %i)', async (seed) => {
    await pagesOf({ ...fuzzParameters(25), seed });
  });
});
