/**
 * What a shard needs of its store. io/shard-store.ts keeps it in a KeyValueStore.
 *
 * Invariants: a commit is one batch: state, journal entry and commit record are all there or none (F1, F3 over
 * crashes); what is read was checked against its checksum, else DATA_DAMAGED.
 */
import type { ChangedKeys, ColdState, FoldCommit } from './fold-port.ts';
import type { JournalIndex, JournalSlot } from './journal-index.ts';
import type { KeySet } from './key-set.ts';
import type { EraseMarks } from './missed-erase.ts';

/** One life of a view, as of a commit; or the contributions of one, which are stored in the same way. */
export interface CommittedInstance {
  /** View id and generation in hex; of contributions the generation's highest bit is set. */
  readonly instance: string;
  readonly complete: boolean;
  /** Complete instances: from this position on the journal names every key that changed. */
  readonly journaledFrom: number;
  /** Of one that is being built: where the partition ended when that was begun, at least; 0: not known. */
  readonly begunAt?: number | undefined;
}

/** Where the committed state is. */
export interface Commit extends EraseMarks {
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

/** A state with its place. */
export type StoredState = readonly [instance: string, key: string, state: Uint8Array];

/**
 * All committed state at one commit, a few states at a time, in (instance, key) order. Must be closed. An iteration that came to its end without DATA_DAMAGED has seen all that was committed: the keys are compared with
 * what the commit says of them.
 */
export interface StateSnapshot {
  readonly commit: Commit;
  /** The commit record as it is stored, encoded. */
  readonly record: Uint8Array;
  /** What the commit says of each instance's keys. */
  readonly keySets: ReadonlyMap<string, KeySet>;
  /** To be iterated once. */
  readonly states: AsyncIterable<readonly StoredState[]>;
  readonly close: () => Promise<void>;
}

export interface ShardStorage extends ColdState {
  /** The last durable commit; undefined: nothing was ever committed. */
  readonly committed: Commit | undefined;
  /** What the last commit says of each instance's keys. */
  readonly keySets: ReadonlyMap<string, KeySet>;
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
  /** The state of the last commit; not while one is being written. */
  snapshot(): StateSnapshot;
  /**
   * Reads all files through and checks their own checksums; `pause` is awaited after each piece with its bytes. Throws
   * DATA_DAMAGED. Resolves with the bytes read.
   */
  scrub(pause: (bytes: number) => Promise<void>): Promise<number>;
  close(): Promise<void>;
}
