/**
 * What pgoutput (protocol version 1, text mode) says, as data. Pure.
 *
 *     Begin ─▶ (Relation | Type | Origin | Insert | Update | Delete | Truncate | Message)* ─▶ Commit
 *
 * Transactions come whole and in commit order. A Relation comes before the first row that needs it, and again before
 * the next row whenever anything about the table may have changed.
 */

/** A column of a row: its text, null, or undefined for a large value that the server did not send because it did not change. */
export type TupleValue = string | null | undefined;
export type Tuple = readonly TupleValue[];

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Part of the replica identity. */
  readonly identity: boolean;
}

export interface Relation {
  readonly id: number;
  readonly schema: string;
  readonly table: string;
  /** 'd', 'n', 'f' or 'i', as in pg_class.relreplident. */
  readonly replicaIdentity: string;
  readonly columns: readonly RelationColumn[];
}

/** Of which columns an old row tells the truth: the replica identity's, or all. */
export interface OldTuple {
  readonly whole: boolean;
  readonly values: Tuple;
}

export type PgOutputMessage =
  | { readonly kind: 'begin'; readonly commitLsn: bigint; readonly commitTimeUs: number; readonly xid: number }
  | { readonly kind: 'commit'; readonly commitLsn: bigint; readonly endLsn: bigint; readonly commitTimeUs: number }
  | { readonly kind: 'relation'; readonly relation: Relation }
  | { readonly kind: 'insert'; readonly relationId: number; readonly row: Tuple }
  | { readonly kind: 'update'; readonly relationId: number; readonly old: OldTuple | undefined; readonly row: Tuple }
  | { readonly kind: 'delete'; readonly relationId: number; readonly old: OldTuple }
  | {
      readonly kind: 'truncate';
      readonly relationIds: readonly number[];
      readonly cascade: boolean;
      readonly restartIdentity: boolean;
    }
  | { readonly kind: 'type'; readonly oid: number; readonly schema: string; readonly name: string }
  | { readonly kind: 'origin'; readonly lsn: bigint; readonly name: string }
  | {
      readonly kind: 'message';
      readonly transactional: boolean;
      readonly lsn: bigint;
      readonly prefix: string;
      readonly content: Uint8Array;
    }
  /** A message of later protocol versions, which servers are known to send unasked: it says nothing about version 1. */
  | { readonly kind: 'ignored'; readonly tag: string };
