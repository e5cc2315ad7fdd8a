/**
 * The baseline of the freshness benchmark: the least that a logical replication client can do. It notes how long after
 * its commit a marked row arrives, by the commit's own time in the stream, and does nothing else, but that it answers what
 * the server asks: one that is silent for wal_sender_timeout (a minute) is cut off, and its marks never arrive.
 */
import type { Duplex } from 'node:stream';
import { systemClock } from '@freshet/kit/clock.ts';
import postgres from 'postgres';

/** Microseconds from the Unix epoch to Postgres', 2000-01-01. */
const POSTGRES_EPOCH_US = 946_684_800_000_000;
/** A replication message begins with its kind and three 64-bit numbers; pgoutput's message follows. */
const HEADER_BYTES = 25;
/** Kinds of messages, as Postgres' streaming replication protocol has them. */
const DATA = 0x77;
const KEEPALIVE = 0x6b;
const STATUS = 0x72;
/** Where a keepalive says that it wants an answer at once. */
const KEEPALIVE_ASKS_BYTE = 17;
const STATUS_BYTES = 34;

interface Waiting {
  readonly resolve: (ms: number) => void;
  readonly reject: (why: Error) => void;
}

export interface BareReplication {
  /** Resolves with the milliseconds from the commit to the arrival of a row that holds the text. Ask before writing it. */
  latency(text: string): Promise<number>;
  close(): Promise<void>;
}

export async function startBareReplication(url: string, table: string): Promise<BareReplication> {
  const sql = postgres(url, { max: 1, fetch_types: false, connection: { replication: 'database' } as never });
  await sql.unsafe(`CREATE PUBLICATION bench_bare FOR TABLE ${table}`);
  await sql.unsafe('CREATE_REPLICATION_SLOT bench_bare TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT');
  const query = sql.unsafe(
    "START_REPLICATION SLOT bench_bare LOGICAL 0/0 (proto_version '1', publication_names 'bench_bare')",
  );
  // Both ways: what the server asks for is answered on it.
  const stream = (await query.writable()) as unknown as Duplex;
  const waiting = new Map<string, Waiting>();
  let committedUs = 0;
  let over: Error | undefined;
  const end = (why: Error): void => {
    over ??= why;
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
  };
  stream.on('data', (message: Buffer) => {
    if (message[0] === KEEPALIVE && message[KEEPALIVE_ASKS_BYTE] === 1) stream.write(statusOf(message));
    if (message[0] !== DATA) return;
    const kind = String.fromCharCode(message[HEADER_BYTES] ?? 0);
    if (kind === 'B') committedUs = Number(message.readBigInt64BE(HEADER_BYTES + 9)) + POSTGRES_EPOCH_US;
    if (kind !== 'I') return;
    for (const [text, { resolve }] of waiting) {
      if (!message.includes(text)) continue;
      waiting.delete(text);
      resolve((systemClock.nowUs() - committedUs) / 1000);
    }
  });
  stream.on('error', end);
  stream.on('close', () => end(new Error('the bare replication client was cut off')));
  return {
    latency: (text) => {
      if (over !== undefined) return Promise.reject(over);
      return new Promise((resolve, reject) => waiting.set(text, { resolve, reject }));
    },
    close: () => sql.end({ timeout: 0 }),
  };
}

/** Standby status update: all that the server has sent is received and flushed, so that it keeps no WAL for us. */
function statusOf(keepalive: Buffer): Buffer {
  const status = Buffer.alloc(STATUS_BYTES);
  status[0] = STATUS;
  for (const at of [1, 9, 17]) keepalive.copy(status, at, 1, 9);
  status.writeBigInt64BE(BigInt(systemClock.nowUs() - POSTGRES_EPOCH_US), 25);
  return status;
}
