/**
 * Exports a log to what SQL can ask: what was known of each row, by offset, read out of the records that are in it. The
 * history's own images (dml-history.ts) are not looked at, so what a record says of its rows is under test as well.
 *
 * Owns the meaning of change records and truncations of one partition and one route without repetitions. Shares nothing with the
 * engine.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { type Change, type LogRecord, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import { COLUMNS, type DmlHistory, type Image, type KnownImage } from './dml-history.ts';

/** The history by way of a log's segment files: written, closed, opened again, read from the first record to the last. */
export async function exportedImages({ records }: Pick<DmlHistory, 'records'>): Promise<KnownImage[]> {
  const options = { directory: '/log', partitions: 1, clock: new VirtualClock(), files: new SimulatedDisk() };
  const written = await openSegmentLog(options);
  await written.append(
    0,
    records.map(({ record }) => record),
  );
  await written.close();
  const log = await openSegmentLog(options);
  const exported = new Exported();
  for await (const { entries } of log.read(0, 0, new AbortController().signal)) {
    for (const { offset, record } of entries) exported.take(offset, fromBinary(LogRecordSchema, record.slice()));
    if ((entries.at(-1)?.offset ?? 0) >= records.length - 1) break;
  }
  await log.close();
  return exported.images;
}

class Exported {
  readonly images: KnownImage[] = [];
  /** The rows that are there, by entity key and row key, each with the number that it has in the table. */
  readonly #rows = new Map<string, bigint>();
  #next = 0n;

  take(off: number, { kind }: LogRecord): void {
    if (kind.case === 'truncate') {
      for (const row of this.#rows.values()) this.images.push({ off, row, image: undefined });
      this.#rows.clear();
    } else if (kind.case === 'change') this.#change(off, kind.value);
  }

  #change(off: number, { operation, entityKey, rowKey, oldRowKey, row: values }: Change): void {
    const nameOf = (key: Uint8Array): string => `${toHex(entityKey)}/${toHex(key)}`;
    if (operation === Operation.DELETE) {
      this.#remove(off, nameOf(rowKey));
      return;
    }
    if (operation === Operation.UPDATE) this.#remove(off, nameOf(oldRowKey.length > 0 ? oldRowKey : rowKey));
    const row = this.#next++;
    // Rows of an append source have no key: nothing is said of them again.
    if (rowKey.length > 0) this.#rows.set(nameOf(rowKey), row);
    const image = Object.fromEntries(COLUMNS.map(({ name }, i) => [name, values[i] && valueFromProto(values[i])]));
    this.images.push({ off, row, image: image as unknown as Image });
  }

  /** Of a row that came from another entity nothing is there: the old one is told by a record of its own. */
  #remove(off: number, name: string): void {
    const row = this.#rows.get(name);
    if (row === undefined) return;
    this.#rows.delete(name);
    this.images.push({ off, row, image: undefined });
  }
}
