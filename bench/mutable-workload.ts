/**
 * The events of fold-workload.ts as changes of a mutable source: every row has a key, and some events are updates of rows
 * that came before, with another amount and the same time.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { changes, KEYS, openingRecords, type WorkloadRecord } from './fold-workload.ts';

const AMOUNT = 3;

/** `updateShare` of the events change a row that is there, 0 to 1. How many live rows there are in the end follows. */
export function mutableWorkload(
  events: number,
  updateShare: number,
): { readonly records: readonly WorkloadRecord[]; readonly rows: number } {
  const records = openingRecords().map(({ record, logTimeUs }) => ({ record: asMutable(record), logTimeUs }));
  const rows: { readonly key: Uint8Array; readonly record: Uint8Array }[] = [];
  let seed = 11;
  let due = 0;
  for (const { record, logTimeUs } of changes(events, 'uniform', KEYS)) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    due += updateShare;
    const isUpdate = due >= 1 && rows.length > 0;
    if (due >= 1) due -= 1;
    if (isUpdate) {
      const { key, record: inserted } = must(rows[Math.floor((seed / 2 ** 32) * rows.length)]);
      records.push({ record: keyed(inserted, record, key), logTimeUs });
      continue;
    }
    const key = rowKey(rows.length);
    rows.push({ key, record });
    records.push({ record: keyed(record, undefined, key), logTimeUs });
  }
  return { records, rows: rows.length };
}

function asMutable(record: Uint8Array): Uint8Array {
  const message = fromBinary(LogRecordSchema, record);
  if (message.kind.case !== 'definitions') return record;
  for (const view of message.kind.value.views) view.mode = SourceMode.MUTABLE;
  for (const { source } of message.kind.value.routes) {
    if (source === undefined) continue;
    source.mode = SourceMode.MUTABLE;
    if (source.contract !== undefined) source.contract.primaryKey = ['id'];
  }
  return toBinary(LogRecordSchema, message);
}

/** The row's record with its key: as it was inserted, or an update at the place, and with the amount, of another record. */
function keyed(row: Uint8Array, at: Uint8Array | undefined, key: Uint8Array): Uint8Array {
  const message = fromBinary(LogRecordSchema, row);
  if (message.kind.case !== 'change') throw new Error('a workload record is no change');
  const change = message.kind.value;
  change.rowKey = key;
  if (at !== undefined) {
    const { kind } = fromBinary(LogRecordSchema, at);
    if (kind.case !== 'change') throw new Error('a workload record is no change');
    change.operation = Operation.UPDATE;
    change.row[AMOUNT] = must(kind.value.row[AMOUNT]);
    if (kind.value.sequence !== undefined) change.sequence = kind.value.sequence;
  }
  return toBinary(LogRecordSchema, create(LogRecordSchema, message));
}

/** Nine bytes, as ingest makes them of an int64. */
export function rowKey(id: number): Uint8Array {
  const bytes = new Uint8Array(9);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 1);
  view.setBigInt64(1, BigInt(id));
  return bytes;
}
