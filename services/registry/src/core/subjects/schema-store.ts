/**
 * Where the Schema Registry's records are kept: LevelDB now (io/schema-store.ts), a compacted Kafka topic later.
 *
 * Owns the interface. Promise: what write() resolved for is there after any crash, all of a call or nothing; load() gives
 * exactly that, or throws DATA_DAMAGED.
 */
import type { RecordText } from './records.ts';

export interface SchemaStore {
  /** Every record there is, in no order. After a failed write: what became of it is known only now. */
  load(): Promise<readonly RecordText[]>;
  /** Writes records together; resolves when they are durable. One at a time. After it throws, load() is to be called. */
  write(records: readonly RecordText[]): Promise<void>;
}
