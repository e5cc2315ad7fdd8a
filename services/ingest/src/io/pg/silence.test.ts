/**
 * Goal: a server that stopped, though its kernel still takes our bytes, holds up no command for ever.
 * Method: a server by hand that admits everybody and then says nothing; a clock that the test moves.
 */
import { createServer, type Server } from 'node:net';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ChangeStream } from '../../core/change-stream.ts';
import { Replication } from '../../core/replication.ts';
import { PgPeekedStream } from './peeked-stream.ts';
import { PgConnection, type PgConnectionOptions } from './pg-connection.ts';

let server: Server;
let port: number;
/** What the server answers to the first bytes; nothing: it is stopped from the beginning. */
let greeting: Buffer;
/** What it answers to the first command. */
let answer: Buffer;

const READY = Buffer.of(0x5a, 0, 0, 0, 5, 0x49);
const ADMITTED = Buffer.concat([Buffer.of(0x52, 0, 0, 0, 8, 0, 0, 0, 0), READY]);
/** A row of one column. */
const ROW = Buffer.concat([Buffer.of(0x44, 0, 0, 0, 13, 0, 1, 0, 0, 0, 3), Buffer.from('0/9')]);
const DONE = Buffer.concat([Buffer.of(0x43, 0, 0, 0, 13), Buffer.from('SELECT 1\0')]);

beforeEach(async () => {
  answer = Buffer.alloc(0);
  server = createServer((socket) => {
    const answers = [greeting, answer];
    socket.on('error', () => {}).on('data', () => socket.write(answers.shift() ?? Buffer.alloc(0)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});
afterEach(() => server.close());

function optionsOf(clock: VirtualClock): PgConnectionOptions {
  const target = {
    host: '127.0.0.1',
    port,
    database: 'd',
    user: 'u',
    password: '',
    sslMode: 'disable' as const,
    certificateAuthorities: undefined,
  };
  return { target, clock, applicationName: 'test', silenceMsMax: 60_000 };
}

function open(clock: VirtualClock): Promise<PgConnection> {
  return PgConnection.open(optionsOf(clock), new AbortController().signal);
}

/** Real sockets need real turns of the event loop beside the clock's. */
async function pass(clock: VirtualClock, seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i++) await clock.advance(1_000_000);
}

it('gives up a command after a minute without a byte', async () => {
  greeting = ADMITTED;
  const clock = new VirtualClock();
  const connection = await open(clock);
  let failure: unknown;
  const asking = connection.query('SELECT 1').catch((error: unknown) => {
    failure = error;
  });
  await pass(clock, 50);
  expect(failure).toBeUndefined();
  await pass(clock, 20);
  await asking;
  expect(failure).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
});

it('gives up connecting after a quarter of a minute', async () => {
  greeting = Buffer.alloc(0);
  const clock = new VirtualClock();
  const opening = open(clock);
  opening.catch(() => {});
  await pass(clock, 30);
  await expect(opening).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
});

it('gives a server ten minutes to decode what a slot would tell again, whoever reads that', async () => {
  greeting = ADMITTED;
  answer = Buffer.concat([ROW, DONE, READY]);
  const clock = new VirtualClock();
  const { signal } = new AbortController();
  const about = { slotName: 's', publications: ['p'], place: 'database shop' };
  const connection = await PgPeekedStream.open(optionsOf(clock), about, signal);
  let failure: unknown;
  const telling = new Replication({
    connection,
    stream: new ChangeStream([]),
    pipeline: { push: (_batch, settled) => settled(), room: async () => {}, drained: async () => {} },
    acknowledgedLsn: 0n,
    save: async () => {},
    clock,
    signal,
  })
    .run(() => {})
    .catch((error: unknown) => {
      failure = error;
    });
  await pass(clock, 570);
  expect(failure).toBeUndefined();
  await pass(clock, 60);
  await telling;
  expect(failure).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
});
