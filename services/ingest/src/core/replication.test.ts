/**
 * Goal: what counts as streaming; that what cannot be saved holds up the acknowledging only; that silence ends a stream.
 * Method: a stream by hand and a clock moved by hand. Real streams are io/postgres-source.pg.test.ts.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { AppendPipeline } from './append-pipeline.ts';
import { ChangeStream } from './change-stream.ts';
import type { PgOutputMessage } from './pgoutput/messages.ts';
import { Replication, type ReplicationOptions } from './replication.ts';
import type { ReplicationStream, StreamMessage } from './source-database.ts';

/** Gives what it was given, and then waits until it is destroyed or the signal aborts. */
class HeldStream implements ReplicationStream {
  readonly senderTimeoutMs = 3_000;
  readonly told: bigint[] = [];
  broken: Error | undefined;
  #messages: StreamMessage[] = [];
  #wake: (() => void) | undefined;

  give(...messages: StreamMessage[]): void {
    this.#messages.push(...messages);
    this.#wake?.();
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    signal.addEventListener('abort', () => this.#wake?.());
    for (;;) {
      if (this.broken !== undefined) throw this.broken;
      if (signal.aborted) throw new FreshetError('CANCELLED', 'given up');
      if (this.#messages.length > 0) return this.#messages.splice(0);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  tell(position: bigint): void {
    this.told.push(position);
  }

  destroy(reason: Error): void {
    this.broken ??= reason;
    this.#wake?.();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function keepalive(serverLsn: bigint): StreamMessage {
  return { kind: 'keepalive', serverLsn, replyWanted: false };
}

function run(more: Partial<ReplicationOptions> = {}) {
  const clock = new VirtualClock();
  const connection = new HeldStream();
  const stop = new AbortController();
  const saved: bigint[] = [];
  let streaming = false;
  const log = createMemoryLog({ partitions: 1, clock });
  const quarantine = { append: () => Promise.resolve() };
  const replication = new Replication({
    connection,
    stream: new ChangeStream([]),
    pipeline: new AppendPipeline({ log, quarantine, clock, random: () => 0, bytesMax: 1000 }),
    acknowledgedLsn: 0n,
    save: (lsn) => {
      saved.push(lsn);
      return Promise.resolve();
    },
    clock,
    signal: stop.signal,
    ...more,
  });
  const ended = replication.run(() => {
    streaming = true;
  });
  ended.catch(() => {});
  return { clock, connection, saved, ended, stop, isStreaming: () => streaming };
}

describe('Replication', () => {
  it('does not count as streaming, which would end the back-off, while the server only agreed to stream', async () => {
    const silent = run();
    await silent.clock.advance(0);
    silent.connection.destroy(new FreshetError('SOURCE_UNREACHABLE', 'the server ended the replication'));
    await expect(silent.ended).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    expect(silent.isStreaming()).toBe(false);
    const sound = run();
    sound.connection.give(keepalive(1n));
    await sound.clock.advance(0);
    expect(sound.isStreaming()).toBe(true);
    sound.stop.abort();
    await sound.ended;
  });

  it('I1: tells no position that could not be saved, and goes on; tells it once it could', async () => {
    let full = true;
    const notes: (string | undefined)[] = [];
    const saved: bigint[] = [];
    const { clock, connection, ended, stop } = run({
      save: (lsn) => {
        if (full) return Promise.reject(new FreshetError('DISK_FULL', 'no room'));
        saved.push(lsn);
        return Promise.resolve();
      },
      onUnsaved: (why) => notes.push(why?.code),
    });
    for (let second = 1; second <= 5; second++) {
      connection.give(keepalive(BigInt(second)));
      await clock.advance(1_000_000);
    }
    expect(new Set(connection.told)).toEqual(new Set([0n]));
    expect(notes).toContain('DISK_FULL');
    full = false;
    await clock.advance(1_000_000);
    expect(connection.told.at(-1)).toBe(5n);
    expect(saved).toEqual([5n]);
    expect(notes.at(-1)).toBeUndefined();
    stop.abort();
    await ended;
  });

  it('I1: settles what came before a message that cannot be read, so that it does not come again', async () => {
    const { clock, connection, saved, ended } = run();
    const change = (message: PgOutputMessage): StreamMessage => ({ kind: 'change', serverLsn: 9n, message });
    await clock.advance(0);
    connection.give(
      change({ kind: 'begin', commitLsn: 4n, commitTimeUs: 0, xid: 1 }),
      change({ kind: 'commit', commitLsn: 4n, endLsn: 5n, commitTimeUs: 0 }),
      change({ kind: 'begin', commitLsn: 6n, commitTimeUs: 0, xid: 2 }),
      change({ kind: 'insert', relationId: 7, row: [] }),
    );
    await expect(ended).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    expect(saved).toEqual([5n]);
    expect(connection.told.at(-1)).toBe(5n);
  });

  it('ends a stream on which no byte comes for twice the time that the server would wait', async () => {
    const { clock, connection, ended } = run();
    connection.give(keepalive(1n));
    await clock.advance(5_000_000);
    expect(connection.broken).toBeUndefined();
    await clock.advance(3_000_000);
    expect(connection.broken).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    await expect(ended).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
  });
});
