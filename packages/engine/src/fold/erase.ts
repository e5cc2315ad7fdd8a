/**
 * An Erase record's part in the fold: whose state it empties.
 *
 * Owns which instances are meant: those of the entity by name, and those that fold a route that the record names, whose
 * views may go by another entity's name (equal views are one, whatever they are called). Joined tables of such a route lose
 * the key's row too. Does not own what emptying a
 * state is (view-instance.ts), nor the log's and the disk's part (docs/rfd/0003-erase.md).
 *
 * Invariant F1: every instance that is meant and fed live has a row at the record's version afterwards, also where the key had
 * none: a fold of a log from which the key's records are gone then tells the same keys as one that had folded them, and
 * whoever follows it drops what it had. In one that is being built nothing is left of the key: who comes to follow it gets
 * all of its rows, and who was asked to forget the key before it was begun need not be asked again.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { keyString } from '@freshet/values/key.ts';
import type { FoldEntry } from '../shard-fold.ts';
import type { ViewInstance } from './view-instance.ts';

/** What an Erase record says. */
export interface Erasure {
  readonly entity: string;
  readonly key: string;
  readonly routes: readonly number[];
}

export function readErasure(entry: FoldEntry): Erasure {
  // A copy: what protobuf-es decodes refers to the bytes, and the record is only lent.
  const { kind } = fromBinary(LogRecordSchema, entry.record.slice());
  assert(kind.case === 'erase', 'an Erase record is one');
  const { entity, entityKey, routes } = kind.value;
  return { entity, key: keyString(entityKey), routes };
}

/** Empties the key in those of the instances that are meant, by the definitions in force. */
export function eraseIn(
  instances: Iterable<ViewInstance>,
  definitions: DefinitionSet | undefined,
  { entity, key, routes }: Erasure,
  entry: FoldEntry,
): void {
  // Not by an instance's own plan: that is of when it was made, or of the last restart, and an entity's name is no part of
  // a view's id (F1).
  const ofEntity = (definitions?.views ?? []).filter((plan) => plan.entity?.name === entity);
  const named = new Set(ofEntity.map(({ viewId }) => toHex(viewId)));
  for (const instance of instances) {
    const { route, viewId } = instance.view;
    if (!named.has(viewId) && !routes.includes(route)) continue;
    if (instance.build === undefined) instance.erase(key, entry.offset, entry.logTimeUs);
    else instance.eraseUntold(key, entry.offset);
  }
}
