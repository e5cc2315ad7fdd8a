/**
 * What a captured database is made of and with (postgres-source.ts): everything that waits, draws or touches a disk or the
 * network is here, so that a simulator can stand in for it. Owns no behaviour.
 */
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import type { Log } from '@freshet/log/log.ts';
import type { LogReaders } from '../core/log-readers.ts';
import type { SourceDatabase } from '../core/source-database.ts';
import type { GenerationRequests } from './generation-requests.ts';
import type { QuarantineFile } from './quarantine-file.ts';

/** Default of PostgresSourceOptions.recheckMs. */
export const RECHECK_MS = 5_000;

/** What is known of a database when it is claimed. */
export interface ClaimedDatabase {
  /** What it is wherever it is reached from: "<system identifier>/<database>". */
  readonly identity: string;
  /** Whether it was captured here before. */
  readonly isOurs: boolean;
  /** Whether the slot that this node made is there, and nobody streams from it. */
  readonly isSlotIdle: boolean;
}

/** Throws SOURCE_NOT_READY when another node captures the database, UNAVAILABLE when nobody can tell. */
export type ClaimDatabase = (database: ClaimedDatabase, signal: AbortSignal) => Promise<void>;

export interface PostgresSourceOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly database: SourceDatabase;
  readonly slotName: string;
  /** For the state and the stages. */
  readonly directory: string;
  readonly files: FileSystem;
  readonly log: Pick<Log, 'append' | 'describe' | 'read' | 'partitionCount' | 'logId'>;
  readonly quarantine: QuarantineFile;
  readonly clock: Clock;
  /** A number in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly logger: Logger;
  /** Takes what is not as it should be, under "source/<name>". */
  readonly conditions: ConditionBoard;
  /** The most that is held between the socket and the log, in bytes of memory. */
  readonly inFlightBytesMax: number;
  /** Starts over, with a new slot and every table read anew: once for each word. */
  readonly resync?: string | undefined;
  /** What to do when the database lost the history that was captured: read everything anew (default), or wait for a resync. */
  readonly onLostHistory?: 'rebuild' | 'halt' | undefined;
  /** Routes that were asked to begin anew; left out: none ever are. */
  readonly requests?: Pick<GenerationRequests, 'of' | 'listen'> | undefined;
  /** Those who read the log here: rows that are read for a new view do not run ahead of them. Left out: nobody is waited for. */
  readonly readers?: LogReaders | undefined;
  /** Asks whether this node may capture the database. Left out: nobody else is there. */
  readonly claim?: ClaimDatabase | undefined;
  /** Told of each shape that rows came in, and of the commit that had it first. Left out: nobody is told. */
  readonly onShape?: ((contract: Contract, lsn: bigint) => void) | undefined;
  /** How long a halted source waits before it looks again whether somebody mended what is wrong. Default 5 s. */
  readonly recheckMs?: number | undefined;
  /** How often the tables and the slot are looked up while streaming. Default 10 s. */
  readonly tableCheckMs?: number | undefined;
}
