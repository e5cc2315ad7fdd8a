/**
 * A process that folds the histories of a seed and prints their digests, one line each: the other side of the test that
 * two processes agree. Usage: node print-digests.ts <seed> <histories> <batch size>
 */
import fc from 'fast-check';
import { recipes } from '../generate/recipe.ts';
import { buildScenario } from '../generate/scenario.ts';
import { hex } from '../oracle/history.ts';
import { EngineUnderTest } from './engine-under-test.ts';

/** The digest of each history's end, folded in batches of that size with a commit after each. */
export function digestsOf(seed: number, histories: number, batch: number): string[] {
  return fc.sample(recipes({ maxRecords: 40 }), { seed, numRuns: histories }).map((recipe) => {
    const engine = new EngineUnderTest(buildScenario(recipe), { cacheBytes: batch * 500 });
    while (engine.fold.position < engine.entries.length) {
      engine.foldNext(batch);
      engine.feedBuilds();
      engine.commit();
    }
    return hex(engine.fold.digest());
  });
}

if (import.meta.main) {
  const [seed, histories, batch] = process.argv.slice(2).map(Number);
  process.stdout.write(`${digestsOf(seed ?? 0, histories ?? 1, batch ?? 1).join('\n')}\n`);
}
