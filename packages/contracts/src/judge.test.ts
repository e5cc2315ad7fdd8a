/**
 * Goal: every kind of change gets the verdict of docs/contracts.md, for those who read the column and nobody else, and
 * what was captured before contracts had details is no change. Method: cases by rule, one thing changed in each.
 */
import { create } from '@bufbuild/protobuf';
import { ChangePolicy, ReplicaIdentity, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { but, type ColumnInit, contract, definitions } from './contracts.testing.ts';
import { gateVerdict } from './gate.ts';
import { type Judgement, judgeChange, type Verdict } from './judge.ts';
import { usageOf } from './usage.ts';

const USAGE = usageOf(definitions(), 'orders');

function judge(change: (columns: ColumnInit[]) => ColumnInit[]): Judgement {
  return judgeChange(contract(), contract(change), USAGE);
}

const without = (name: string) => (columns: ColumnInit[]) => columns.filter((column) => column.name !== name);

describe('judgeChange', () => {
  it.each<[string, (columns: ColumnInit[]) => ColumnInit[], string, Verdict]>([
    ['the incident', but('sku', { length: 10, sourceType: 'character varying(10)' }), 'length_narrowed', 'breaking'],
    [
      'a longer varchar',
      but('sku', { length: 40, sourceType: 'character varying(40)' }),
      'length_widened',
      'compatible',
    ],
    [
      'text to varchar without a length',
      but('unread', { sourceType: 'character varying' }),
      'length_widened',
      'compatible',
    ],
    ['varchar to text', but('sku', { length: 0, sourceType: 'text' }), 'length_widened', 'compatible'],
    ['fewer digits', but('amount', { precision: 8, sourceType: 'numeric(8,2)' }), 'digits_narrowed', 'breaking'],
    [
      'more scale, fewer before',
      but('amount', { scale: 4, sourceType: 'numeric(10,4)' }),
      'digits_narrowed',
      'breaking',
    ],
    [
      'more of both',
      but('amount', { precision: 12, scale: 4, sourceType: 'numeric(12,4)' }),
      'digits_widened',
      'compatible',
    ],
    ['int4 to int8', but('user_id', { sourceType: 'bigint', sourceTypeOid: 20 }), 'digits_widened', 'compatible'],
    ['int8 to int4', but('user_id', { sourceType: 'smallint', sourceTypeOid: 21 }), 'type_changed', 'breaking'],
    [
      'another kind',
      but('amount', { type: { kind: Kind.DOUBLE }, sourceType: 'double precision' }),
      'type_changed',
      'breaking',
    ],
    [
      'no time zone',
      but('at', { timeZone: false, sourceType: 'timestamp without time zone' }),
      'time_zone_changed',
      'breaking',
    ],
    [
      'fewer fractions',
      but('at', { precision: 3, sourceType: 'timestamp(3) with time zone' }),
      'digits_narrowed',
      'breaking',
    ],
    ['null in a value', but('amount', { nullable: true }), 'null_allowed', 'compatible_with_note'],
    ['null in a key', but('sku', { nullable: true }), 'null_allowed', 'breaking'],
    ['a default', but('amount', { defaultExpression: '0' }), 'default_changed', 'compatible_with_note'],
    [
      'a label more',
      but('mood', { enumLabels: ['sad', 'ok', 'fine', 'happy'] }),
      'enum_label_added',
      'compatible_with_note',
    ],
    ['a label less', but('mood', { enumLabels: ['sad', 'happy'] }), 'enum_label_removed', 'breaking'],
    ['a label renamed', but('mood', { enumLabels: ['sad', 'meh', 'happy'] }), 'enum_label_renamed', 'breaking'],
    ['labels reordered', but('mood', { enumLabels: ['ok', 'sad', 'happy'] }), 'enum_reordered', 'compatible'],
    ['a domain', but('mood', { domains: [{ name: 'd', baseType: 'text' }] }), 'domain_changed', 'compatible_with_note'],
    ['a drop', without('amount'), 'dropped', 'breaking'],
    ['a rename', but('amount', { name: 'total' }), 'renamed', 'breaking'],
    ['a column more', (columns) => [...columns, { name: 'extra', sourceType: 'xml' }], 'added', 'compatible'],
    ['an unused drop', without('unread'), 'dropped', 'compatible'],
  ])('%s', (_what, change, kind, verdict) => {
    const judgement = judge(change);
    expect(judgement.changes.map((one) => one.change.kind)).toEqual([kind]);
    expect(judgement.verdict).toBe(verdict);
  });

  it('takes timestamp(6) for what timestamp is, and no change for none', () => {
    expect(judge(but('at', { precision: 6, sourceType: 'timestamp(6) with time zone' })).changes).toEqual([]);
    expect(judge((columns) => [...columns].reverse()).changes).toEqual([]);
  });

  it('names the consumers, with features, services and owners', () => {
    const owners = [
      { subject: 'feature spend:cents_1h', owner: 'ledger' },
      { subject: 'feature spend:orders_1h', owner: 'nobody here' },
      { subject: 'service s', owner: 'growth' },
      { subject: 'view skus', owner: 'nobody here' },
      { subject: 'view spend', owner: 'payments' },
    ];
    const usage = usageOf({ ...definitions(), owners: create(DefinitionSetSchema, { owners }).owners }, 'orders');
    const [dropped] = judgeChange(contract(), contract(without('amount')), usage).changes;
    expect(dropped?.consumers).toEqual([
      {
        view: 'spend',
        features: ['spend:cents_1h'],
        services: ['s', 's:rich', 's:very'],
        owners: ['growth', 'ledger', 'payments'],
        ways: ['derived'],
        verdict: 'breaking',
        readable: false,
      },
    ]);
    const [narrowed] = judgeChange(contract(), contract(but('mood', { enumLabels: ['sad'] })), usage).changes;
    expect(narrowed?.consumers[0]).toMatchObject({
      ways: ['condition'],
      features: ['spend:cents_1h', 'spend:orders_1h'],
    });
  });

  it('guesses no rename where several columns could be it, unless the place tells', () => {
    const two = (columns: ColumnInit[]) =>
      [...columns, { ...columns[6], name: 'a' }, { ...columns[6], name: 'b' }] as ColumnInit[];
    const after = (columns: ColumnInit[]) =>
      [...columns, { ...columns[6], name: 'x' }, { ...columns[6], name: 'y' }] as ColumnInit[];
    const kinds = judgeChange(contract(two), contract(after), USAGE).changes.map(({ change }) => [
      change.kind,
      change.column,
      change.after,
    ]);
    expect(kinds).toEqual([
      ['renamed', 'a', 'x'],
      ['renamed', 'b', 'y'],
    ]);
    const moved = (columns: ColumnInit[]) => [{ ...columns[6], name: 'x' } as ColumnInit, ...columns];
    expect(judgeChange(contract(two), contract(moved), USAGE).changes.map(({ change }) => change.kind)).toEqual([
      'dropped',
      'dropped',
      'added',
    ]);
  });

  it('a swap of two names that both are read is told when the statement is known', () => {
    const renamed = new Map([
      ['amount', 'unread'],
      ['unread', 'amount'],
    ]);
    const changes = judgeChange(contract(), contract(), USAGE, { renamed }).changes;
    expect(changes.map(({ change }) => change.kind)).toContain('renamed');
  });

  it('key and identity matter to who reads changes, and are a note to who reads inserts', () => {
    const after = contract(undefined, { primaryKey: ['user_id'], replicaIdentity: ReplicaIdentity.NOTHING });
    expect(judgeChange(contract(), after, USAGE).verdict).toBe('compatible_with_note');
    const mutable = usageOf(definitions(SourceMode.MUTABLE), 'orders');
    const judgement = judgeChange(contract(), after, mutable);
    expect(judgement.changes.map(({ change, verdict }) => [change.kind, verdict])).toEqual([
      ['primary_key_changed', 'breaking'],
      ['replica_identity_changed', 'breaking'],
    ]);
    const full = contract(undefined, { replicaIdentity: ReplicaIdentity.FULL });
    expect(judgeChange(contract(), full, mutable).verdict).toBe('compatible_with_note');
  });

  it('a contract from before the details says by its text what it can, and nothing else is a change', () => {
    const legacy = contract((columns) =>
      columns.map(({ name, type = { kind: Kind.STRING }, sourceType = '', sourceTypeOid = 0 }) => ({
        name,
        type,
        sourceType,
        sourceTypeOid,
      })),
    );
    expect(judgeChange(legacy, contract(), USAGE).changes).toEqual([]);
    const [change] = judgeChange(
      legacy,
      contract(but('sku', { length: 10, sourceType: 'character varying(10)' })),
      USAGE,
    ).changes;
    expect(change?.change).toMatchObject({ kind: 'length_narrowed', before: '20', after: '10' });
  });

  it('says of a wider column when Postgres writes its table anew for it, as rows are held then', () => {
    const told = (change: (columns: ColumnInit[]) => ColumnInit[]) =>
      judge(change).changes.map(({ sentence }) => sentence);
    expect(told(but('user_id', { sourceType: 'bigint', sourceTypeOid: 20 }))[0]).toMatch(
      /bigint, was integer; .*are held/,
    );
    expect(told(but('amount', { precision: 14, scale: 4 }))[0]).toMatch(/14,4, was 10,2; .*are held/);
    expect(told(but('amount', { precision: 12 }))).toEqual(['column amount has more digits: 12,2, was 10,2.']);
    expect(told(but('amount', { precision: undefined, scale: undefined }))[0]).toMatch(/without limit, was 10,2\.$/);
  });

  it('a USING cast computes values anew, even to the same type', () => {
    const judgement = judgeChange(contract(), contract(), USAGE, { rewritten: new Set(['amount']) });
    expect(judgement.changes.map(({ change, verdict }) => [change.kind, verdict])).toEqual([
      ['values_rewritten', 'breaking'],
    ]);
  });
});

it('a contract tells that values were computed anew; what it does not tell any more is no change', () => {
  const since = (us: bigint) => contract(but('amount', { valuesSinceUs: us }));
  const kinds = (was: bigint, is: bigint) =>
    judgeChange(since(was), since(is), USAGE).changes.map(({ change }) => change.kind);
  expect(kinds(0n, 5n)).toEqual(['values_rewritten']);
  expect(kinds(5n, 6n)).toEqual(['values_rewritten']);
  expect(kinds(5n, 5n)).toEqual([]);
  expect(kinds(5n, 0n)).toEqual([]);
});

describe('gateVerdict', () => {
  const cases: readonly [string, (columns: ColumnInit[]) => ColumnInit[], string, string, string][] = [
    ['narrower', but('sku', { length: 10, sourceType: 'character varying(10)' }), 'hold', 'hold', 'pass_with_note'],
    ['wider', but('sku', { length: 30, sourceType: 'character varying(30)' }), 'hold', 'pass', 'pass_with_note'],
    ['nulls', but('amount', { nullable: true }), 'hold', 'pass_with_note', 'pass_with_note'],
    ['dropped', without('amount'), 'hold', 'hold', 'hold'],
    ['unread', without('unread'), 'pass', 'pass', 'pass'],
  ];
  it.each(cases)('%s', (_what, change, strict, evolve, notify) => {
    const judgement = judge(change);
    expect(gateVerdict(judgement, ChangePolicy.STRICT)).toBe(strict);
    expect(gateVerdict(judgement, ChangePolicy.EVOLVE)).toBe(evolve);
    expect(gateVerdict(judgement, ChangePolicy.UNSPECIFIED)).toBe(evolve);
    expect(gateVerdict(judgement, ChangePolicy.NOTIFY)).toBe(notify);
  });

  it('holds rows of values that were computed anew, as those of before mean another thing', () => {
    const judged = (name: string) => judgeChange(contract(), contract(), USAGE, { rewritten: new Set([name]) });
    expect(gateVerdict(judged('amount'), ChangePolicy.STRICT)).toBe('hold');
    expect(gateVerdict(judged('amount'), ChangePolicy.EVOLVE)).toBe('hold');
    expect(gateVerdict(judged('amount'), ChangePolicy.NOTIFY)).toBe('pass_with_note');
    expect(gateVerdict(judged('unread'), ChangePolicy.STRICT)).toBe('pass');
  });
});
