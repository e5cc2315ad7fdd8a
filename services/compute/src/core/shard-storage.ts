/**
 * What a shard needs of its store. io/shard-store.ts keeps it in LevelDB.
 *
 * Invariants: a commit is one batch: state, journal entry and commit record are all there or none (F1, F3 over
 * crashes); what is read was checked against its checksum, else DATA_DAMAGED.
 */
import type { ChangedKeys, ColdState, FoldCommit } from './fold-port.ts';
import type { JournalIndex, JournalSlot } from './journal-index.ts';

/** One life of a view, as of a commit. */
export interface CommittedInstance {
  /** View id and generation in hex. */
  readonly instance: string;
  readonly complete: boolean;
  /** Complete instances: from this position on the journal names every key that changed. */
  readonly journaledFrom: number;
}

/** Where the committed state is. */
export interface Commit {
  /** The log's id in hex; empty before the first record of any log. */
  readonly logId: string;
  /** Records folded. */
  readonly position: number;
  /** The log time of the last of them, microseconds. */
  readonly logTimeUs: number;
  /** The CRC of the last of them. */
  readonly recordCrc: number;
  readonly foldMeta: Uint8Array;
  readonly instances: readonly CommittedInstance[];
}

/** States of one instance, by key ascending. */
export interface StatePage {
  readonly entries: readonly (readonly [key: string, state: Uint8Array])[];
  /** There are no keys after these. */
  readonly last: boolean;
}

/** A journal entry as stored. */
export interface StoredChanges {
  readonly recordCrc: number;
  readonly changed: ChangedKeys;
}

/** All committed state at one commit, in (instance, key) order. Close it by ending the iteration. */
export interface StateSnapshot {
  readonly commit: Commit;
  readonly states: AsyncIterable<readonly [instance: string, key: string, state: Uint8Array]>;
}

export interface ShardStorage extends ColdState {
  /** The last durable commit; undefined: nothing was ever committed. */
  readonly committed: Commit | undefined;
  /** Which commits the journal has. */
  readonly journal: JournalIndex;
  /** Set once stored bytes were found not to be what was written: the shard must be made anew. */
  readonly damage: Error | undefined;
  /** Writes a commit; one at a time. `dropped` are journal entries to delete with it. */
  commit(next: Commit, taken: FoldCommit, dropped: readonly JournalSlot[]): Promise<void>;
  /** The next keys of an instance after a key; at most `rows`, and about `bytes` of state. */
  page(instance: string, afterKey: string | undefined, limits: { rows: number; bytes: number }): Promise<StatePage>;
  /** What a commit changed; undefined when the entry is no longer there. */
  readJournal(slot: JournalSlot): StoredChanges | undefined;
  /** Deletes some of the state of instances that are not in the last commit; true when there is more. */
  clearDropped(): Promise<boolean>;
  snapshot(): StateSnapshot;
  close(): Promise<void>;
}
