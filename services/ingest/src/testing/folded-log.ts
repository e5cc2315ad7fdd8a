/**
 * A log read as a shard reads it, down to the rows: repetitions skipped by the marks of their lanes, a new generation in
 * the place of the one before. The oracle of the crash tests: compared with the rows of the source.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { type Change, type LogRecord, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Log } from '@freshet/log/log.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';

export interface FoldedRoute {
  /** The newest generation that began. */
  readonly generation: number;
  /** Rows by their first column, each with how often it was folded since it was last deleted. */
  readonly rows: ReadonlyMap<string, { readonly values: readonly string[]; readonly times: number }>;
}

/** The rows of every route, over all partitions. */
export async function foldLog(log: Pick<Log, 'describe' | 'read'>): Promise<Map<number, FoldedRoute>> {
  const routes = new Map<number, { generation: number; rows: Map<string, { values: string[]; times: number }> }>();
  const { partitions } = await log.describe();
  for (const [partition, { start, end }] of partitions.entries()) {
    for (const [route, found] of foldPartition(await recordsOf(log, partition, start, end))) {
      const all = routes.get(route) ?? { generation: 0, rows: new Map() };
      all.generation = Math.max(all.generation, found.generation);
      for (const [id, row] of found.rows)
        all.rows.set(id, { ...row, times: row.times + (all.rows.get(id)?.times ?? 0) });
      routes.set(route, all);
    }
  }
  return routes;
}

interface PartitionRoute {
  generation: number;
  rows: Map<string, { values: string[]; times: number }>;
}

function foldPartition(records: readonly LogRecord[]): Map<number, PartitionRoute> {
  const routes = new Map<number, PartitionRoute>();
  const marks = new Map<string, readonly [bigint, bigint, number]>();
  for (const { kind } of records) {
    if (kind.case === 'routeBegin') {
      const { route, generation } = kind.value;
      if (generation > (routes.get(route)?.generation ?? 0)) routes.set(route, { generation, rows: new Map() });
    }
    if (kind.case !== 'change') continue;
    const { route, generation, lane, sequence } = kind.value;
    const folded = routes.get(route);
    if (folded?.generation !== generation) continue;
    const name = `${route}/${generation}/${lane}`;
    const place = [must(sequence).major, must(sequence).minor, must(sequence).part] as const;
    const mark = marks.get(name);
    if (mark !== undefined && !isAfter(place, mark)) continue;
    marks.set(name, place);
    take(folded.rows, kind.value);
  }
  return routes;
}

/** Deletes carry no row: the key is the id in these tests, and the encoded key is the row's name. */
function take(rows: PartitionRoute['rows'], change: Change): void {
  const id = Buffer.from(change.entityKey).toString('hex');
  if (change.operation === Operation.DELETE) {
    rows.delete(id);
    return;
  }
  const values = change.row.map((value) => String(valueFromProto(value)));
  const before = change.operation === Operation.UPDATE ? 0 : (rows.get(id)?.times ?? 0);
  rows.set(id, { values, times: before + 1 });
}

function isAfter(a: readonly [bigint, bigint, number], b: readonly [bigint, bigint, number]): boolean {
  if (a[0] !== b[0]) return a[0] > b[0];
  if (a[1] !== b[1]) return a[1] > b[1];
  return a[2] > b[2];
}

async function recordsOf(log: Pick<Log, 'read'>, partition: number, start: number, end: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  if (start === end) return records;
  for await (const batch of log.read(partition, start, new AbortController().signal)) {
    for (const { offset, record } of batch.entries) {
      // A copy: what is decoded refers to the bytes, and the record is only lent.
      if (offset < end) records.push(fromBinary(LogRecordSchema, record.slice()));
    }
    if ((batch.entries.at(-1)?.offset ?? 0) >= end - 1) break;
  }
  return records;
}
