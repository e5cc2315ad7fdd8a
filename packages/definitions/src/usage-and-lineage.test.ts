/**
 * Goal: a verdict (usageOf) and lineage name the same features and services for a column. Method: random definitions over
 * two tables (conditions, derived over derived, joins, keys, value rules), each column asked both ways.
 */
import { usageOf } from '@freshet/contracts/usage.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ACTIVITY_COLUMNS, column, contractOf } from './definitions.testing.ts';
import { Lineage } from './lineage.ts';
import { parseDefinitions } from './parse.ts';
import { resolveDefinitions } from './resolve.ts';

/** A rule of each source over a column that no view reads. */
const RULES = {
  acts: "rules: [{ name: a, expression: 'id > 0' }]",
  tiers: 'rules: [{ name: t, null_rate: { column: note, max: 0.5 } }]',
} as const;

const head = (hasRules: boolean): string => `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Entity
name: product
key: { product_id: string }
---
kind: Source
name: acts
mode: append
postgres: { table: public.acts }
event_time: occurred_at
${hasRules ? RULES.acts : ''}
---
kind: Source
name: tiers
mode: mutable
postgres: { table: public.tiers }
${hasRules ? RULES.tiers : ''}
`;

const TIERS = [column('id', Kind.STRING), column('name', Kind.STRING), column('note', Kind.STRING)];

interface ViewRecipe {
  readonly byProduct: boolean;
  readonly joins: boolean;
  /** How many derived columns, each over the one before. */
  readonly derived: number;
  readonly where: number;
  /** What each feature is made of. */
  readonly features: readonly number[];
}

const views: fc.Arbitrary<readonly ViewRecipe[]> = fc.array(
  fc.record({
    byProduct: fc.boolean(),
    joins: fc.boolean(),
    derived: fc.nat(3),
    where: fc.nat(4),
    features: fc.array(fc.nat(5), { minLength: 1, maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 4 },
);

/** Features are called by their view, for two views that compute the same under the same names are refused. */
function viewText(recipe: ViewRecipe, name: string): string {
  const { byProduct, joins, derived } = recipe;
  const wheres = [
    '',
    'event_type == "x"',
    joins ? 'tier != "y"' : '',
    derived > 0 ? `d${derived - 1} > 1.0` : '',
    joins ? 'tier != "y" && score > 0.5' : 'score > 0.5',
  ];
  const inputs = [
    '{ count: {}, lifetime: {} }',
    '{ sum: score, lifetime: {} }',
    derived > 0 ? '{ sum: d0, lifetime: {} }' : '{ max: score, lifetime: {} }',
    derived > 0 ? `{ sum: d${derived - 1}, lifetime: {} }` : '{ min: score, lifetime: {} }',
    joins ? '{ last: tier, lifetime: {} }' : '{ last: event_type, lifetime: {} }',
    '{ last: occurred_at, lifetime: {} }',
  ];
  return [
    '---',
    'kind: FeatureView',
    `name: ${name}`,
    `entity: ${byProduct ? 'product' : 'user'}`,
    'source: acts',
    ...(byProduct ? ['key: { product_id: sku }'] : []),
    ...(joins ? ['join:', '  - { table: tiers, on: { sku: id }, columns: { tier: name } }'] : []),
    ...(derived > 0 ? ['derived:'] : []),
    ...Array.from({ length: derived }, (_, at) => `  d${at}: ${at === 0 ? 'double(amount)' : `d${at - 1} * score`}`),
    ...(wheres[recipe.where] ? [`where: '${wheres[recipe.where]}'`] : []),
    'features:',
    ...recipe.features.map((input, at) => `  ${name}f${at}: ${inputs[input]}`),
  ].join('\n');
}

/** A service of the first feature of each view of one entity. */
function serviceText(recipes: readonly ViewRecipe[], byProduct: boolean, name: string): string {
  const mine = recipes.flatMap((recipe, at) => (recipe.byProduct === byProduct ? [`v${at}:v${at}f0`] : []));
  if (mine.length === 0) return '';
  return ['---', 'kind: FeatureService', `name: ${name}`, `features: [${[...new Set(mine)].join(', ')}]`].join('\n');
}

it('agree on a random set of definitions', () => {
  let reached = 0;
  fc.assert(
    fc.property(views, fc.boolean(), (recipes, hasRules) => {
      const text = [
        head(hasRules).trimEnd(),
        ...recipes.map((recipe, at) => viewText(recipe, `v${at}`)),
        serviceText(recipes, false, 'users'),
        serviceText(recipes, true, 'products'),
      ].join('\n');
      const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
      const contracts = new Map([
        ['acts', contractOf()],
        ['tiers', contractOf(TIERS)],
      ]);
      const { resolved } = resolveDefinitions({ definitions, contracts, previous: undefined });
      const lineage = new Lineage(resolved, definitions);
      for (const [source, columns] of [
        ['acts', ACTIVITY_COLUMNS],
        ['tiers', TIERS],
      ] as const) {
        const usage = usageOf(resolved, source);
        for (const { name } of columns) {
          const ids = [...lineage.downstream(`column public.${source}.${name}`)];
          const of = (kind: string): string[] =>
            ids.filter((id) => id.startsWith(`${kind} `)).map((id) => id.slice(kind.length + 1));
          const uses = usage.columns.get(name) ?? [];
          const features = new Set(uses.flatMap((use) => use.features));
          const services = new Set(uses.flatMap((use) => use.services).filter((one) => !one.includes(':')));
          expect([...features].sort(), `${source}.${name} of\n${text}`).toEqual(of('feature').sort());
          expect([...services].sort(), `${source}.${name} of\n${text}`).toEqual(of('service').sort());
          reached += features.size;
        }
      }
    }),
    { numRuns: 200 },
  );
  expect(reached).toBeGreaterThan(1_000);
});
