/**
 * Erases in a simulation: somebody who asks ingest until its part is done, and whether a replica has something left.
 *
 * Owns the asking. Compute and serve fold the Erase record like any other; what they are asked to do about their files is
 * not simulated, so no receipt becomes complete, and the record stays in the log.
 */
import { isDeadRow, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { SegmentLog } from '@freshet/log/segment-log.ts';
import { fromLatin1 } from '@freshet/replica/latin1.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { Eraser } from '../../services/ingest/src/io/eraser.ts';
import type { Life } from './machine.ts';

const ASK_MS = 1_000;

export interface Erasures {
  /** Users that are to be erased and are not yet. */
  readonly erasures: () => readonly number[];
  /** Told that ingest has done its part, and how many records became fillers. */
  readonly onErased: (user: number, records: number, log: SegmentLog) => void;
}

/** Runs until the process ends. */
export async function keepErasing(
  { process: clock, signal }: Life,
  world: Erasures,
  log: SegmentLog,
  eraser: Eraser,
): Promise<void> {
  for (;;) {
    await clock.sleep(ASK_MS);
    for (const user of world.erasures()) {
      const wish = {
        eraseId: `user-${user}`,
        entity: 'user',
        entityKey: keyBytes(int64KeyString(BigInt(user))),
        setAside: false,
      };
      try {
        for await (const { step, erase } of eraser.erase(wish, signal)) {
          if (step !== 'quarantine') continue;
          world.onErased(user, Number(erase.places.find(({ kind }) => kind === 'log')?.count ?? 0n), log);
        }
      } catch (error) {
        // Rows are being read, the database is away, the disk is full: there is a next time.
        if (!isFreshetError(error)) throw error;
      }
    }
  }
}

/** The name of a view of users that has a row of a user who says something; undefined: none. */
export function rowOfUser(replica: Replica, user: number, partitions: number, nowUs: number): string | undefined {
  const key = int64KeyString(BigInt(user));
  for (const view of replica.catalog.views.values()) {
    const row = view.tables[partitionOfKeyString(key, partitions)]?.rows.get(rowKeyOfText(key));
    if (row === undefined || row.bytes === '') continue;
    if (!isDeadRow(decodeRow(fromLatin1(row.bytes)), unseenColumns(view.plan), nowUs)) return view.name;
  }
  return undefined;
}
