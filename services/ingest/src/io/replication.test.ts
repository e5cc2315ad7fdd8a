/** Goal: what counts as streaming. Method: a connection by hand. Real streams are postgres-source.pg.test.ts. */
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { expect, it } from 'vitest';
import { AppendPipeline } from '../core/append-pipeline.ts';
import { ChangeStream } from '../core/change-stream.ts';
import type { PgConnection } from './pg/pg-connection.ts';
import { Replication } from './replication.ts';

/** Runs until the payloads have come and the connection broke; whether it counted as streaming. */
async function streamed(payloads: readonly Buffer[]): Promise<boolean> {
  const rest = [...payloads];
  const connection = {
    startCopyBoth: () => Promise.resolve(),
    readCopyData: () => {
      const next = rest.shift();
      return next === undefined
        ? Promise.reject(new FreshetError('SOURCE_UNREACHABLE', 'the server ended the replication'))
        : Promise.resolve([next]);
    },
    writeCopyData: () => {},
    destroy: () => {},
  } as unknown as PgConnection;
  const log = createMemoryLog({ partitions: 1, clock: systemClock });
  const replication = new Replication({
    connection,
    slotName: 's',
    publications: ['p'],
    stream: new ChangeStream([]),
    pipeline: new AppendPipeline({ log, quarantine: { append: () => Promise.resolve() }, bytesMax: 1000 }),
    acknowledgedLsn: 0n,
    save: () => Promise.resolve(),
    senderTimeoutMs: 0,
    clock: systemClock,
    signal: new AbortController().signal,
  });
  let streaming = false;
  await expect(replication.run(() => (streaming = true))).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
  return streaming;
}

it('does not count as streaming, which would end the back-off, while the server only agreed to stream', async () => {
  expect(await streamed([])).toBe(false);
  const keepalive = Buffer.alloc(18);
  keepalive.write('k', 0, 'latin1');
  expect(await streamed([keepalive])).toBe(true);
});
