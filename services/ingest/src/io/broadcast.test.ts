/**
 * Goal: each change of a broadcast table is in every partition, under the table's own key, in one order, and is no event.
 * Method: messages by hand into the pure change stream, and a stage of two tables into a log in memory; records decoded.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { decodeKey } from '@freshet/values/key.ts';
import { expect, it } from 'vitest';
import { AppendPipeline } from '../core/append-pipeline.ts';
import { ChangeStream } from '../core/change-stream.ts';
import type { PgOutputMessage } from '../core/pgoutput/messages.ts';
import { prepareRoute, type Route } from '../core/route.ts';
import { appendSnapshot } from './snapshot-rows.ts';
import type { Stage, StagedTable, StageStore } from './snapshot-stage.ts';

const NOW_US = 1_800_000_000_000_000;
const PARTITIONS = 3;

function routeOf(number: number, table: string, broadcast: boolean): Route {
  const plan = create(RoutePlanSchema, {
    route: number,
    source: {
      name: table,
      mode: SourceMode.MUTABLE,
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table } },
      // Of an event this would be a reason for quarantine: it is ten years ahead.
      eventTimeColumn: 'updated_at',
      maxSkewUs: 5_000_000n,
      contract: {
        version: 1,
        primaryKey: ['id'],
        columns: [
          { name: 'id', type: { kind: Kind.STRING }, sourceType: 'text', sourceTypeOid: 25 },
          { name: 'price', type: { kind: Kind.INT64 }, sourceType: 'bigint', sourceTypeOid: 20 },
          { name: 'updated_at', type: { kind: Kind.TIMESTAMP }, sourceType: 'timestamptz', sourceTypeOid: 1184 },
        ],
      },
    },
    ...(broadcast ? {} : { entity: { name: 'product', key: [{ name: 'id', kind: Kind.STRING }] } }),
    keyColumns: ['id'],
  });
  return prepareRoute(plan, 1, PARTITIONS);
}

const OPERATIONS = ['', 'INSERT', 'UPDATE', 'DELETE', 'READ'];

/** "kind operation key part" of a record. */
function told(bytes: Uint8Array): string {
  const { kind } = fromBinary(LogRecordSchema, bytes);
  const change = kind.case === 'table' ? kind.value.change : kind.case === 'change' ? kind.value : undefined;
  if (change === undefined)
    return `${kind.case} ${'route' in (kind.value ?? {}) ? (kind.value as { route: number }).route : ''}`;
  const key = String(decodeKey([Kind.STRING], change.entityKey)[0]);
  const time =
    change.eventTimeUs === undefined || Number(change.eventTimeUs) === NOW_US - 1000 ? '' : ' with event time';
  return `${kind.case} ${OPERATIONS[change.operation]} ${key} ${change.sequence?.part}${time}`;
}

it('a change, a change of key, a delete and a truncation go to every partition, in one order', () => {
  const route = routeOf(1, 't', true);
  const live = { route, earlier: [], tableOid: 7, floor: { version: 1, lsn: 0n }, fromLsn: 0n };
  const stream = new ChangeStream([live]);
  const columns = ['id', 'price', 'updated_at'].map((name, i) => ({
    name,
    typeOid: [25, 20, 1184][i] as number,
    typeModifier: -1,
    identity: i === 0,
  }));
  const later = '2099-01-01 00:00:00+00';
  const messages: PgOutputMessage[] = [
    { kind: 'begin', commitLsn: 9n, commitTimeUs: NOW_US - 1000, xid: 1 },
    { kind: 'relation', relation: { id: 7, schema: 'public', table: 't', replicaIdentity: 'd', columns } },
    { kind: 'insert', relationId: 7, row: ['a', '1', later] },
    { kind: 'update', relationId: 7, old: undefined, row: ['a', '2', later] },
    { kind: 'update', relationId: 7, old: { whole: false, values: ['a', null, null] }, row: ['b', '2', later] },
    { kind: 'delete', relationId: 7, old: { whole: false, values: ['b', null, null] } },
    { kind: 'truncate', relationIds: [7], cascade: false, restartIdentity: false },
    { kind: 'commit', commitLsn: 9n, endLsn: 10n, commitTimeUs: NOW_US - 1000 },
  ];
  for (const message of messages) stream.handle(message, NOW_US);
  const batch = stream.takeBatch();
  expect(batch.quarantine).toEqual([]);
  expect([...batch.records.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2]);
  for (const records of batch.records.values()) {
    expect(records.map(told)).toEqual([
      'table INSERT a 0',
      'table UPDATE a 0',
      'table UPDATE b 0',
      'table DELETE a 1',
      'table DELETE b 0',
      'truncate 1',
    ]);
  }
});

it('a snapshot brings broadcast tables first, from begin to end', async () => {
  const clock = new VirtualClock();
  const log = createMemoryLog({ partitions: PARTITIONS, clock });
  const staged = (table: string): StagedTable => ({
    schema: 'public',
    table,
    columns: ['id', 'price', 'updated_at'],
    typeOids: [25, 20, 1184],
    file: '',
    pieces: 1,
  });
  const stage: Stage = { name: 's', fromLsn: 1n, tables: [staged('events'), staged('catalog')] };
  const store: Pick<StageStore, 'rows'> = {
    async *rows(_, { table }) {
      yield [[`of ${table}`, '1', '1970-01-01 00:00:00+00']];
    },
  };
  const rows = await appendSnapshot({
    store: store as StageStore,
    stage,
    definitions: create(DefinitionSetSchema, { generation: 1n }),
    routes: [routeOf(1, 'events', false), routeOf(2, 'catalog', true), routeOf(3, 'catalog', false)],
    partitions: PARTITIONS,
    pipeline: new AppendPipeline({
      log,
      quarantine: { append: () => Promise.resolve() },
      clock,
      random: () => 0,
      bytesMax: 1e9,
    }),
    clock,
    signal: new AbortController().signal,
  });
  expect(rows).toBe(3);
  const { partitions } = await log.describe(new AbortController().signal);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const seen: string[] = [];
    for await (const { entries } of log.read(partition, 0, new AbortController().signal)) {
      for (const { record } of entries) seen.push(told(record));
      if (seen.length >= (partitions[partition]?.end ?? 0)) break;
    }
    expect(seen.slice(0, 7)).toEqual([
      'definitions ',
      'routeBegin 2',
      'table READ of catalog 0',
      'snapshotEnd 2',
      'definitions ',
      'routeBegin 1',
      'routeBegin 3',
    ]);
    expect(seen.slice(-2)).toEqual(['snapshotEnd 1', 'snapshotEnd 3']);
  }
});
