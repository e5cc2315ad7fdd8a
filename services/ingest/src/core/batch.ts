/**
 * What was made of the source and waits to go to the log together: records by partition, entries of the quarantine,
 * and the position that is reached once all of it is durable. Pure.
 */
import type { QuarantineEntry } from './quarantine.ts';
import type { Routed } from './route.ts';

/** What a record costs in memory beside its bytes, about. */
const RECORD_OVERHEAD_BYTES = 120;

export class Batch {
  readonly records = new Map<number, Uint8Array[]>();
  readonly quarantine: QuarantineEntry[] = [];
  /** Whether its records, and all that come after it, may be in the log only when its entries are durable. */
  entriesFirst = false;
  /** Whether its records need not wait for entries of batches before it: they are of another lane. */
  isApart = false;
  /** What it holds in memory, about. */
  bytes = 0;
  /** How many records there are. */
  count = 0;
  /** How many rows belonged to no entity of a route. */
  unkeyed = 0;
  /** The end of the last commit that is wholly in this batch or before it. */
  position: bigint | undefined;

  /** Whether there is nothing to send and nothing to count. */
  get isEmpty(): boolean {
    return this.count === 0 && this.quarantine.length === 0 && this.unkeyed === 0;
  }

  add(routed: Routed): void {
    if (routed.kind === 'record') this.addRecord(routed.partition, routed.record);
    else if (routed.kind === 'broadcast') {
      for (let partition = 0; partition < routed.partitions; partition++) this.addRecord(partition, routed.record);
    } else if (routed.kind === 'quarantine') this.addEntry(routed.entry);
    else this.unkeyed += 1;
  }

  addRecord(partition: number, record: Uint8Array): void {
    const list = this.records.get(partition);
    if (list === undefined) this.records.set(partition, [record]);
    else list.push(record);
    this.bytes += record.length + RECORD_OVERHEAD_BYTES;
    this.count += 1;
  }

  addEntry(entry: QuarantineEntry): void {
    this.quarantine.push(entry);
    // Behind a row that holds the whole table nothing of it goes to the log.
    if (entry.held !== 'table') this.entriesFirst = true;
    this.bytes += RECORD_OVERHEAD_BYTES;
    for (const values of [entry.values, entry.old?.values ?? {}]) {
      for (const value of Object.values(values)) this.bytes += 2 * (value?.length ?? 0) + RECORD_OVERHEAD_BYTES;
    }
  }
}
