/**
 * The keys of an instance, in memory and in the cold store, as one ascending sequence. For digests and tests: a service
 * pages its store by itself, and without blocking.
 */
import { assert, must } from '@freshet/kit/assert.ts';
import type { ColdState } from '../shard-fold.ts';
import type { TableRows } from './table-rows.ts';
import type { ViewInstance } from './view-instance.ts';

export function* mergedKeys(instance: ViewInstance, cold: ColdState, afterKey?: string): Generator<string> {
  const { cache, name } = instance;
  const hot = [...cache.hotKeys()].filter((key) => afterKey === undefined || key > afterKey).sort();
  if (!cache.isPartial) {
    yield* hot;
    return;
  }
  assert(cold.scan !== undefined, 'the cold store cannot be scanned');
  let at = 0;
  for (const [key] of cold.scan(name, afterKey)) {
    if (cache.isGone(key)) continue;
    while (at < hot.length && (hot[at] as string) < key) yield hot[at++] as string;
    if (hot[at] === key) at++;
    if (!cache.isGone(key)) yield key;
  }
  for (; at < hot.length; at++) yield hot[at] as string;
}

/** The rows of a joined table, in memory and in the cold store, by key ascending. */
export function* mergedRows(rows: TableRows, cold: ColdState): Generator<[key: string, row: Uint8Array]> {
  const { keys, gone } = rows.held();
  let at = 0;
  const held = function* (before?: string): Generator<[string, Uint8Array]> {
    for (; at < keys.length && (before === undefined || (keys[at] as string) < before); at++) {
      const key = keys[at] as string;
      yield [key, must(rows.find(key), 'a row that is held is not there')];
    }
  };
  if (rows.isPartial) {
    assert(cold.scan !== undefined, 'the cold store cannot be scanned');
    for (const [key, row] of cold.scan(rows.name, undefined)) {
      yield* held(key);
      // What is held is newer than what is stored, and comes in its turn.
      if (keys[at] !== key && !gone.has(key)) yield [key, row];
    }
  }
  yield* held();
}
