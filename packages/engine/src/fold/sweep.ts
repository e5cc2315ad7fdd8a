/**
 * Freeing what no value can show any more: states of dead keys, contributions out of reach.
 *
 * Owns what may go, of what is in memory and of what is stored. Does not own reading the store page by page, nor when
 * (services/compute). Invariant F1: neither rows nor digest nor later states tell whether a sweep went by.
 */
import { must } from '@freshet/kit/assert.ts';
import { endOf, readEventTime } from '../contributions/contribution.ts';
import { decodeNode, parseKey } from '../contributions/node-codec.ts';
import type { ColdState } from '../shard-fold.ts';
import { hasNoPane } from '../state/cells.ts';
import { type KeyState, Stage } from '../state/key-state.ts';
import { isDead, isDeadState, isHeld } from '../state/reach.ts';
import { readVersion } from '../state/state-codec.ts';
import { instanceOfContributions } from './instance-name.ts';
import type { ViewInstance } from './view-instance.ts';

/** Where the fold is. */
export interface SweepPlace {
  readonly position: number;
  readonly logTimeUs: number;
}

/**
 * The names under which there may be something to free. One that is being built is behind the log time: it has to wait. Where
 * states do not die of age it is what was erased, if anything was, or that is not known: all is gone through once then (swept).
 */
export function sweepable(instances: Iterable<ViewInstance>): string[] {
  const names: string[] = [];
  for (const { name, contributionsName, completeAt, emptiedAt, view } of instances) {
    const { mutable, hasLifetime, endsCounts, hasTtl } = view.reach;
    if (completeAt === undefined) continue;
    if (mutable || !(hasLifetime || endsCounts) || emptiedAt !== undefined) names.push(name);
    if (contributionsName !== undefined && !hasLifetime && !hasTtl) names.push(contributionsName);
  }
  return names.sort();
}

/** Frees what it can of a page; how many states or contributions. */
export function sweepPage(
  instances: Iterable<ViewInstance>,
  cold: ColdState,
  name: string,
  page: Iterable<readonly [key: string, stored: Uint8Array]>,
  place: SweepPlace,
): number {
  const owner = instanceOfContributions(name) ?? name;
  for (const instance of instances) {
    if (instance.name !== owner || instance.completeAt === undefined) continue;
    let freed = 0;
    for (const [key, stored] of page) {
      if (owner !== name) freed += sweepNode(instance, key, stored, place);
      else if (sweepState(instance, cold, key, stored, place)) freed++;
    }
    return freed;
  }
  return 0;
}

/** All that is stored under a name was gone through, in pages as new as the commit at a position, or newer. */
export function swept(instances: Iterable<ViewInstance>, name: string, from: number): void {
  for (const instance of instances) {
    // What was erased later may have been stored behind the page that was read.
    if (instance.name === name && instance.emptiedAt !== undefined && instance.emptiedAt < from)
      instance.emptiedAt = undefined;
  }
}

function sweepNode({ view, mutable }: ViewInstance, key: string, stored: Uint8Array, place: SweepPlace): number {
  const { leaf, bounds } = decodeNode(stored);
  if (bounds !== undefined) return 0;
  let isOver = false;
  for (let at = 0; at < leaf.length && !isOver; at = endOf(leaf.bytes, at)) {
    isOver = !isHeld(view.reach, readEventTime(leaf.bytes, at), place.logTimeUs);
  }
  if (!isOver) return 0;
  const { entityKey, bound } = parseKey(key);
  return must(mutable).tree.purge(entityKey, bound, place.position, place.logTimeUs);
}

function sweepState(
  instance: ViewInstance,
  cold: ColdState,
  key: string,
  stored: Uint8Array,
  { position, logTimeUs }: SweepPlace,
): boolean {
  const { cache, name } = instance;
  const { reach } = instance.view;
  if (!isDeadState(reach, stored, logTimeUs)) return false;
  const hot = cache.hot(key);
  if (hot !== undefined) {
    // One that changed since the last commit is looked at another time.
    if (hot.stage !== Stage.CLEAN || hot.emitPending) {
      instance.emptiedAt = position;
      return false;
    }
    if (!isDeadKey(instance, hot, logTimeUs)) return false;
    cache.remove(key, hot.version);
    return true;
  }
  if (cache.isGone(key)) return false;
  // The page may be older than what is stored now.
  const now = cold.load(name, key);
  if (now === undefined || !isDeadState(reach, now, logTimeUs)) return false;
  cache.remove(key, readVersion(now));
  return true;
}

/** Whether the state in memory is dead at the log time. */
export function isDeadKey({ view }: ViewInstance, { newestUs, cells }: KeyState, logTimeUs: number): boolean {
  return isDead(view.reach, newestUs, hasNoPane(cells, view.groups.length), logTimeUs);
}
