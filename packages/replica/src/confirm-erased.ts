/**
 * Confirms that a replica holds nothing of an entity that was erased.
 *
 *     past the Erase record, nothing under way ▶ dead rows of the key become tombstones, and go ▶ disk written, rewritten
 *
 * Owns that order for one key, in the tables that are read and in those that wait for a generation. Does not own what an erase is (docs/rfd/0003-erase.md). Done again it finds nothing more.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { keyString } from '@freshet/values/key.ts';
import type { DeadRows } from './dead-rows.ts';
import type { DiskKeeper } from './disk-keeper.ts';
import type { ReplicaState, Shard } from './replica-state.ts';
import { rowKeyOf } from './row-key.ts';
import type { ShardCopy } from './shard-copy.ts';
import { rowKey } from './storage-keys.ts';

export interface ErasedQuestion {
  /** Hex. */
  readonly logId: string;
  readonly shard: number;
  /** The offset of the Erase record. */
  readonly offset: number;
  /** The encoded entity key. */
  readonly entityKey: Uint8Array;
}

export interface ErasedAnswer {
  /** How many records of the shard the rows reflect. */
  readonly position: number;
  readonly rowsDropped: number;
  /** Rows of the key up to the Erase record that are not dead. */
  readonly rowsLeft: number;
  /** Rows of what came after it. */
  readonly laterRows: number;
}

export interface ErasedPlace {
  readonly state: ReplicaState;
  readonly dead: DeadRows;
  readonly disk: DiskKeeper;
  readonly clock: Clock;
}

const POLL_MS = 50;

/** Rejects with the signal's reason when that comes first, WRONG_LOG for another log. */
export async function confirmErased(
  place: ErasedPlace,
  question: ErasedQuestion,
  signal: AbortSignal,
): Promise<ErasedAnswer> {
  const { state, clock, disk } = place;
  const key = rowKeyOf(question.entityKey);
  let dropped = 0;
  for (;;) {
    const copy = settledCopy(state.shards.get(question.shard), question);
    if (copy !== undefined) {
      dropped += drop(place, copy, question);
      // Gone for good: else a tombstone would keep the key.
      if ([...copy.everyTable()].every((table) => table.rows.get(key)?.bytes !== '')) break;
    }
    await clock.sleep(POLL_MS, signal);
  }
  await disk.rewrite(() => {
    const tables = [...state.copies()].flatMap((copy) => [...copy.everyTable(), ...copy.retiring]);
    return tables.map(({ number }) => rowKey(number, keyString(question.entityKey)));
  });
  const copy = state.shards.get(question.shard)?.served;
  let [rowsLeft, laterRows] = [0, 0];
  for (const { rows } of copy?.everyTable() ?? []) {
    const row = rows.get(key);
    if (row === undefined || row.bytes === '') continue;
    if (row.version <= question.offset) rowsLeft += 1;
    else laterRows += 1;
  }
  return { position: copy?.position ?? 0, rowsDropped: dropped, rowsLeft, laterRows };
}

/** The served copy, once it is past the record and nothing is under way in the shard. */
function settledCopy(shard: Shard | undefined, { logId, offset }: ErasedQuestion): ShardCopy | undefined {
  const copy = shard?.served;
  if (copy === undefined || shard?.incoming !== undefined || copy.position <= offset) return undefined;
  if (copy.logId !== logId) {
    throw new FreshetError('WRONG_LOG', `shard ${copy.shard} is of log ${copy.logId}, the erase of ${logId}`, {
      remedy: 'the replica follows another log: see what its upstreams are',
    });
  }
  const isPassing = [...copy.everyTable()].some(({ passing }) => passing);
  return copy.catchingUp || isPassing ? undefined : copy;
}

/** Makes tombstones of the key's dead rows, and removes those that the copy is past. */
function drop({ dead, clock }: ErasedPlace, copy: ShardCopy, { entityKey }: ErasedQuestion): number {
  const key = rowKeyOf(entityKey);
  let count = 0;
  for (const table of copy.everyTable()) {
    const row = table.rows.get(key);
    if (row === undefined) continue;
    if (dead.isDead(table.viewId, row, Math.min(clock.nowUs(), table.completeThroughUs))) {
      table.dropDead(key, row);
      count += 1;
    }
    table.purge(copy.position);
  }
  return count;
}
