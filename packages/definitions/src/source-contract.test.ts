/**
 * Goal: what a source says about changes and values is read, checked against its table and resolved; what columns tell
 * beside their types changes a contract's version and never a view's id. Method: cases by rule.
 */
import { ChangePolicy, type Contract, HoldScope } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { contractOf, STOREFRONT } from './definitions.testing.ts';
import { parseDefinitions } from './parse.ts';
import { resolveDefinitions } from './resolve.ts';

const SOURCE = 'event_time: occurred_at\n';

function resolve(yaml: string, contract: Contract = contractOf(), previous?: DefinitionSet) {
  const text = STOREFRONT.replace(SOURCE, `${SOURCE}${yaml}`);
  const definitions = parseDefinitions([{ path: 'shop.yaml', text }]);
  const contracts = new Map([['user_activity', contract]]);
  return resolveDefinitions({ definitions, contracts, previous, highestRoute: 10 });
}

function refusal(yaml: string): FreshetError {
  try {
    resolve(yaml);
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('not refused');
}

function detailed(change: Partial<Contract['columns'][number]> = {}): Contract {
  const contract = contractOf();
  for (const column of contract.columns) column.sourceTypeModifier = -1;
  const sku = contract.columns.find(({ name }) => name === 'sku');
  if (sku !== undefined) Object.assign(sku, { length: 20, sourceTypeModifier: 24 }, change);
  return contract;
}

describe('policy, hold, rules, owner', () => {
  it('are read and resolved, with defaults', () => {
    const { resolved } = resolve(`policy: strict
hold: key
owner: payments
rules:
  - { name: positive, expression: double(amount) >= 0.0 }
  - { name: skus, null_rate: { column: sku, max: 0.05, rows: 500 }, only_tell: true }
`);
    expect(resolved.routes[0]?.source).toMatchObject({
      policy: ChangePolicy.STRICT,
      hold: HoldScope.KEY,
      rules: [
        { name: 'positive', rule: { case: 'expression', value: 'double(amount) >= 0.0' }, onlyTell: false },
        { name: 'skus', rule: { case: 'nullRate', value: { column: 'sku', max: 0.05, rows: 500 } }, onlyTell: true },
      ],
    });
    const plain = resolve('').resolved.routes[0]?.source;
    expect(plain).toMatchObject({ policy: ChangePolicy.EVOLVE, hold: HoldScope.UNSPECIFIED, rules: [] });
  });

  it.each<[string, string, string]>([
    ['policy: strickt\n', 'unknown policy "strickt"', 'Did you mean "strict"?'],
    ['hold: row\n', 'unknown hold "row"', 'table or key'],
    ['policy: toString\n', 'unknown policy', 'strict or evolve or notify'],
    ['rules:\n  - { name: r, expression: amont > 1.0 }\n', 'there is no column amont', 'amount'],
    ['rules:\n  - { name: r, expression: score + 1.0 }\n', 'must be true or false', 'Compare it'],
    ['rules:\n  - { name: r }\n', 'must ask one thing', 'null_rate'],
    ['rules:\n  - { name: r, null_rate: { column: skuu, max: 0.1 } }\n', 'no column "skuu"', 'sku'],
    ['rules:\n  - { name: r, null_rate: { column: sku, max: much } }\n', 'must be a number', '0.05'],
    ['rules:\n  - { name: r, null_rate: { column: sku } }\n', 'needs `max`', '0.05'],
    ['rules:\n  - { name: r, null_rate: { column: sku, max: 0.1, rows: 0.5 } }\n', 'no number of rows', '1 to'],
    ['rules:\n  - { name: r, expression: ok }\n  - { name: r, expression: ok }\n', 'Two rules', 'of its own'],
    ['rules: all\n', 'must be a list', '- '],
  ])('refuses %j', (yaml, message, remedy) => {
    const problem = [refusal(yaml)]
      .flatMap((error) => [error, ...error.also])
      .find((one) => one.message.includes(message));
    expect(problem).toMatchObject({ place: expect.stringMatching(/^shop\.yaml:\d+:\d+$/) });
    expect(problem?.remedy).toContain(remedy);
  });

  it('what is held back is another matter than what is folded: routes and ids stay', () => {
    const before = resolve('').resolved;
    const after = resolve(
      'policy: notify\nhold: key\nrules: [{ name: r, expression: score > 0.0 }]\n',
      contractOf(),
      before,
    ).resolved;
    expect(after.generation).toBe(before.generation + 1n);
    expect(after.routes.map(({ route }) => route)).toEqual(before.routes.map(({ route }) => route));
    expect(after.views.map(({ viewId }) => viewId)).toEqual(before.views.map(({ viewId }) => viewId));
  });
});

describe('the version of a contract', () => {
  const versionOf = (set: DefinitionSet) => set.routes[0]?.source?.contract?.version;

  it('stays when columns come to tell their details, and view ids never know of them', () => {
    const before = resolve('').resolved;
    const after = resolve('', detailed(), before).resolved;
    expect(versionOf(after)).toBe(1);
    expect(after.views.map(({ viewId }) => viewId)).toEqual(before.views.map(({ viewId }) => viewId));
  });

  it.each<[string, Partial<Contract['columns'][number]>, string]>([
    ['a length', { length: 10, sourceType: 'character varying(10)' }, 'holds less: 10, was 20'],
    ['a default', { defaultExpression: "'x'" }, 'the default of column sku'],
    ['nullability', { nullable: false }, 'never null now'],
  ])('takes the next one with %s', (_what, change, note) => {
    const before = resolve('', detailed()).resolved;
    const { resolved, notes } = resolve('', detailed(change), before);
    expect(versionOf(resolved)).toBe(2);
    expect(resolved.views.map(({ viewId }) => viewId)).toEqual(before.views.map(({ viewId }) => viewId));
    expect(notes.join('\n')).toContain(note);
    expect(notes.join('\n')).not.toContain('another order');
    expect(versionOf(resolve('', detailed(change), resolved).resolved)).toBe(2);
  });

  it('a contract from before the details tells a length by its text', () => {
    const before = resolve('').resolved;
    const narrow = detailed({ length: 10, sourceType: 'character varying(10)' });
    expect(versionOf(resolve('', narrow, before).resolved)).toBe(2);
  });
});
