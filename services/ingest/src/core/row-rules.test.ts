/**
 * Goal: a row that breaks a value rule is held by the policy, its table or its key only; what only tells passes and is counted;
 * and what is held of a key is released in order (C1). Method: messages by hand into the pure change stream, records decoded.
 */
import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { HoldScope, SourceMode, type ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type RoutePlan, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { expect, it } from 'vitest';
import { Batch } from './batch.ts';
import { ChangeStream } from './change-stream.ts';
import { EarlierDecisions } from './earlier-decisions.ts';
import type { LiveRoute } from './live-route.ts';
import type { PgOutputMessage, Relation, Tuple } from './pgoutput/messages.ts';
import { RELEASE_LANE, releaseEntry } from './release.ts';
import { prepareRoute, routeRow, SNAPSHOT_LANE } from './route.ts';
import { fitRow, routeChange } from './route-change.ts';

const NOW_US = 1_800_000_000_000_000;
const POSITIVE: MessageInitShape<typeof ValueRuleSchema> = {
  name: 'positive',
  rule: { case: 'expression', value: 'amount >= 0' },
};

function planOf(hold: HoldScope, rules: readonly MessageInitShape<typeof ValueRuleSchema>[]): RoutePlan {
  return create(RoutePlanSchema, {
    route: 1,
    source: {
      name: 's',
      mode: SourceMode.APPEND,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      hold,
      rules: [...rules],
      contract: {
        version: 1,
        columns: [
          { name: 'user', type: { kind: Kind.STRING }, sourceType: 'text', sourceTypeOid: 25 },
          { name: 'amount', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20, nullable: true },
        ],
      },
    },
    entity: { name: 'user', key: [{ name: 'user', kind: Kind.STRING }] },
    keyColumns: ['user'],
  });
}

function liveOf(...args: Parameters<typeof planOf>): LiveRoute {
  const route = prepareRoute(planOf(...args), 1, 1);
  return { route, earlier: [], tableOid: 7, floor: { version: 1, lsn: 0n }, fromLsn: 0n };
}

const relation: Relation = {
  id: 7,
  schema: 'public',
  table: 't',
  replicaIdentity: 'd',
  columns: [
    { name: 'user', typeOid: 25, typeModifier: -1, identity: false },
    { name: 'amount', typeOid: 20, typeModifier: -1, identity: false },
  ],
};
const RELATION: PgOutputMessage = { kind: 'relation', relation };

/** Each row a commit of its own, from 1 on. */
function feed(stream: ChangeStream, rows: readonly Tuple[]): Batch {
  rows.forEach((row, i) => {
    const commitLsn = BigInt(i + 1);
    stream.handle({ kind: 'begin', commitLsn, commitTimeUs: NOW_US, xid: i }, NOW_US);
    if (i === 0) stream.handle(RELATION, NOW_US);
    stream.handle({ kind: 'insert', relationId: 7, row }, NOW_US);
    stream.handle({ kind: 'commit', commitLsn, endLsn: commitLsn, commitTimeUs: NOW_US }, NOW_US);
  });
  return stream.takeBatch();
}

/** "lane/LSN value" of each record. */
function told(batch: Batch): string[] {
  return [...batch.records.values()].flat().flatMap((bytes) => {
    const { kind } = fromBinary(LogRecordSchema, bytes);
    if (kind.case !== 'change') return [];
    const { lane, sequence, row } = kind.value;
    const amount = row[1]?.kind.value;
    return [`${lane}/${sequence?.major} ${typeof amount === 'bigint' ? amount : 'null'}`];
  });
}

const held = (batch: Batch): string[] =>
  batch.quarantine.map(({ major, reason, held: scope, detail }) => `${major} ${reason} ${scope} ${detail}`.trim());

const ROWS: readonly Tuple[] = [
  ['a', '1'],
  ['a', '-1'],
  ['a', '2'],
  ['b', '3'],
  ['b', null],
];

it('C1: holds the table behind a row that breaks a rule', () => {
  const batch = feed(new ChangeStream([liveOf(HoldScope.UNSPECIFIED, [POSITIVE])]), ROWS);
  expect(told(batch)).toEqual(['2/1 1']);
  expect(held(batch)).toEqual([
    '2 rule table rule positive: amount >= 0 is false',
    '3 behind table',
    '4 behind table',
    '5 behind table',
  ]);
});

it('C1: with hold: key, holds its key only, and releases it in order under rules that it keeps', () => {
  const stream = new ChangeStream([liveOf(HoldScope.KEY, [POSITIVE])]);
  const batch = feed(stream, ROWS);
  expect(told(batch)).toEqual(['2/1 1', '2/4 3', '2/5 null']);
  expect(held(batch)).toEqual(['2 rule key rule positive: amount >= 0 is false', '3 behind key']);
  expect(batch.quarantine.map(({ keys }) => keys?.length)).toEqual([1, 1]);
  // What is held is known again from what is durable: the row behind waits in another stream as well.
  const again = new ChangeStream([{ ...liveOf(HoldScope.KEY, [POSITIVE]), hold: stream.holdOf(1) }]);
  expect(told(feed(again, ROWS))).toEqual(['2/1 1', '2/4 3', '2/5 null']);

  const settings = { lane: RELEASE_LANE, nowUs: NOW_US, values: [], unchanged: () => undefined, batch: new Batch() };
  const release = (live: LiveRoute) => batch.quarantine.map((entry) => releaseEntry(live, entry, settings)?.reason);
  expect(release(liveOf(HoldScope.KEY, [POSITIVE]))[0]).toBe('rule');
  settings.batch = new Batch();
  expect(release(liveOf(HoldScope.KEY, []))).toEqual([undefined, undefined]);
  expect(told(settings.batch)).toEqual(['3/2 -1', '3/3 2']);
});

it('passes and counts what only tells', () => {
  const live = liveOf(HoldScope.UNSPECIFIED, [{ ...POSITIVE, onlyTell: true }]);
  const batch = feed(new ChangeStream([live]), ROWS);
  expect(batch.count).toBe(ROWS.length);
  expect([...(live.route.rules?.told ?? [])]).toEqual([['positive', { rows: 1, reason: 'amount >= 0 is false' }]]);
});

it('asks a null rate of the newest rows, and not of a row that is released', () => {
  const rate = { name: 'there', rule: { case: 'nullRate' as const, value: { column: 'amount', max: 0.5, rows: 2 } } };
  const live = liveOf(HoldScope.KEY, [rate]);
  const batch = feed(new ChangeStream([live]), [
    ['a', null],
    ['b', null],
    ['c', '1'],
  ]);
  expect(told(batch)).toEqual(['2/1 null', '2/3 1']);
  expect(held(batch)[0]).toMatch(/^2 rule key rule there: column amount is null in 100\.0 % /);
  const settings = { lane: RELEASE_LANE, nowUs: NOW_US, values: [], unchanged: () => undefined, batch: new Batch() };
  expect(batch.quarantine.map((entry) => releaseEntry(live, entry, settings))).toEqual([undefined]);
});

it("asks a snapshot's rows, and puts the row alone aside", () => {
  const { route } = liveOf(HoldScope.UNSPECIFIED, [POSITIVE]);
  const row = { lane: SNAPSHOT_LANE, major: 1n, minor: 0, part: 0, committedUs: undefined, nowUs: NOW_US };
  const routed = ['1', '-1'].map((amount) =>
    routeRow(route, { ...row, operation: Operation.READ, values: ['a', amount] }),
  );
  expect(routed).toMatchObject([{ kind: 'record' }, { kind: 'quarantine', entry: { reason: 'rule' } }]);
});

it.each(['infinity', '-infinity'])(
  'C1: puts a row with %s aside where a rule that holds asks of it, though no view reads it',
  (none) => {
    const rule = {
      name: 'ends',
      rule: { case: 'expression' as const, value: "amount < timestamp('2100-01-01T00:00:00Z')" },
    };
    const routed = [false, true].map((onlyTell) => {
      const plan = planOf(HoldScope.UNSPECIFIED, [{ ...rule, onlyTell }]);
      const column = must(plan.source?.contract?.columns[1]);
      Object.assign(column, { sourceTypeOid: 1184, type: create(ValueTypeSchema, { kind: Kind.TIMESTAMP }) });
      const route = prepareRoute(plan, 1, 1, EarlierDecisions.NONE, new Set(['user']));
      const fitted = fitRow(
        route,
        { relation, operation: Operation.INSERT, row: ['a', none], old: undefined },
        [0, 1],
        () => null,
      );
      const base = { lane: 2, major: 1n, minor: 0, committedUs: NOW_US, nowUs: NOW_US };
      return routeChange(route, Operation.INSERT, fitted, base);
    });
    expect(routed).toMatchObject([[{ kind: 'quarantine', entry: { reason: 'bad_value' } }], [{ kind: 'record' }]]);
  },
);

it('leaves out, under an earlier contract, what is asked of columns that it does not have', () => {
  const unknown = { name: 'other', rule: { case: 'expression' as const, value: 'missing > 1' } };
  const plan = planOf(HoldScope.UNSPECIFIED, [POSITIVE, unknown]);
  expect(() => prepareRoute(plan, 1, 1)).toThrow(expect.objectContaining({ code: 'INVALID_DEFINITION' }) as Error);
  const { rules } = prepareRoute(plan, 1, 1, EarlierDecisions.NONE, undefined, { isEarlier: true });
  expect(rules?.check(['a', -1n], false)).toBe('rule positive: amount >= 0 is false');
});

it('I2: does not count a large value that was not sent as a null, and asks no rule about it', () => {
  const plan = planOf(HoldScope.TABLE, [
    { name: 'known', rule: { case: 'nullRate', value: { column: 'amount', max: 0.4, rows: 5 } } },
    { name: 'there', rule: { case: 'expression', value: 'amount != null' } },
  ]);
  // Nobody reads the amount, so that an update which does not tell it passes.
  const { stream, take } = updates(plan, new Set(['user']));
  for (let i = 1n; i <= 9n; i++) take(i, ['a', undefined]);
  expect(stream.takeBatch().quarantine).toEqual([]);
  take(10n, ['a', null]);
  expect(stream.takeBatch().quarantine).toMatchObject([{ reason: 'rule', detail: expect.stringContaining('there') }]);
});

it('C1: by key, holds the table when the key of a large value was not sent: whose row it is nobody knows', () => {
  const { stream, take } = updates(planOf(HoldScope.KEY, []), undefined);
  take(1n, [undefined, '5']);
  take(2n, ['a', '6']);
  const { quarantine, count } = stream.takeBatch();
  expect(quarantine).toMatchObject([
    { reason: 'unchanged_value', held: 'table' },
    { reason: 'behind', held: 'table' },
  ]);
  expect(count).toBe(0);
});

it('C1: holds a table that got a column under the name that a mapping gives to another', () => {
  const live = liveOf(HoldScope.UNSPECIFIED, []);
  const mapping = { version: 1, columns: { amount: 'total' }, labels: {} };
  const stream = new ChangeStream([{ ...live, mapping }]);
  const { relation } = RELATION as { readonly relation: Relation };
  const column = { typeOid: 20, typeModifier: -1, identity: false };
  const named = (...names: string[]): PgOutputMessage => ({
    kind: 'relation',
    relation: { ...relation, columns: [must(relation.columns[0]), ...names.map((name) => ({ ...column, name }))] },
  });
  stream.handle({ kind: 'begin', commitLsn: 1n, commitTimeUs: NOW_US, xid: 1 }, NOW_US);
  stream.handle(named('total'), NOW_US);
  stream.handle({ kind: 'insert', relationId: 7, row: ['a', '1'] }, NOW_US);
  stream.handle(named('total', 'amount'), NOW_US);
  stream.handle({ kind: 'insert', relationId: 7, row: ['a', '2', '3'] }, NOW_US);
  const batch = stream.takeBatch();
  expect([batch.count, batch.quarantine]).toMatchObject([
    1,
    [{ reason: 'shape', detail: 'the table has a column amount of its own, so that total cannot be read as it' }],
  ]);
});

/** A stream of a mutable source keyed by its user, of updates without an old row, each a commit of its own. */
function updates(
  plan: RoutePlan,
  needed: ReadonlySet<string> | undefined,
): { stream: ChangeStream; take: (commitLsn: bigint, row: Tuple) => void } {
  const source = must(plan.source);
  source.mode = SourceMode.MUTABLE;
  must(source.contract).primaryKey = ['user'];
  const route = prepareRoute(plan, 1, 1, EarlierDecisions.NONE, needed);
  const floor = { version: 1, lsn: 0n };
  const stream = new ChangeStream([{ route, earlier: [], tableOid: 7, floor, fromLsn: 0n }]);
  const { relation } = RELATION as { readonly relation: Relation };
  const columns = relation.columns.map((column) => ({ ...column, identity: column.name === 'user' }));
  const take = (commitLsn: bigint, row: Tuple): void => {
    stream.handle({ kind: 'begin', commitLsn, commitTimeUs: NOW_US, xid: 1 }, NOW_US);
    stream.handle({ kind: 'relation', relation: { ...relation, columns } }, NOW_US);
    stream.handle({ kind: 'update', relationId: 7, row, old: undefined }, NOW_US);
    stream.handle({ kind: 'commit', commitLsn, endLsn: commitLsn, commitTimeUs: NOW_US }, NOW_US);
  };
  return { stream, take };
}

it('C1: names whom a broken rule and a table under another name touch', () => {
  const reader = { view: 'v', features: ['v:f'], services: ['s'], owners: ['growth'] };
  const usage = () => ({ source: 's', columns: new Map(), readers: [reader], needIdentity: new Set<string>() });
  const live = liveOf(HoldScope.UNSPECIFIED, [POSITIVE]);
  const named = { ...live, route: { ...live.route, usage } };
  const touched = '(touches features v:f; services s; owners growth)';
  expect(held(feed(new ChangeStream([named]), ROWS))[0]).toBe(
    `2 rule table rule positive: amount >= 0 is false ${touched}`,
  );
  const moved = { ...named, tableOid: 8 };
  expect(held(feed(new ChangeStream([moved]), ROWS))[0]).toMatch(/^1 moved table public\.t was renamed or replaced: /);
  expect(held(feed(new ChangeStream([moved]), ROWS))[0]).toContain(touched);
});
