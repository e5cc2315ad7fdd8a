/**
 * Recipes of one key with so many live rows of a mutable source that its contributions lie in several leaves under a directory
 * (packages/engine/src/contributions): first rows that come in, then changes that take any of them out, extremes too.
 */
import fc from 'fast-check';
import { type Recipe, type RecordRecipe, recipes, recordRecipes } from './recipe.ts';

/** A leaf is cut at 64 rows: with those that come in there are about five. */
export const HOT_ROWS = 220;
const CHANGES_MAX = 60;

const arrivals: fc.Arbitrary<RecordRecipe> = recordRecipes.map((record) => ({
  ...record,
  kind: 'change',
  dml: 'insert',
  // Else most would be out of reach when the changes begin.
  stepUnits: 0,
}));

const changes: fc.Arbitrary<RecordRecipe> = fc
  .record({
    record: recordRecipes,
    dml: fc.constantFrom('insert', 'update', 'update', 'delete', 'delete', 'delete', 'rekey', 'again', 'touch'),
    pick: fc.nat(HOT_ROWS * 10),
    step: fc.constantFrom(0, 0, 0, 1),
  })
  .map(({ record, dml, pick, step }) => ({
    ...record,
    kind: record.kind === 'restart' || record.kind === 'stray' ? 'change' : record.kind,
    dml,
    pick,
    stepUnits: step,
  }));

/** Not shrunk: with hundreds of records that took longer than ten minutes (tried with a planted fault). */
export const hotRecipes: fc.Arbitrary<Recipe> = fc.noShrink(
  fc
    .record({
      base: recipes({ maxRecords: 0, mutable: true }),
      arrivals: fc.array(arrivals, { minLength: HOT_ROWS, maxLength: HOT_ROWS }),
      changes: fc.array(changes, { minLength: 5, maxLength: CHANGES_MAX, size: 'max' }),
    })
    .map(({ base, ...records }) => ({
      ...base,
      keys: base.keys.slice(0, 1),
      routes: base.routes.slice(0, 1).map((route) => ({ ...route, snapshot: 0 })),
      views: base.views.map((view) => ({ ...view, where: undefined })),
      definitions: base.definitions.slice(0, 1),
      records: [...records.arrivals, ...records.changes],
    })),
);
