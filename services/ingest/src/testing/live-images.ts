/**
 * A log read as a mutable route means it: by partition, repetitions skipped, a new generation in the place of the one before,
 * each change put in and taken out by its row's key. What is left are the live images: the multiset over which every feature
 * is defined. An oracle without the engine; compared with SQL over the table.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { type Change, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { MemoryLog } from '@freshet/log/memory-log.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';

interface Live {
  readonly image: string;
  count: number;
}

interface Partition {
  generation: number;
  /** By entity key and row key. */
  readonly rows: Map<string, Live>;
  readonly marks: Map<number, readonly [bigint, bigint, number]>;
}

export interface LiveImages {
  /** Each live row as the texts of its values, of its contract's first `columns`; sorted. */
  readonly images: readonly string[];
  /** The newest generation. */
  readonly generation: number;
  /** Deletes that found no row: a row that was never told, or told under another key. */
  readonly misses: number;
}

/** The live images of a route. */
export async function liveImages(log: MemoryLog, route: number, columns: number): Promise<LiveImages> {
  const images: string[] = [];
  let [generation, misses] = [0, 0];
  for (let number = 0; number < log.partitionCount; number++) {
    const partition: Partition = { generation: 0, rows: new Map(), marks: new Map() };
    for (const bytes of await log.records(number)) misses += take(partition, route, columns, bytes);
    for (const { image, count } of partition.rows.values()) images.push(...Array<string>(count).fill(image));
    generation = Math.max(generation, partition.generation);
  }
  return { images: images.sort(), generation, misses };
}

/** Takes a record; returns how many rows it named that are not there. */
function take(partition: Partition, route: number, columns: number, bytes: Uint8Array): number {
  const { kind } = fromBinary(LogRecordSchema, bytes);
  if (kind.case === 'routeBegin' && kind.value.route === route && kind.value.generation > partition.generation) {
    partition.generation = kind.value.generation;
    partition.rows.clear();
    partition.marks.clear();
  }
  const isRow = kind.case === 'change' || kind.case === 'table';
  if (!isRow && kind.case !== 'truncate') return 0;
  const value = kind.case === 'table' ? must(kind.value.change) : kind.value;
  if (value.route !== route || value.generation !== partition.generation) return 0;
  const { major, minor, part } = must(value.sequence);
  const mark = partition.marks.get(value.lane);
  if (mark !== undefined && !isAfter([major, minor, part], mark)) return 0;
  partition.marks.set(value.lane, [major, minor, part]);
  if (isRow) return change(partition, value as Change, columns);
  partition.rows.clear();
  return 0;
}

function change({ rows }: Partition, told: Change, columns: number): number {
  const entity = Buffer.from(told.entityKey).toString('hex');
  const nameOf = (key: Uint8Array): string => `${entity}/${Buffer.from(key).toString('hex')}`;
  const { operation, rowKey, oldRowKey } = told;
  if (operation === Operation.DELETE) return remove(rows, nameOf(rowKey)) ? 0 : 1;
  // An update of a row that came from another entity finds nothing here: the old one is told by a record of its own.
  if (operation === Operation.UPDATE) remove(rows, nameOf(oldRowKey.length > 0 ? oldRowKey : rowKey));
  const image = JSON.stringify(told.row.slice(0, columns).map((value) => String(valueFromProto(value))));
  const name = nameOf(rowKey);
  const there = rows.get(name);
  rows.set(name, { image, count: (there?.count ?? 0) + 1 });
  return 0;
}

function remove(rows: Map<string, Live>, name: string): boolean {
  const live = rows.get(name);
  if (live === undefined) return false;
  if (--live.count === 0) rows.delete(name);
  return true;
}

function isAfter(a: readonly [bigint, bigint, number], b: readonly [bigint, bigint, number]): boolean {
  if (a[0] !== b[0]) return a[0] > b[0];
  if (a[1] !== b[1]) return a[1] > b[1];
  return a[2] > b[2];
}
