/**
 * Goal: what the stream's messages mean: which routes take a row, its place in the lane, what a key change tells.
 * Method: messages by hand into the pure change stream, records decoded. Real streams are io/postgres-source.pg.test.ts.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { type Change, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { decodeKey } from '@freshet/values/key.ts';
import { describe, expect, it } from 'vitest';
import type { Batch } from './batch.ts';
import { ChangeStream, type LiveRoute } from './change-stream.ts';
import type { PgOutputMessage, Tuple } from './pgoutput/messages.ts';
import { prepareRoute } from './route.ts';

const NOW_US = 1_800_000_000_000_000;

function live(route: number, fromLsn: bigint, mode: SourceMode = SourceMode.APPEND): LiveRoute {
  const plan = create(RoutePlanSchema, {
    route,
    source: {
      name: 's',
      mode,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      maxSkewUs: 5_000_000n,
      contract: {
        version: 9,
        columns: [
          { name: 'id', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20 },
          { name: 'user', type: { kind: Kind.STRING }, sourceType: 'text', sourceTypeOid: 25 },
        ],
      },
    },
    entity: { name: 'user', key: [{ name: 'user', kind: Kind.STRING }] },
    keyColumns: ['user'],
  });
  return { route: prepareRoute(plan, 3, 4), fromLsn };
}

const begin = (lsn: bigint): PgOutputMessage => ({
  kind: 'begin',
  commitLsn: lsn,
  commitTimeUs: NOW_US - 1000,
  xid: 1,
});
const commit = (lsn: bigint): PgOutputMessage => ({
  kind: 'commit',
  commitLsn: lsn,
  endLsn: lsn + 8n,
  commitTimeUs: NOW_US - 1000,
});
const insert = (row: Tuple): PgOutputMessage => ({ kind: 'insert', relationId: 7, row });

function relation(
  columns: readonly (readonly [name: string, oid: number])[] = [
    ['user', 25],
    ['id', 20],
    ['more', 25],
  ],
): PgOutputMessage {
  return {
    kind: 'relation',
    relation: {
      id: 7,
      schema: 'public',
      table: 't',
      replicaIdentity: 'd',
      columns: columns.map(([name, typeOid]) => ({ name, typeOid, typeModifier: -1, identity: false })),
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
    const stream = new ChangeStream([live(1, 0n, SourceMode.MUTABLE)]);
    const update = (old: { whole: boolean; values: Tuple } | undefined): PgOutputMessage => ({
      kind: 'update',
      relationId: 7,
      old,
      row: ['a', undefined, null],
    });
    const whole = feed(stream, begin(1n), relation(), update({ whole: true, values: ['a', '5', null] }));
    expect(changes(whole)[0]?.row[0]?.kind.value).toBe(5n);
    const unknown = feed(stream, update(undefined));
    expect(unknown.count).toBe(0);
    expect(unknown.quarantine).toMatchObject([{ reason: 'unchanged_value', values: { user: 'a' } }]);
  });

  it('tells the old key when an update moves a row, after the new one', () => {
    const stream = new ChangeStream([live(1, 0n, SourceMode.MUTABLE)]);
    const moved = feed(stream, begin(1n), relation(), {
      kind: 'update',
      relationId: 7,
      old: { whole: false, values: ['a', null, null] },
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
      old: { whole: false, values: ['b', null, null] },
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

  it('refuses the first row of a shape that breaks the contract, not the relation alone', () => {
    const stream = new ChangeStream([live(1, 50n)]);
    const broken = relation([
      ['user', 25],
      ['id', 25],
    ]);
    // A row that the route does not take breaks nothing.
    feed(stream, begin(1n), broken, insert(['a', '1']), commit(1n), begin(60n));
    expect(() => stream.handle(insert(['a', 'x']), NOW_US)).toThrow(
      expect.objectContaining({
        code: 'CONTRACT_BROKEN',
        message: expect.stringContaining('column id is no longer bigint') as string,
      }),
    );
    stream.handle(relation([['user', 25]]), NOW_US);
    expect(() => stream.handle(insert(['a']), NOW_US)).toThrow(/column id \(bigint\) is gone/);
    // A wider type of the same kind, and another order, go on.
    stream.handle(
      relation([
        ['id', 23],
        ['user', 1043],
      ]),
      NOW_US,
    );
    stream.handle(insert(['2', 'a']), NOW_US);
  });
});
