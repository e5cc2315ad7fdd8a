/**
 * Folding changes of a mutable source into one view instance: which live row's image is put in and which is taken out.
 *
 *     INSERT, READ  put in; with a unique identity, the image of the same row that was there is taken out
 *     UPDATE        the image of the row before is taken out, the new one put in
 *     DELETE        the image is taken out
 *
 * Owns that, and the instance's contributions. Does not own reading the row (view-instance.ts) or what a change does to a
 * state (../state/mutable-state.ts). All records are of one entity key: when a row moves to another, ingest sends a delete
 * under the old one. An image that does not fulfil `where`, is out of reach, or feeds nothing still replaces the old one.
 *
 * Invariant F1: contributions out of reach are as if they were not there; a change that finds nothing to take out and has
 * nothing to put in leaves the state as it was, its version too.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import type { RowKey } from '../contributions/contribution.ts';
import { ContributionTree, type Image } from '../contributions/contribution-tree.ts';
import type { NodeCache } from '../contributions/node-cache.ts';
import { rowHash } from '../contributions/row-hash.ts';
import type { RecordReader } from '../record/record-reader.ts';
import type { KeyState } from '../state/key-state.ts';
import { feedsAnything, MutableState } from '../state/mutable-state.ts';
import { isInReach } from '../state/reach.ts';
import type { RunnableView } from '../state/view-plan.ts';
import type { StateCache } from './state-cache.ts';

/** The instance that the changes are folded into. */
export interface MutableTarget {
  readonly view: RunnableView;
  readonly cache: StateCache;
  /** The row that was read last. */
  readonly row: Raw[];
}

export class MutableFold {
  readonly #target: MutableTarget;
  readonly tree: ContributionTree;
  readonly #state: MutableState;
  readonly #added: Image;
  readonly #removed: Image;

  constructor(target: MutableTarget, nodes: NodeCache) {
    this.#target = target;
    this.tree = new ContributionTree(target.view, nodes);
    this.#state = new MutableState(target.view);
    this.#added = { row: target.row, eventTimeUs: NO_EVENT_TIME, offset: 0 };
    this.#removed = { row: target.row.map(() => null), eventTimeUs: NO_EVENT_TIME, offset: 0 };
  }

  /** Whether the change that the reader stands at can be folded at once; else it has come nearer to that (ContributionTree.prepare). */
  prepare({ operation, key }: RecordReader, logTimeUs: number): boolean {
    // What is only put in is not asked about.
    if (operation !== Operation.UPDATE && operation !== Operation.DELETE) return true;
    return this.tree.prepare(key, logTimeUs);
  }

  /**
   * Folds the change that the reader stands at; `holds` says that there is a new image, in the target's row, which
   * fulfils `where`. The state that changed, if one did.
   */
  fold(
    record: RecordReader,
    holds: boolean,
    isUnique: boolean,
    place: { readonly offset: number; readonly logTimeUs: number },
  ): KeyState | undefined {
    const { view, cache } = this.#target;
    const { offset, logTimeUs } = place;
    const added = this.#added;
    added.eventTimeUs = record.eventTimeUs;
    added.offset = offset;
    const puts = holds && isInReach(view.reach, added.eventTimeUs, logTimeUs) && feedsAnything(view, added, logTimeUs);
    const takes = this.#takesOut(record, isUnique, place);
    if (!puts && !takes) return undefined;
    const state = cache.open(record.key);
    if (puts) this.tree.put(state.key, rowKeyOf(record, false), added, logTimeUs);
    const { sizeBytes } = state;
    const { tree } = this;
    this.#state.change(state, puts ? added : undefined, takes ? this.#removed : undefined, place, {
      refold: (wanted, cells) => tree.refold(state.key, wanted, cells, logTimeUs),
      newest: () => tree.newest(state.key, logTimeUs),
    });
    cache.changed(state, sizeBytes);
    return state;
  }

  /** Takes the old image's contribution out, if it has one that counts; it is in #removed then. */
  #takesOut(
    record: RecordReader,
    isUnique: boolean,
    { offset, logTimeUs }: { readonly offset: number; readonly logTimeUs: number },
  ): boolean {
    const { operation } = record;
    const isInsert = operation === Operation.INSERT || operation === Operation.READ;
    // Without a unique identity another row may be alike.
    if (isInsert && !isUnique) return false;
    const isMoved = operation === Operation.UPDATE && record.oldRowKeyEnd > record.oldRowKeyStart;
    return this.tree.takeOut(record.key, rowKeyOf(record, isMoved), offset, logTimeUs, this.#removed);
  }
}

/** The identity of the record's row, or of what it was before. */
function rowKeyOf(record: RecordReader, before: boolean): RowKey {
  const { bytes } = record;
  const start = before ? record.oldRowKeyStart : record.rowKeyStart;
  const end = before ? record.oldRowKeyEnd : record.rowKeyEnd;
  return { bytes, start, end, hash: rowHash(bytes, start, end) };
}
