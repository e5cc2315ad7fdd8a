/**
 * Encoded rows that several followers are about to send, so that one encoding serves them all.
 *
 * Bounded in bytes (R4): when over, everything goes; rows are then made again. An entry is dropped as soon as its key
 * changes, so what is here is always the current row (R1).
 */
import type { ChangedKeys } from './fold-port.ts';
import type { RowField } from './row-field.ts';

/** What an entry costs beside its row, in bytes. */
const ENTRY_BYTES = 160;

export class RowCache {
  readonly #limitBytes: number;
  readonly #views = new Map<string, Map<string, RowField>>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get(viewId: string, key: string): RowField | undefined {
    return this.#views.get(viewId)?.get(key);
  }

  set(viewId: string, key: string, row: RowField): void {
    if (this.#bytes > this.#limitBytes) this.clear();
    let rows = this.#views.get(viewId);
    if (rows === undefined) {
      rows = new Map();
      this.#views.set(viewId, rows);
    }
    rows.set(key, row);
    this.#bytes += ENTRY_BYTES + row.length;
  }

  drop(changed: ChangedKeys): void {
    if (this.#bytes === 0) return;
    for (const [viewId, keys] of changed) {
      const rows = this.#views.get(viewId);
      if (rows === undefined) continue;
      for (const key of keys) {
        const row = rows.get(key);
        if (row === undefined) continue;
        rows.delete(key);
        this.#bytes -= ENTRY_BYTES + row.length;
      }
    }
  }

  clear(): void {
    this.#views.clear();
    this.#bytes = 0;
  }
}
