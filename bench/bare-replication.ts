/**
 * The baseline of the freshness benchmark: the least that a logical replication client can do. It notes how long after
 * its commit a marked row arrives, by the commit's own time in the stream, and does nothing else.
 */
import type { Readable } from 'node:stream';
import { systemClock } from '@freshet/kit/clock.ts';
import postgres from 'postgres';

/** Microseconds from the Unix epoch to Postgres', 2000-01-01. */
const POSTGRES_EPOCH_US = 946_684_800_000_000;
/** A replication message begins with its kind and three 64-bit numbers; pgoutput's message follows. */
const HEADER_BYTES = 25;

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
  const stream = (await query.readable()) as unknown as Readable;
  const waiting = new Map<string, (ms: number) => void>();
  let committedUs = 0;
  stream.on('data', (message: Buffer) => {
    if (message[0] !== 0x77) return;
    const kind = String.fromCharCode(message[HEADER_BYTES] ?? 0);
    if (kind === 'B') committedUs = Number(message.readBigInt64BE(HEADER_BYTES + 9)) + POSTGRES_EPOCH_US;
    if (kind !== 'I') return;
    for (const [text, resolve] of waiting) {
      if (!message.includes(text)) continue;
      waiting.delete(text);
      resolve((systemClock.nowUs() - committedUs) / 1000);
    }
  });
  // Ending the connection errors the stream; nobody reads it any more then.
  stream.on('error', () => undefined);
  return {
    latency: (text) => new Promise((resolve) => waiting.set(text, resolve)),
    close: () => sql.end({ timeout: 0 }),
  };
}
