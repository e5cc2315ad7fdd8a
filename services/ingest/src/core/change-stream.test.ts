/**
 * Goal: what the stream's messages mean: which routes take a row, its place in the lane, what a key change tells.
 * Method: messages by hand into the pure change stream, records decoded. Real streams are io/postgres-source.pg.test.ts.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { type Change, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ContractSchema, HoldScope, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { decodeKey } from '@freshet/values/key.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import { describe, expect, it } from 'vitest';
import type { Batch } from './batch.ts';
import { ChangeStream } from './change-stream.ts';
import { EarlierDecisions } from './earlier-decisions.ts';
import { Hold } from './hold.ts';
import type { LiveRoute } from './live-route.ts';
import type { PgOutputMessage, Tuple } from './pgoutput/messages.ts';
import { placeName } from './quarantine.ts';
import { prepareRoute, withColumnTypes } from './route.ts';

const NOW_US = 1_800_000_000_000_000;

function live(
  route: number,
  fromLsn: bigint,
  mode: SourceMode = SourceMode.APPEND,
  primaryKey: readonly string[] = [],
): LiveRoute {
  const plan = create(RoutePlanSchema, {
    route,
    source: {
      name: 's',
      mode,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      maxSkewUs: 5_000_000n,
      contract: {
        version: 9,
        primaryKey: [...primaryKey],
        columns: [
          { name: 'id', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20 },
          { name: 'user', type: { kind: Kind.STRING }, sourceType: 'text', sourceTypeOid: 25 },
        ],
      },
    },
    entity: { name: 'user', key: [{ name: 'user', kind: Kind.STRING }] },
    keyColumns: ['user'],
  });
  return {
    route: prepareRoute(plan, 3, 4),
    earlier: [],
    tableOid: 7,
    floor: { version: 9, lsn: fromLsn },
    fromLsn,
  };
}

const commitTimeUs = NOW_US - 1000;
const begin = (lsn: bigint): PgOutputMessage => ({ kind: 'begin', commitLsn: lsn, commitTimeUs, xid: 1 });
const commit = (lsn: bigint): PgOutputMessage => ({ kind: 'commit', commitLsn: lsn, endLsn: lsn + 8n, commitTimeUs });
const insert = (row: Tuple): PgOutputMessage => ({ kind: 'insert', relationId: 7, row });

function relation(
  columns: readonly (readonly [name: string, oid: number])[] = [
    ['user', 25],
    ['id', 20],
    ['more', 25],
  ],
  replicaIdentity = 'd',
): PgOutputMessage {
  return {
    kind: 'relation',
    relation: {
      id: 7,
      schema: 'public',
      table: 't',
      replicaIdentity,
      columns: columns.map(([name, typeOid]) => ({
        name,
        typeOid,
        typeModifier: -1,
        identity: replicaIdentity === 'f' || name !== 'more',
      })),
    },
  };
}

function changes(batch: Batch): Change[] {
  return [...batch.records.values()].flat().flatMap((bytes) => {
    const { kind } = fromBinary(LogRecordSchema, bytes);
    return kind.case === 'change' ? [kind.value] : [];
  });
}

function feed(stream: ChangeStream, ...messages: readonly PgOutputMessage[]): Batch {
  for (const message of messages) stream.handle(message, NOW_US);
  return stream.takeBatch();
}

describe('ChangeStream', () => {
  it('takes values by column name, and gives each row its place', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    const batch = feed(
      stream,
      begin(100n),
      relation(),
      insert(['a', '1', 'x']),
      insert(['a', '2', null]),
      commit(100n),
    );
    expect(batch.position).toBe(108n);
    expect(changes(batch)).toMatchObject([
      {
        route: 1,
        generation: 3,
        lane: 2,
        contractVersion: 9,
        operation: Operation.INSERT,
        sequence: { major: 100n, minor: 0n, part: 0 },
        eventTimeUs: BigInt(NOW_US - 1000),
        knownAtUs: BigInt(NOW_US - 1000),
        row: [{ kind: { value: 1n } }, { kind: { value: 'a' } }],
      },
      { sequence: { major: 100n, minor: 1n, part: 0 } },
    ]);
  });

  it('counts rows by table, so that a table that joins the publication does not shift the others', () => {
    const other: PgOutputMessage = {
      kind: 'relation',
      relation: { id: 8, schema: 'public', table: 'other', replicaIdentity: 'd', columns: [] },
    };
    const alone = changes(
      feed(
        new ChangeStream([live(1, 0n)]),
        begin(1n),
        relation(),
        insert(['a', '1', null]),
        insert(['a', '2', null]),
        commit(1n),
      ),
    );
    const among = changes(
      feed(
        new ChangeStream([live(1, 0n)]),
        begin(1n),
        other,
        { kind: 'insert', relationId: 8, row: [] },
        relation(),
        insert(['a', '1', null]),
        { kind: 'insert', relationId: 8, row: [] },
        insert(['a', '2', null]),
        commit(1n),
      ),
    );
    expect(among).toEqual(alone);
  });

  it('leaves out of each route what its snapshot has', () => {
    const stream = new ChangeStream([live(1, 100n), live(2, 200n)]);
    feed(stream, begin(99n), relation(), insert(['a', '1', null]), commit(99n));
    expect(stream.rows).toBe(1);
    expect(
      changes(feed(stream, begin(100n), insert(['a', '2', null]), commit(100n))).map(({ route }) => route),
    ).toEqual([1]);
    expect(
      changes(feed(stream, begin(200n), insert(['a', '3', null]), commit(200n))).map(({ route }) => route),
    ).toEqual([1, 2]);
  });

  it('has a position only when a commit ended, also with records of the next transaction behind it', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    expect(feed(stream, begin(1n), relation(), insert(['a', '1', null])).position).toBeUndefined();
    expect(stream.inTransaction).toBe(true);
    expect(feed(stream, commit(1n), begin(20n), insert(['a', '2', null])).position).toBe(9n);
  });

  it('I2: never takes an unchanged value for anything: from the old row if that is whole, else into quarantine', () => {
    const stream = new ChangeStream([live(1, 0n, SourceMode.MUTABLE, ['user', 'id'])]);
    const update = (old: { whole: boolean; values: Tuple } | undefined): PgOutputMessage => ({
      kind: 'update',
      relationId: 7,
      old,
      row: ['a', undefined, null],
    });
    const whole = feed(stream, begin(1n), relation(undefined, 'f'), update({ whole: true, values: ['a', '5', null] }));
    expect(changes(whole)[0]?.row[0]?.kind.value).toBe(5n);
    const unknown = feed(stream, relation(), update(undefined));
    expect(unknown.count).toBe(0);
    expect(unknown.quarantine).toMatchObject([{ reason: 'unchanged_value', values: { user: 'a' } }]);
  });

  it('tells the old key when an update moves a row, after the new one', () => {
    const stream = new ChangeStream([live(1, 0n, SourceMode.MUTABLE, ['user', 'id'])]);
    const moved = feed(stream, begin(1n), relation(), {
      kind: 'update',
      relationId: 7,
      old: { whole: false, values: ['a', '1', null] },
      row: ['b', '1', null],
    });
    const told = changes(moved).sort((a, b) => (a.sequence?.part ?? 0) - (b.sequence?.part ?? 0));
    expect(told.map((c) => [c.operation, decodeKey([Kind.STRING], c.entityKey)[0], c.sequence?.part])).toEqual([
      [Operation.UPDATE, 'b', 0],
      [Operation.DELETE, 'a', 1],
    ]);
    const stayed = feed(stream, {
      kind: 'update',
      relationId: 7,
      old: { whole: false, values: ['b', '1', null] },
      row: ['b', '2', null],
    });
    expect(changes(stayed)).toHaveLength(1);
  });

  it('ignores updates, deletes and truncations of append sources', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    const batch = feed(
      stream,
      begin(1n),
      relation(),
      { kind: 'update', relationId: 7, old: undefined, row: ['b', '1', null] },
      { kind: 'delete', relationId: 7, old: { whole: false, values: ['b', null, null] } },
      { kind: 'truncate', relationIds: [7], cascade: false, restartIdentity: false },
      commit(1n),
    );
    expect(batch.isEmpty).toBe(true);
    expect(batch.position).toBe(9n);
  });

  it('counts rows that belong to no entity, also when a batch has no others', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    const batch = feed(stream, begin(1n), relation(), insert([null, '1', null]), commit(1n));
    expect(batch).toMatchObject({ isEmpty: false, count: 0, unkeyed: 1, position: 9n });
  });

  it('C1: holds the first row of a shape that breaks the contract and all behind it, not the relation alone', () => {
    const stream = new ChangeStream([live(1, 50n)]);
    const broken = relation([
      ['user', 25],
      ['id', 25],
    ]);
    // A row that the route does not take breaks nothing.
    feed(stream, begin(1n), broken, insert(['a', '1']), commit(1n), begin(60n));
    const batch = feed(stream, insert(['a', 'x']), relation(), insert(['b', '1', 'y']), commit(60n));
    expect(batch.count).toBe(0);
    expect(batch.quarantine).toMatchObject([
      {
        reason: 'shape',
        detail: 'column id is text, was bigint',
        held: 'table',
        major: 60n,
        minor: 0,
        values: { user: 'a', id: 'x' },
      },
      { reason: 'behind', held: 'table', major: 60n, minor: 1, values: { user: 'b', id: '1', more: 'y' } },
    ]);
    expect(batch.position).toBe(68n);
    // What was held is released: rows are judged anew.
    stream.letFlow(1);
    expect(changes(feed(stream, begin(70n), insert(['b', '1', 'y']), commit(70n)))).toHaveLength(1);
  });

  it('C1: passes a truncation that comes again from before the first row that is held of a key', () => {
    const hold = new Hold();
    const lives = live(1, 0n, SourceMode.MUTABLE, ['user', 'id']);
    const route = { ...lives.route, hold: HoldScope.KEY };
    const first = new ChangeStream([{ ...lives, route }]);
    const [held] = feed(first, begin(60n), relation(), insert(['a', 'no number', null])).quarantine;
    expect(held).toMatchObject({ reason: 'bad_value', held: 'key', major: 60n });
    hold.add(must(held));
    const again = new ChangeStream([{ ...lives, route, hold }]);
    const truncate: PgOutputMessage = { kind: 'truncate', relationIds: [7], cascade: false, restartIdentity: false };
    // Held, its entry would be one that is there already, by its lane's mark, and so be nowhere.
    const before = feed(again, begin(50n), relation(), truncate, insert(['b', '1', null]), commit(50n));
    expect(before.quarantine).toEqual([]);
    expect(before.count).toBe(5);
    expect(feed(again, begin(70n), truncate).quarantine).toMatchObject([{ held: 'table', truncates: true }]);
  });

  it('shows each shape that rows came in, once, with the commit that had it first', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    feed(stream, begin(60n), relation(), insert(['a', '1', 'x']), commit(60n), begin(61n), insert(['a', '2', 'x']));
    const shapes = stream.takeShown().map(({ contract, lsn }) => [lsn, ...contract.columns.map((c) => c.sourceType)]);
    expect(shapes).toEqual([[60n, 'text', 'bigint', 'text']]);
    feed(stream, commit(61n), begin(62n), relation([['id', 21]]), insert(['1']));
    const [shape, ...more] = stream.takeShown();
    expect(more).toEqual([]);
    expect(shape).toMatchObject({
      route: 1,
      lsn: 62n,
      contract: { columns: [{ name: 'id', sourceType: 'smallint' }] },
    });
  });

  it('passes what takes all values that the contract takes, and another order', () => {
    const stream = new ChangeStream([live(1, 0n)]);
    const reordered = relation([
      ['id', 20],
      ['user', 1043],
    ]);
    expect(changes(feed(stream, begin(60n), reordered, insert(['2', 'a']), commit(60n)))).toHaveLength(1);
    const narrower = relation([
      ['id', 23],
      ['user', 25],
    ]);
    expect(feed(stream, begin(70n), narrower, insert(['2', 'a'])).quarantine).toMatchObject([
      { reason: 'shape', detail: expect.stringContaining('column id is integer, was bigint') as string },
    ]);
  });

  it('holds rows of its table under another name and of another table under its name, and truncations with them', () => {
    const described = (id: number, table: string): PgOutputMessage => {
      const message = relation();
      if (message.kind !== 'relation') throw new Error('not a relation');
      return { kind: 'relation', relation: { ...message.relation, id, table } };
    };
    for (const [id, table] of [
      [7, 'renamed'],
      [8, 't'],
    ] as const) {
      const stream = new ChangeStream([live(1, 50n, SourceMode.MUTABLE)]);
      const row: PgOutputMessage = { kind: 'insert', relationId: id, row: ['a', '1', null] };
      // Before the route's snapshot it is no matter: so a new generation gets past it.
      expect(changes(feed(stream, begin(1n), described(id, table), row, commit(1n)))).toEqual([]);
      const truncate: PgOutputMessage = { kind: 'truncate', relationIds: [id], cascade: false, restartIdentity: false };
      expect(feed(stream, begin(60n), row, truncate).quarantine).toMatchObject([
        { reason: 'moved', held: 'table' },
        { reason: 'behind', truncates: true },
      ]);
    }
  });

  describe('with an earlier contract', () => {
    /** The route above is version 9; version 8 did not have the column id. */
    function withEarlier(floor: { version: number; lsn: bigint }): ChangeStream {
      const newest = live(1, 0n);
      const contract = {
        ...newest.route.contract,
        version: 8,
        columns: newest.route.contract.columns.filter(({ name }) => name === 'user'),
      };
      const earlier = { ...newest.route, contract, types: newest.route.types.slice(1), keyColumns: [0] };
      return new ChangeStream([{ ...newest, earlier: [earlier], floor }]);
    }
    const before = relation([['user', 25]]);

    it('takes a backlog of the old shape under the contract that it was written under, then the new shape', () => {
      const stream = withEarlier({ version: 8, lsn: 0n });
      const batch = feed(stream, begin(1n), before, insert(['a']), relation(), insert(['a', '5', 'x']), commit(1n));
      expect(changes(batch).map(({ contractVersion, row }) => [contractVersion, row.length])).toEqual([
        [8, 1],
        [9, 2],
      ]);
      expect(stream.floors.get(1)).toEqual({ version: 9, lsn: 1n });
    });

    it('C1: does not take a column dropped later for a backlog from before the column was there', () => {
      const stream = withEarlier({ version: 8, lsn: 0n });
      const held = [{ reason: 'shape', detail: 'column id (bigint) is gone' }];
      feed(stream, begin(5n), relation(), insert(['a', '1', 'x']), commit(5n), begin(6n), before);
      expect(feed(stream, insert(['a'])).quarantine).toMatchObject(held);
      // Nor after a restart, where what came before the column comes again.
      const again = withEarlier({ version: 9, lsn: 5n });
      expect(changes(feed(again, begin(4n), before, insert(['a']), commit(4n)))).toHaveLength(1);
      expect(feed(again, begin(6n), before, insert(['a'])).quarantine).toMatchObject(held);
    });
  });

  describe('whose routes are revised', () => {
    const wider = (route: LiveRoute): LiveRoute => {
      const columns = [
        ...route.route.contract.columns,
        { name: 'more', type: { kind: Kind.STRING }, sourceTypeOid: 25 },
      ];
      const contract = create(ContractSchema, { version: 10, primaryKey: ['user'], columns });
      const types = contract.columns.map(({ type }) => must(type));
      return { ...route, route: withColumnTypes({ ...route.route, contract, types }, []), earlier: [route.route] };
    };

    it('takes rows by the new contract from the next on, within a transaction and by a relation that it was told of', () => {
      const stream = new ChangeStream([live(1, 0n), live(2, 0n)]);
      feed(stream, begin(1n), relation(), insert(['a', '1', 'x']));
      stream.revise((one) => (one.route.number === 1 ? wider(one) : one));
      const rows = changes(feed(stream, insert(['a', '2', 'y']), commit(1n)));
      expect(rows.map(({ route, contractVersion, row }) => [route, contractVersion, row.length])).toEqual([
        [1, 10, 3],
        [2, 9, 2],
      ]);
      expect(rows.every(({ sequence }) => sequence?.minor === 1n)).toBe(true);
      expect([stream.floors.get(1)?.version, stream.floors.get(2)?.version]).toEqual([10, 9]);
    });

    it('forgets what it does not take any more, and takes it again only from where it is told to', () => {
      const stream = new ChangeStream([live(1, 0n), live(2, 0n)]);
      feed(stream, begin(1n), relation(), insert(['a', '1', null]), commit(1n));
      stream.revise((one) => (one.route.number === 1 ? undefined : one));
      const rows = changes(feed(stream, begin(9n), insert(['a', '2', null]), commit(9n)));
      expect(rows.map(({ route }) => route)).toEqual([2]);
      expect([...stream.floors.keys()]).toEqual([2]);
      expect(stream.tryAdopt([live(1, 20n)])).toBe(true);
      const later = changes(feed(stream, begin(20n), insert(['a', '3', null]), commit(20n)));
      expect(new Set(later.map(({ route }) => route))).toEqual(new Set([1, 2]));
    });

    it('C1: goes on holding what it holds, until that is released', () => {
      const stream = new ChangeStream([live(1, 0n)]);
      const broken = relation([['user', 25]]);
      expect(feed(stream, begin(1n), broken, insert(['a'])).quarantine).toMatchObject([{ reason: 'shape' }]);
      stream.revise(wider);
      const all = relation();
      const batch = feed(stream, all, insert(['a', '2', 'y']), commit(1n));
      expect([changes(batch).length, batch.quarantine.map(({ reason }) => reason)]).toEqual([0, ['behind']]);
      stream.letFlow(1);
      const [flows] = changes(feed(stream, begin(9n), insert(['a', '3', 'z']), commit(9n)));
      expect(flows?.contractVersion).toBe(10);
    });

    it('I2: leaves out no value of a column that is needed from now on, and forgets no hole that was there', () => {
      const needing = (...names: string[]): LiveRoute => {
        const one = live(1, 0n, SourceMode.MUTABLE, ['user']);
        return { ...one, route: { ...one.route, needed: new Set(names) } };
      };
      const stream = new ChangeStream([needing('user')]);
      const update: PgOutputMessage = { kind: 'update', relationId: 7, old: undefined, row: ['a', undefined, null] };
      const told = relation(undefined, 'i');
      const keyed =
        told.kind === 'relation' ? told.relation.columns.map((c) => ({ ...c, identity: c.name === 'user' })) : [];
      const described = { ...told, relation: { ...(told as { relation: object }).relation, columns: keyed } };
      const first = feed(stream, begin(1n), described as PgOutputMessage, update);
      expect([changes(first).length, stream.holes.get(1)]).toEqual([1, new Set(['id'])]);
      stream.revise(() => needing('user', 'id'));
      expect(feed(stream, update).quarantine).toMatchObject([{ reason: 'unchanged_value' }]);
      expect(stream.holes.get(1)).toEqual(new Set(['id']));
    });
  });

  it('leaves a row in quarantine that comes again once the clock caught up with its event time', () => {
    const plain = live(1, 0n);
    const columns = [
      { name: 'user', sourceTypeOid: 25, type: { kind: Kind.STRING } },
      { name: 'at', sourceTypeOid: 1184, type: { kind: Kind.TIMESTAMP } },
    ];
    const contract = create(ContractSchema, { version: 9, columns });
    const types = contract.columns.map(({ type }) => must(type));
    const route = withColumnTypes({ ...plain.route, contract, types, keyColumns: [0], eventTimeColumn: 1 }, []);
    const messages = [
      begin(5n),
      relation([
        ['user', 25],
        ['at', 1184],
      ]),
      insert(['a', '2027-01-15 08:00:30+00']), // NOW_US and 30 s
    ];
    const first = feed(new ChangeStream([{ ...plain, route }]), ...messages).quarantine;
    expect(first).toMatchObject([{ reason: 'event_time_ahead' }]);
    const aside = new Set(first.map(placeName));
    // Undefined: entries before it were lost.
    for (const newestAside of [first[0], undefined]) {
      const decisions = new EarlierDecisions({ lane: 2, aside, newestAlone: first[0], newestAside, inLog: new Map() });
      const stream = new ChangeStream([{ ...plain, route: { ...route, decisions } }]);
      for (const message of [...messages, insert(['a', '2027-01-15 08:00:30+00'])]) {
        stream.handle(message, NOW_US + 60_000_000);
      }
      const again = stream.takeBatch();
      expect(again.quarantine).toEqual([]);
      expect(changes(again).map(({ sequence }) => sequence?.minor)).toEqual([1n]);
    }
  });

  it('reads a number as wide as the row has it: real rounds to a float, double precision does not', () => {
    const plain = live(1, 0n);
    const columns = [
      { name: 'user', sourceTypeOid: 25, type: { kind: Kind.STRING } },
      { name: 'x', sourceTypeOid: 700, type: { kind: Kind.DOUBLE } },
      { name: 'xs', sourceTypeOid: 1021, type: { kind: Kind.LIST, element: Kind.DOUBLE } },
    ];
    const contract = create(ContractSchema, { version: 9, columns });
    const route = {
      ...plain.route,
      contract,
      types: contract.columns.map(({ type }) => must(type)),
      keyColumns: [0],
    };
    const stream = new ChangeStream([{ ...plain, route }]);
    const shape = (oid: number, arrayOid: number): PgOutputMessage =>
      relation([
        ['user', 25],
        ['x', oid],
        ['xs', arrayOid],
      ]);
    const row = insert(['a', '0.1', '{0.1}']);
    const taken = changes(feed(stream, begin(1n), shape(700, 1021), row, shape(701, 1022), row, commit(1n)));
    expect(taken.map((change) => change.row.slice(1).map(valueFromProto))).toEqual([
      [Math.fround(0.1), [Math.fround(0.1)]],
      [0.1, [0.1]],
    ]);
  });
});
