/** A SchemaStore in memory that outlives the registry over it, and fails when told to. Passes the contract suite. */
import type { RecordText } from '../core/subjects/records.ts';
import type { SchemaStore } from '../core/subjects/schema-store.ts';

export class MemorySchemaStore implements SchemaStore {
  readonly #records = new Map<string, string>();
  #isBroken = false;
  /** The next write fails: after its records were put down, or before. */
  failNext: 'before' | 'after' | undefined;

  async load(): Promise<readonly RecordText[]> {
    this.#isBroken = false;
    return [...this.#records].map(([key, value]) => ({ key, value }));
  }

  async write(records: readonly RecordText[]): Promise<void> {
    await Promise.resolve();
    if (this.#isBroken) throw new Error('the store takes no more until it is loaded');
    const fails = this.failNext;
    this.failNext = undefined;
    if (fails !== undefined) this.#isBroken = true;
    if (fails === 'before') throw new Error('the disk failed');
    for (const { key, value } of records) {
      if (value === undefined) this.#records.delete(key);
      else this.#records.set(key, value);
    }
    if (fails === 'after') throw new Error('the disk failed');
  }
}
