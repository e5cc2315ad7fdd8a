/**
 * An Erase record's part in the fold: whose state it empties.
 *
 * Owns which instances are meant: those of the entity by name, and those that fold a route that the record names, whose
 * views may go by another entity's name (equal views are one, whatever they are called). Does not own what emptying a
 * state is (view-instance.ts), nor the log's and the disk's part (docs/rfd/0003-erase.md).
 *
 * Invariant F1: every instance that is meant has a row at the record's version afterwards, also where the key had none: a
 * fold of a log from which the key's records are gone then tells the same keys as one that had folded them, and whoever
 * follows it drops what it had.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { keyString } from '@freshet/values/key.ts';
import type { FoldEntry } from '../shard-fold.ts';
import type { ViewInstance } from './view-instance.ts';

/** Empties the key that the Erase record names in those of the instances that are meant. */
export function eraseIn(instances: Iterable<ViewInstance>, entry: FoldEntry): void {
  // A copy: what protobuf-es decodes refers to the bytes, and the record is only lent.
  const { kind } = fromBinary(LogRecordSchema, entry.record.slice());
  if (kind.case !== 'erase') return;
  const { entity, entityKey, routes } = kind.value;
  const key = keyString(entityKey);
  for (const instance of instances) {
    const { plan } = instance.view;
    if (plan.entity?.name !== entity && !routes.includes(plan.route)) continue;
    instance.erase(key, entry.offset, entry.logTimeUs);
  }
}
