/**
 * The keys of an instance, in memory and in the cold store, as one ascending sequence. For digests and tests: a service
 * pages its store by itself, and without blocking.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { ColdState } from '../shard-fold.ts';
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
