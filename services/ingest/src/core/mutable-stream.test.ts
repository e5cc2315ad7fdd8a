/**
 * Goal: changes of mutable sources say which row they are about, whichever replica identity tells it; rows of a stream that
 * no longer does are held. Method: messages by hand into the pure change stream. Real histories: io/mutable.pg.test.ts.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { type Change, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ReplicaIdentity, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { decodeKey } from '@freshet/values/key.ts';
import { describe, expect, it } from 'vitest';
import { ChangeStream } from './change-stream.ts';
import { EarlierDecisions } from './earlier-decisions.ts';
import type { PgOutputMessage, Tuple } from './pgoutput/messages.ts';
import { prepareRoute } from './route.ts';
import { encodeRowKey } from './row-key.ts';

const NOW_US = 1_800_000_000_000_000;
const INT = { kind: Kind.INT64 };

/** A table (id, user, at) of which rows are told apart as said. */
function streamOf(
  identity: { primaryKey?: string[]; index?: string[] },
  eventTime = '',
  needed?: ReadonlySet<string>,
): ChangeStream {
  const plan = create(RoutePlanSchema, {
    route: 1,
    source: {
      name: 's',
      mode: SourceMode.MUTABLE,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      maxSkewUs: 5_000_000n,
      eventTimeColumn: eventTime,
      contract: {
        version: 1,
        columns: [
          { name: 'id', type: INT, sourceTypeOid: 20, nullable: true },
          { name: 'user', type: INT, sourceTypeOid: 20 },
          { name: 'at', type: { kind: Kind.TIMESTAMP }, sourceTypeOid: 1184 },
        ],
        primaryKey: identity.primaryKey ?? [],
        replicaIdentity: identity.index === undefined ? ReplicaIdentity.DEFAULT : ReplicaIdentity.INDEX,
        replicaIdentityColumns: identity.index ?? [],
      },
    },
    entity: { name: 'user', key: [{ name: 'user', kind: Kind.INT64 }] },
    keyColumns: ['user'],
  });
  const route = prepareRoute(plan, 1, 4, EarlierDecisions.NONE, needed);
  return new ChangeStream([{ route, earlier: [], tableOid: 7, floor: { version: 1, lsn: 0n }, fromLsn: 0n }]);
}

/** The columns in another order than the contract's. */
function relation(replicaIdentity: string, told: readonly string[]): PgOutputMessage {
  const columns = [
    { name: 'at', typeOid: 1184 },
    { name: 'user', typeOid: 20 },
    { name: 'id', typeOid: 20 },
  ].map((column) => ({ ...column, typeModifier: -1, identity: told.includes(column.name) }));
  return { kind: 'relation', relation: { id: 7, schema: 'public', table: 't', replicaIdentity, columns } };
}

const BEGIN: PgOutputMessage = { kind: 'begin', commitLsn: 1n, commitTimeUs: NOW_US, xid: 1 };
const AT = '2020-01-01 00:00:00+00';
const insert = (row: Tuple): PgOutputMessage => ({ kind: 'insert', relationId: 7, row });
const update = (row: Tuple, old?: Tuple, whole = false): PgOutputMessage => ({
  kind: 'update',
  relationId: 7,
  row,
  old: old === undefined ? undefined : { whole, values: old },
});
const remove = (values: Tuple, whole = false): PgOutputMessage => ({
  kind: 'delete',
  relationId: 7,
  old: { whole, values },
});

interface Told {
  readonly operation: Operation;
  readonly user: unknown;
  readonly part: number;
  readonly row: string;
  readonly old: string;
}

function told(stream: ChangeStream, ...messages: readonly PgOutputMessage[]): { changes: Told[]; aside: string[] } {
  for (const message of messages) stream.handle(message, NOW_US);
  const batch = stream.takeBatch();
  const changes = [...batch.records.values()].flat().flatMap((bytes): Change[] => {
    const { kind } = fromBinary(LogRecordSchema, bytes);
    return kind.case === 'change' ? [kind.value] : [];
  });
  const order = (c: Change): number => Number(c.sequence?.minor) * 2 + (c.sequence?.part ?? 0);
  return {
    changes: changes
      .sort((a, b) => order(a) - order(b))
      .map((c) => ({
        operation: c.operation,
        user: decodeKey([Kind.INT64], c.entityKey)[0],
        part: c.sequence?.part ?? 0,
        row: Buffer.from(c.rowKey).toString('hex'),
        old: Buffer.from(c.oldRowKey).toString('hex'),
      })),
    aside: batch.quarantine.map(({ reason }) => reason),
  };
}

/** The key of a row, by the texts of its identity. */
function key(...texts: (string | null)[]): string {
  const types = texts.map(() => ({ kind: Kind.STRING }) as Parameters<typeof encodeRowKey>[1][number]);
  return Buffer.from(encodeRowKey(texts, types)).toString('hex');
}

describe('row keys of mutable sources', () => {
  it('F2: name the row by its primary key: inserted, updated in place, under another key, moved, deleted', () => {
    const stream = streamOf({ primaryKey: ['user', 'id'] });
    const { changes } = told(
      stream,
      BEGIN,
      relation('d', ['user', 'id']),
      insert([AT, '5', '1']),
      update([AT, '5', '1']),
      update([AT, '5', '2'], [null, '5', '1']),
      update([AT, '6', '2'], [null, '5', '2']),
      remove([null, '6', '2']),
    );
    const { INSERT, UPDATE, DELETE } = Operation;
    expect(changes).toEqual([
      { operation: INSERT, user: 5n, part: 0, row: key('5', '1'), old: '' },
      { operation: UPDATE, user: 5n, part: 0, row: key('5', '1'), old: '' },
      { operation: UPDATE, user: 5n, part: 0, row: key('5', '2'), old: key('5', '1') },
      { operation: UPDATE, user: 6n, part: 0, row: key('6', '2'), old: key('5', '2') },
      { operation: DELETE, user: 5n, part: 1, row: key('5', '2'), old: '' },
      { operation: DELETE, user: 6n, part: 0, row: key('6', '2'), old: '' },
    ]);
  });

  it('F2: name it by the columns of the index that the replica identity uses', () => {
    const stream = streamOf({ primaryKey: ['id'], index: ['user'] });
    const { changes } = told(stream, BEGIN, relation('i', ['user']), update([AT, '6', '1'], [null, '5', null]));
    expect(changes.map(({ row, old }) => [row, old])).toEqual([
      [key('6'), key('5')],
      [key('5'), ''],
    ]);
  });

  it('F2: name it by all columns without a key, unchanged large values among them', () => {
    const stream = streamOf({});
    const { changes } = told(
      stream,
      BEGIN,
      relation('f', ['at', 'user', 'id']),
      insert([AT, '5', null]),
      update([undefined, '5', '2'], [AT, '5', null], true),
      remove([AT, '5', '2'], true),
    );
    expect(changes.map(({ row, old }) => [row, old])).toEqual([
      [key(null, '5', AT), ''],
      [key('2', '5', AT), key(null, '5', AT)],
      [key('2', '5', AT), ''],
    ]);
  });

  it('I2: leaves an unchanged value out where nobody reads it, and says so before; where somebody does, the row goes aside', () => {
    const changed = [BEGIN, relation('d', ['user']), update([undefined, '5', '1'])];
    const unread = streamOf({ primaryKey: ['user'] }, '', new Set(['user']));
    expect(told(unread, ...changed)).toMatchObject({ changes: [{ part: 0 }], aside: [] });
    expect([...(unread.holes.get(1) ?? [])]).toEqual(['at']);
    // Everybody who brings rows is told until it is saved: another's row is not to go by a save that is under way, or failed.
    const [first, second] = [unread.unsavedHoles(), unread.unsavedHoles()];
    expect(told(unread, update([undefined, '5', undefined]))).toMatchObject({ changes: [{ part: 0 }] });
    expect([...(unread.holes.get(1) ?? [])]).toEqual(['at', 'id']);
    for (const saved of [first, second]) must(saved)();
    const last = must(unread.unsavedHoles());
    last();
    must(first)();
    expect(told(unread, update([undefined, '5', '2']))).toMatchObject({ changes: [{ part: 0 }] });
    expect(unread.unsavedHoles()).toBeUndefined();
    for (const needed of [new Set(['user', 'at']), undefined]) {
      const read = streamOf({ primaryKey: ['user'] }, '', needed);
      expect(told(read, ...changed)).toMatchObject({ changes: [], aside: ['unchanged_value'] });
      expect(read.unsavedHoles()).toBeUndefined();
    }
  });

  it('C1: an image that is refused leaves the one before where it is, but not where nothing would find it again', () => {
    const stream = streamOf({ primaryKey: ['user', 'id'] }, 'at');
    const refused = [null, '5', '1'] as const;
    const start = [BEGIN, relation('d', ['user', 'id']), insert([AT, '5', '1'])];
    expect(told(stream, ...start, update(refused))).toMatchObject({
      changes: [{ part: 0 }],
      aside: ['null_event_time'],
    });
    const rekeyed = told(stream, update([null, '5', '2'], [null, '5', '1']));
    expect(rekeyed).toMatchObject({ changes: [{ operation: Operation.DELETE, part: 1, row: key('5', '1') }] });
    const moved = told(stream, update([null, '6', '1'], [null, '5', '1']));
    expect(moved).toMatchObject({ changes: [{ operation: Operation.DELETE, user: 5n, row: key('5', '1') }] });
    expect(told(stream, remove([null, '5', '1']))).toMatchObject({ changes: [{ row: key('5', '1') }], aside: [] });
  });
});

describe('a stream that no longer tells which row it is about', () => {
  const broken: readonly [string, Parameters<typeof streamOf>[0], PgOutputMessage][] = [
    ['another primary key', { primaryKey: ['user', 'id'] }, relation('d', ['user'])],
    ['a column more in the key', { primaryKey: ['user'] }, relation('d', ['user', 'id'])],
    ['REPLICA IDENTITY NOTHING', { primaryKey: ['user'] }, relation('n', [])],
    ['another index', { primaryKey: ['user'] }, relation('i', ['id'])],
    ['a key where rows were told apart by all columns', {}, relation('d', ['id'])],
    ['a key without the entity', { primaryKey: ['id'] }, relation('d', ['id'])],
  ];
  it.each(broken)('C1: is held with all that is behind it: %s', (_name, identity, described) => {
    const stream = streamOf(identity);
    const { changes, aside } = told(stream, BEGIN, described, insert([AT, '5', '1']), insert([AT, '5', '2']));
    expect([changes, aside]).toEqual([[], ['identity', 'behind']]);
    expect(stream.holdOf(1)?.isWhole).toBe(true);
  });

  it('goes on under REPLICA IDENTITY FULL, which tells everything', () => {
    const stream = streamOf({ primaryKey: ['user', 'id'] });
    const { changes } = told(
      stream,
      BEGIN,
      relation('f', ['at', 'user', 'id']),
      update([AT, '5', '2'], [AT, '5', '1'], true),
    );
    expect(changes).toMatchObject([{ row: key('5', '2'), old: key('5', '1') }]);
  });

  it('is trusted again once its route begins anew, whatever the catalog said of the one before', () => {
    const stream = streamOf({ primaryKey: ['user'] });
    stream.distrust(1, 'rows are told apart by another key');
    const full = relation('f', ['at', 'user', 'id']);
    const end: PgOutputMessage = { kind: 'commit', commitLsn: 1n, endLsn: 2n, commitTimeUs: NOW_US };
    expect(told(stream, BEGIN, full, insert([AT, '5', '1']), end).aside).toEqual(['identity']);
    const anew = stream.routes.map((route) => ({ ...route, fromLsn: 20n }));
    stream.revise(() => undefined);
    expect(stream.tryAdopt(anew)).toBe(true);
    const { changes, aside } = told(stream, { ...BEGIN, commitLsn: 20n }, insert([AT, '5', '2']));
    expect([changes.length, aside]).toEqual([1, []]);
  });
});
