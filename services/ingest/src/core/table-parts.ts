/**
 * Whether rows of a partitioned table went or came with its partitions behind the stream's back. The stream tells what DML does in
 * them, and a TRUNCATE of the table itself; nothing of DROP, DETACH, ATTACH or TRUNCATE of a partition.
 *
 *     a partition is gone              its rows went untold (whether it had any, nobody knows any more)
 *     a partition is new               made as a partition: all that was ever in it was told
 *                                      attached: told if it has no row when it is first seen, as nothing untold is left then
 *                                      in another file than it was made with: as one whose file is another than at the last look
 *     a partition is one anew            it was detached and attached: what was done in between is not told
 *     a partition is in another file   with a row that is older than the last look: rows were moved (VACUUM FULL, CLUSTER)
 *                                      made so by a TRUNCATE of the table that the stream told: told
 *                                      else it was truncated, or may have been
 *     the stream told of a partition that was never seen and is not there   it came and went between two looks
 *
 * Who errs reads a table anew that need not have been. Not noticed: a partition that is made or truncated and then truncated (again)
 * in one transaction, which leaves no trace; one that is made, filled, detached, emptied row by row and attached again before it
 * is first seen. Pure: judges facts that were looked up.
 */

/** The partitions of a table that have rows of their own. Kept in the source's state as JSON. */
export interface TableParts {
  /** Transactions below this 64-bit id had ended when it was looked; in decimal. */
  readonly endedBelow: string;
  /** By oid, the file that the rows of each are in, and since when it is a partition. */
  readonly leaves: readonly (readonly [oid: number, file: number, link: string])[];
}

export interface PartFacts {
  readonly oid: number;
  readonly name: string;
  readonly file: number;
  /** The transactions that made it and what it is in partitions, from the table down. */
  readonly link: string;
  /** The lower 32 bits of the id of the transaction that last changed what the catalog says of it, its file among that. */
  readonly xid: number;
  /** A table whose rows the stream tells: neither an unlogged nor a foreign one. */
  readonly isTold: boolean;
  /** Made as a partition, and one ever since, as all partitions are that it is in. */
  readonly isBorn: boolean;
}

/** A partitioned table's partitions at one moment. */
export interface PartsFacts {
  readonly endedBelow: string;
  /** Up to where what was committed by then is durable. */
  readonly lsn: bigint;
  readonly leaves: readonly PartFacts[];
}

/** What is otherwise than at the last look, as far as the catalog alone says. */
export interface PartsChange {
  /** How many are gone. */
  readonly gone: number;
  /** Those that are new, and may have rows that were not told. */
  readonly attached: readonly PartFacts[];
  /** Those that were something else for a while. */
  readonly rejoined: readonly PartFacts[];
  /** Those whose file is another one than at the last look, or than they were made with. */
  readonly refiled: readonly PartFacts[];
  /** Whether nothing differs at all. */
  readonly isSame: boolean;
}

/** Beyond this distance the 32 bits of a row's transaction do not say any more which is older. */
const XIDS_MAX = 2_000_000_000n;

/** What is remembered of them; undefined: the table is not partitioned. */
export function partsOf(now: PartsFacts | undefined): TableParts | undefined {
  return (
    now && {
      endedBelow: now.endedBelow,
      leaves: now.leaves.map(({ oid, file, link }): [number, number, string] => [oid, file, link]),
    }
  );
}

export function partsChange(was: TableParts, now: PartsFacts): PartsChange {
  const before = new Map(was.leaves.map(([oid, file, link]) => [oid, { file, link }]));
  const come = now.leaves.filter(({ oid }) => !before.has(oid));
  const stayed = now.leaves.filter(({ oid }) => before.has(oid));
  const rejoined = stayed.filter(({ oid, link }) => before.get(oid)?.link !== link);
  // A table is made in a file of its own number, and gets another one by TRUNCATE, or when it is written anew.
  const refiled = [
    ...stayed.filter(({ oid, file }) => before.get(oid)?.file !== file),
    ...come.filter(({ oid, file, isTold }) => isTold && file !== oid),
  ];
  const gone = was.leaves.length - stayed.length;
  return {
    gone,
    attached: come.filter(({ isBorn, isTold }) => !isBorn || !isTold),
    rejoined,
    refiled,
    isSame: gone + come.length + rejoined.length + refiled.length === 0,
  };
}

/** Whether rows of then can be told from newer ones by their transactions. */
export function canTellAge(was: TableParts, now: PartsFacts): boolean {
  return BigInt(now.endedBelow) - BigInt(was.endedBelow) < XIDS_MAX;
}
