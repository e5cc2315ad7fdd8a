/**
 * Goal: the gate in the stream says what the gate before a change says, of all that the stream tells, and names whom it hurts.
 * Method: the table of the incident's changes; each is judged as a contract that the catalog would give, and as a relation.
 */

import { create } from '@bufbuild/protobuf';
import { gateVerdict } from '@freshet/contracts/gate.ts';
import { judgeChange } from '@freshet/contracts/judge.ts';
import { usageOf } from '@freshet/contracts/usage.ts';
import { ChangePolicy, type Contract, SourceMode, ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CatalogColumn, contractOf } from './contract.ts';
import type { Relation } from './pgoutput/messages.ts';
import { readColumns } from './row-shape.ts';
import { fitShape } from './shape-gate.ts';
import { shownContract } from './shown-contract.ts';
import { replacedColumns } from './table-fill.ts';
import { typeNameOf } from './types/type-names.ts';

type Type = readonly [oid: number, modifier: number, name?: string];

const numeric = (precision: number, scale: number): number => ((precision << 16) | (scale & 0x7ff)) + 4;

/** Read: user_id by the key, v by a feature. Unread: note. */
const BEFORE: Readonly<Record<string, Type>> = { id: [20, -1], user_id: [20, -1], v: [1043, 24], note: [1043, 24] };

function columnOf(name: string, number: number, [oid, modifier, typeName]: Type): CatalogColumn {
  return {
    name,
    number,
    typeOid: oid,
    typeText: typeName ?? typeNameOf(oid, modifier) ?? '?',
    nullable: true,
    generated: false,
    base: { oid, name: '', category: '', elementOid: 0, modifier },
    typeModifier: modifier,
    defaultExpression: '',
    enumLabels: [],
    domains: [],
  };
}

function contractWith(columns: Readonly<Record<string, Type>>): Contract {
  return contractOf('orders', {
    oid: 7,
    schema: 'public',
    table: 'orders',
    kind: 'r',
    persistence: 'p',
    replicaIdentity: 'd',
    primaryKey: ['id'],
    identityIndex: [],
    columns: Object.entries(columns).map(([name, type], i) => columnOf(name, i + 1, type)),
    maySelect: true,
    owner: 'me',
    rowSecurity: false,
  });
}

function relationWith(columns: Readonly<Record<string, Type>>): Relation {
  return {
    id: 7,
    schema: 'public',
    table: 'orders',
    replicaIdentity: 'd',
    columns: Object.entries(columns).map(([name, [typeOid, typeModifier]]) => ({
      name,
      typeOid,
      typeModifier,
      identity: name === 'id',
    })),
  };
}

function definitions(contract: Contract): DefinitionSet {
  const viewId = new Uint8Array([1]);
  return create(DefinitionSetSchema, {
    generation: 1n,
    routes: [
      {
        route: 1,
        source: { name: 'orders', mode: SourceMode.APPEND, contract },
        entity: { name: 'user' },
        keyColumns: ['user_id'],
      },
    ],
    views: [
      {
        viewId,
        name: 'spend',
        route: 1,
        mode: SourceMode.APPEND,
        source: 'orders',
        columns: contract.columns.filter(({ name }) => name === 'v'),
        features: [{ name: 'last', aggregate: 'last', input: 'v', resultType: { kind: Kind.STRING } }],
      },
    ],
    services: [{ name: 's', features: [{ output: 'spend:last', viewId, feature: 0 }] }],
    owners: [
      { subject: 'feature spend:last', owner: 'ledger' },
      { subject: 'view spend', owner: 'payments' },
    ],
  });
}

const POLICIES = [ChangePolicy.STRICT, ChangePolicy.EVOLVE, ChangePolicy.NOTIFY];
/** What v was, what became of it (undefined: it is gone), and whether it holds: strict, evolve, notify. */
const CASES: readonly (readonly [what: string, was: Type, now: Type | undefined, holds: string])[] = [
  ['varchar(20) → varchar(10)', [1043, 24], [1043, 14], 'yes yes no'],
  ['varchar(20) → varchar(40)', [1043, 24], [1043, 44], 'yes no no'],
  ['varchar(20) → text', [1043, 24], [25, -1], 'yes no no'],
  ['text → varchar(10)', [25, -1], [1043, 14], 'yes yes no'],
  ['numeric(10,2) → numeric(10,1)', [1700, numeric(10, 2)], [1700, numeric(10, 1)], 'yes yes no'],
  ['numeric(10,2) → numeric(12,2)', [1700, numeric(10, 2)], [1700, numeric(12, 2)], 'yes no no'],
  ['text → varchar', [25, -1], [1043, -1], 'yes no no'],
  ['integer → bigint', [23, -1], [20, -1], 'yes no no'],
  ['bigint → integer', [20, -1], [23, -1], 'yes yes no'],
  ['real → double precision', [700, -1], [701, -1], 'yes no no'],
  ['double precision → real', [701, -1], [700, -1], 'yes yes no'],
  ['timestamptz → timestamp', [1184, -1], [1114, -1], 'yes yes no'],
  ['timestamp(6) → timestamp(3)', [1114, 6], [1114, 3], 'yes yes no'],
  ['text → uuid', [25, -1], [2950, -1], 'yes yes no'],
  ['text → bigint', [25, -1], [20, -1], 'yes yes yes'],
  ['gone', [25, -1], undefined, 'yes yes yes'],
];

describe('fitShape', () => {
  it.each(CASES)('v: %s', (_, was, now, holds) => {
    const before = contractWith({ ...BEFORE, v: was });
    const { v: _v, ...others } = BEFORE;
    const after = now === undefined ? others : { ...BEFORE, v: now };
    const usage = usageOf(definitions(before), 'orders');
    const told = POLICIES.map((policy) => {
      const fit = fitShape(before, relationWith(after), policy, { usage: () => usage });
      for (const problem of fit.problems)
        expect(problem).toContain('touches features spend:last; services s; owners ledger, payments');
      return fit.problems.length > 0 ? 'yes' : 'no';
    });
    expect(told.join(' ')).toBe(holds);
    const judgement = judgeChange(before, contractWith(after), usage);
    const before_ = POLICIES.map((policy) => (gateVerdict(judgement, policy) === 'hold' ? 'yes' : 'no'));
    expect(told, 'as the gate before a change').toEqual(before_);
  });

  it('shows the contract that the catalog would give', () => {
    for (const [, was, now] of CASES) {
      if (now === undefined) continue;
      const shown = shownContract(contractWith({ ...BEFORE, v: was }), relationWith({ ...BEFORE, v: now }));
      expect(shown).toEqual(contractWith({ ...BEFORE, v: now }));
    }
  });

  it('passes what reaches nobody, and tells what passes by notify', () => {
    const before = contractWith(BEFORE);
    const readers = { read: new Set(['user_id', 'v']), usage: () => usageOf(definitions(before), 'orders') };
    const unread = relationWith({ ...BEFORE, note: [1043, 9] });
    expect(fitShape(before, unread, ChangePolicy.STRICT, readers)).toMatchObject({ problems: [], exact: false });
    const read = relationWith({ ...BEFORE, v: [1043, 9] });
    expect(fitShape(before, read, ChangePolicy.NOTIFY, readers).notes).toEqual([
      'column v holds less: 5, was 20; longer values are cut or refused (touches features spend:last; services s; owners ledger, payments)',
    ]);
  });

  it('holds when a column is gone that only a value rule asks of, whose rows would pass unasked', () => {
    const before = contractWith(BEFORE);
    const inForce = definitions(before);
    const plan = must(inForce.routes[0]);
    const { note, ...rest } = BEFORE;
    const renamed = relationWith({ ...rest, remark: must(note) });
    const problems = (onlyTell: boolean): readonly string[] => {
      const rule = { case: 'expression', value: 'note != "bad"' } as const;
      must(plan.source).rules = [create(ValueRuleSchema, { name: 'good', onlyTell, rule })];
      const readers = { read: readColumns(plan, inForce), usage: () => usageOf(inForce, 'orders') };
      return fitShape(before, renamed, ChangePolicy.EVOLVE, readers).problems;
    };
    expect(problems(false)).toEqual([
      expect.stringMatching(/^column note is called remark now \(touches features spend:last/),
    ]);
    expect(problems(true)).toEqual([]);
  });

  it('takes a route that no view reads for a reader of everything', () => {
    const narrowed = relationWith({ ...BEFORE, note: [1043, 9] });
    const { problems } = fitShape(contractWith(BEFORE), narrowed, ChangePolicy.EVOLVE, {});
    expect(problems).toEqual(['column note holds less: 5, was 20; longer values are cut or refused']);
  });

  it('passes a column that is gone, or of another type, where nobody reads it: it has no value then', () => {
    const before = contractWith(BEFORE);
    const { note: _note, ...rest } = BEFORE;
    const readers = { read: new Set(['user_id', 'v']), usage: () => usageOf(definitions(before), 'orders') };
    for (const after of [rest, { ...BEFORE, note: [20, -1] }] as const) {
      for (const policy of POLICIES) {
        const fit = fitShape(before, relationWith(after), policy, readers);
        expect(fit).toMatchObject({ problems: [], columns: [0, 1, 2, -1] });
      }
      expect(fitShape(before, relationWith(after), ChangePolicy.NOTIFY, {}).problems).toHaveLength(1);
    }
  });

  it('says of any change what the gate before it says', () => {
    const types: readonly Type[] = [
      [20, -1],
      [23, -1],
      [25, -1],
      [700, -1],
      [701, -1],
      [1043, -1],
      [1043, 14],
      [1043, 24],
      [1114, -1],
      [1114, 3],
      [1184, -1],
      [1700, -1],
      [1700, numeric(10, 2)],
      [1700, numeric(12, 2)],
      [2950, -1],
      [17, -1],
      [16, -1],
      [1009, -1],
    ];
    const type = fc.constantFrom(...types);
    const change = fc.oneof(
      fc.record({ kind: fc.constantFrom('drop', 'rename', 'retype', 'add', 'replace'), of: fc.nat(6), type }),
      fc.constant(undefined),
    );
    const told = new Set<string>();
    const property = fc.property(
      fc.array(type, { minLength: 2, maxLength: 4 }),
      fc.array(change, { maxLength: 3 }),
      (was, all) => {
        const columns: Live[] = ['id', 'user_id'].map((name, i) => ({ name, type: [20, -1], number: i + 1 }));
        for (const [i, one] of was.entries()) {
          columns.push({ name: i === 0 ? 'v' : `x${i}`, type: one, number: columns.length + 1 });
        }
        const before = contractFrom(columns);
        const after = columns.map((column) => ({ ...column }));
        for (const one of all) if (one !== undefined) alter(after, one);
        const usage = usageOf(definitions(before), 'orders');
        const readers = { read: new Set(['user_id', 'v']), usage: () => usage };
        const judgement = judgeChange(before, contractFrom(after), usage);
        // Dropped and made anew at the same place: nothing in the stream tells, and the catalog does.
        const fill = { file: '', columns: after.map(({ name, number }) => [number, name, ''] as const) };
        const values = replacedColumns(before, before.columns[0]?.tableOid ?? 0, fill);
        const relation = relationWith(Object.fromEntries(after.map(({ name, type: now }) => [name, now])));
        for (const policy of POLICIES) {
          const verdict = gateVerdict(judgement, policy) === 'hold' ? 'hold' : 'pass';
          const { problems } = fitShape(before, relation, policy, readers, values);
          expect(problems.length > 0 ? 'hold' : 'pass', problems.join()).toBe(verdict);
          told.add(`${policy} ${verdict}`);
        }
      },
    );
    fc.assert(property, { numRuns: 2_000 });
    expect(told.size, 'each policy holds and passes').toBe(6);
  });
});

interface Live {
  name: string;
  type: Type;
  number: number;
}

function contractFrom(columns: readonly Live[]): Contract {
  const contract = contractWith(Object.fromEntries(columns.map(({ name, type }) => [name, type])));
  for (const [i, column] of contract.columns.entries()) column.columnNumber = columns[i]?.number ?? 0;
  return contract;
}

/** A column other than the key's is altered, as Postgres does it: what is new is behind all, under a number of its own. */
function alter(columns: Live[], { kind, of, type }: { kind: string; of: number; type: Type }): void {
  const number = Math.max(...columns.map((column) => column.number), 99) + 1;
  const at = 2 + (of % Math.max(1, columns.length - 2));
  const column = columns[at];
  if (kind === 'add' || column === undefined) columns.push({ name: `y${number}`, type, number });
  else if (kind === 'drop') columns.splice(at, 1);
  else if (kind === 'rename') column.name = `z${number}`;
  else if (kind === 'retype') column.type = type;
  else {
    columns.splice(at, 1);
    columns.push({ name: column.name, type, number });
  }
}
