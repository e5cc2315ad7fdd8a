/**
 * What capture needs of a database, so that a simulator can stand in for Postgres and drive everything above it.
 *
 *     look     ──▶ DatabaseSession    facts, the slot, the publications
 *     snapshot ──▶ SnapshotReader     the rows of tables at one point of the database's history
 *     stream   ──▶ ReplicationStream  the commits after a position, and where we are with them
 *
 * Owns the interface and what every implementation promises. Postgres' is io/postgres-database.ts; a scripted one for
 * tests is testing/scripted-database.ts. Pure.
 *
 * What is promised: every commit is either in a snapshot (its LSN is before the snapshot's point) or comes by a stream
 * that starts at or before it. A stream gives whole transactions in the order of their commits, from the first that ends
 * after the later of `from` and what was told before; the same transaction comes with the same rows each time. Failures
 * come as FreshetError: SOURCE_UNREACHABLE when another try may help, SOURCE_NOT_READY when a person must act.
 */
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { CatalogTable } from './contract.ts';
import type { PgOutputMessage } from './pgoutput/messages.ts';
import type { ServerFacts } from './preflight.ts';
import type { PublishedTables, SlotFacts } from './source-state.ts';
import type { TableFill } from './table-fill.ts';
import type { PartsFacts } from './table-parts.ts';

/** A database that is captured. Each call makes connections of its own; the signal ends whatever is under way. */
export interface SourceDatabase {
  /** Where it is, for errors: host, port and name, no password. */
  readonly place: string;
  /** Which cluster answers, and on which timeline. */
  identify(signal: AbortSignal): Promise<ClusterIdentity>;
  /** Runs work that looks at the database or readies it. */
  look<T>(signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T>;
  /** Makes the permanent slot. */
  createSlot(slotName: string, signal: AbortSignal): Promise<void>;
  /** Runs work that reads tables as they were at `fromLsn`: every commit before it, none after. */
  snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T>;
  /** Connects for streaming; nothing is sent before start(). The signal ends connecting, not the stream. */
  openStream(slotName: string, signal: AbortSignal): Promise<ReplicationStream>;
  /**
   * Connects for a second stream of what the slot still has, beside the one that reads it: on a copy of the slot that goes
   * with the connection. What the copy is told moves the slot nowhere.
   */
  openCopy(slotName: string, signal: AbortSignal): Promise<ReplicationStream>;
  /**
   * As openCopy, for whoever only compares the commits: transactions may come without their rows. Also where no slot is free
   * for a copy.
   */
  openRetelling(slotName: string, signal: AbortSignal): Promise<ReplicationStream>;
}

export interface ClusterIdentity {
  /** The cluster's own id, which a restored or another cluster does not share. */
  readonly systemId: string;
  /** Grows by one at each failover and each restore. */
  readonly timeline: number;
  /** The end of its log, as far as it is durable there; undefined: not known. */
  readonly endLsn?: bigint | undefined;
}

/** The server's clock, microseconds since the Unix epoch, beside what it says of itself. */
export type ServerAnswer = ServerFacts & { readonly databaseUs: number };

export interface DatabaseSession {
  server(): Promise<ServerAnswer>;
  /** A table as the catalog has it; undefined when there is none of that name. */
  table(schema: string, table: string): Promise<CatalogTable | undefined>;
  /** The slot of that name; undefined when there is none. */
  slot(name: string): Promise<SlotFacts | undefined>;
  /**
   * Which transactions others see by now, by their 32-bit ids as a stream tells them. A stream may tell of a commit before: it is
   * in the log then, and a commit that waits for a synchronous standby is seen only behind that.
   */
  seen(): Promise<(xid: number) => boolean>;
  /** By oid, which filling of each of these tables is there, of those that there are. */
  fills(oids: readonly number[]): Promise<ReadonlyMap<number, TableFill>>;
  /** By oid, the partitions of each of these tables that is partitioned, all as they were at one moment. */
  parts(oids: readonly number[]): Promise<ReadonlyMap<number, PartsFacts>>;
  /** By oid, those of all tables that each of these is a partition of, be it by others in between; left out: of none. */
  ancestors(oids: readonly number[]): Promise<ReadonlyMap<number, readonly number[]>>;
  /**
   * Whether a table has rows in one of its partitions; `olderThan`: of transactions below this 64-bit id. Undefined: it cannot be
   * told now, as the partition is locked, or renamed or dropped meanwhile.
   */
  hasRows(table: PublishedTable, leaf: number, olderThan?: string): Promise<boolean | undefined>;
  /** Drops the slot of that name, if there is one. */
  dropSlot(name: string): Promise<void>;
  /** Which tables the slot's publications hold. */
  published(slotName: string): Promise<PublishedTables>;
  /**
   * Makes the slot's publications hold exactly these tables, but for those that we may not add, which it resolves with. Throws
   * SOURCE_NOT_READY with the SQL when we may not make or change the publications at all.
   */
  publish(slotName: string, tables: WantedTables): Promise<readonly RefusedTable[]>;
}

export interface PublishedTable {
  readonly schema: string;
  readonly table: string;
  /** A partitioned table, as against an ordinary one. */
  readonly partitioned: boolean;
}

/** A table that we may not add to its publication. */
export interface RefusedTable {
  readonly mode: keyof WantedTables;
  readonly table: PublishedTable;
  /** With the SQL for somebody who may. */
  readonly why: FreshetError;
}

export interface WantedTables {
  /** Those of which inserts are captured. */
  readonly append: readonly PublishedTable[];
  /** Those of which every change is. */
  readonly mutable: readonly PublishedTable[];
}

/** A table whose rows are to be read: the columns that are sent, in order, with their types. */
export interface TableToStage extends PublishedTable {
  readonly columns: readonly string[];
  readonly typeOids: readonly number[];
}

export interface SnapshotReader {
  /** How many rows the table has, about; undefined: the database does not say. For people only. */
  rowsAbout(table: TableToStage): Promise<number | undefined>;
  /**
   * The table's rows as COPY writes them in text, some bytes at a time; pulled, so that a slow disk holds it back. Throws
   * SOURCE_UNREACHABLE behind the last one when the table was rewritten meanwhile, so that rows may be missing.
   */
  copy(table: TableToStage): AsyncIterable<Uint8Array>;
  /** By oid, which filling of tables that were copied the rows are of. */
  fills(oids: readonly number[]): Promise<ReadonlyMap<number, TableFill>>;
  /** By oid, the partitions that the snapshot has of each of these tables that is partitioned. */
  parts(oids: readonly number[]): Promise<ReadonlyMap<number, PartsFacts>>;
}

export type StreamMessage =
  | { readonly kind: 'change'; readonly serverLsn: bigint; readonly message: PgOutputMessage }
  /** The server has nothing more before `serverLsn`; it may want to hear at once where we are. */
  | { readonly kind: 'keepalive'; readonly serverLsn: bigint; readonly replyWanted: boolean };

export interface ReplicationStream {
  /** After this long without a word from us the server ends the stream, milliseconds; 0: never. */
  readonly senderTimeoutMs: number;
  /** What answers on this very connection; undefined: it was not asked. */
  readonly identity?: ClusterIdentity | undefined;
  /** Starts at the later of `from` and what was acknowledged to the slot. */
  start(from: bigint): Promise<void>;
  /**
   * What has come, at least one message, in order; to be iterated once and before the next call. Nothing is read ahead that
   * was not asked for, beyond what a socket holds. Aborting the signal ends the waiting, with CANCELLED, not the stream.
   */
  read(signal: AbortSignal): Promise<Iterable<StreamMessage>>;
  /** Tells the server that everything before the position is durable with us; `answer`: it is to send a keepalive. */
  tell(position: bigint, nowUs: number, answer: boolean): void;
  /** Breaks the stream with a reason, which whoever reads is told. */
  destroy(reason: Error): void;
  /** Ends it in order, waiting a moment for the server. */
  close(): Promise<void>;
}
