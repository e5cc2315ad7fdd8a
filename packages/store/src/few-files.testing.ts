/** What few-files.test.ts and the process that it starts agree on: keys, values, and what is told. Not used outside tests. */
import type { StoreOptions } from './key-value-store.ts';

export const FEW_FILES_OPTIONS: StoreOptions = { what: 'the store', remedy: 'none', writeBufferBytes: 64 * 1024 };

export const KEY_RANGE = { gte: Buffer.from('key-'), lt: Buffer.from('key.') } as const;

export function keyOf(n: number): Buffer {
  return Buffer.from(`key-${String(n).padStart(6, '0')}`);
}

/** Bytes that do not compress, so that few of them are a table. */
export function contentOf(n: number): Buffer {
  const value = Buffer.alloc(160);
  let state = n + 1;
  for (let at = 0; at < value.length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    value.writeUInt32LE((state ^ (state >>> 13)) >>> 0, at);
  }
  return value;
}

/** How often which came of what was tried: "right", "done", or the code of the error. */
type Counts = Readonly<Record<string, number>>;

export interface FewFilesReport {
  readonly opening: Counts;
  readonly gets: Counts;
  readonly pages: Counts;
  readonly lists: Counts;
  readonly scrubs: Counts;
  readonly writes: Counts;
  readonly damage: string | undefined;
}
