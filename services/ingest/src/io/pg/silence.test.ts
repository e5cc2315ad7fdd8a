/**
 * Goal: a server that stopped, though its kernel still takes our bytes, holds up no command for ever.
 * Method: a server by hand that admits everybody and then says nothing; a clock that the test moves.
 */
import { createServer, type Server } from 'node:net';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PgConnection } from './pg-connection.ts';

let server: Server;
let port: number;
/** What the server answers to the first bytes; nothing: it is stopped from the beginning. */
let greeting: Buffer;

beforeEach(async () => {
  server = createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.write(greeting));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});
afterEach(() => server.close());

function open(clock: VirtualClock): Promise<PgConnection> {
  const target = {
    host: '127.0.0.1',
    port,
    database: 'd',
    user: 'u',
    password: '',
    sslMode: 'disable' as const,
    certificateAuthorities: undefined,
  };
  const signal = new AbortController().signal;
  return PgConnection.open({ target, clock, applicationName: 'test', silenceMsMax: 60_000 }, signal);
}

/** Real sockets need real turns of the event loop beside the clock's. */
async function pass(clock: VirtualClock, seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i++) await clock.advance(1_000_000);
}

it('gives up a command after a minute without a byte', async () => {
  greeting = Buffer.concat([Buffer.of(0x52, 0, 0, 0, 8, 0, 0, 0, 0), Buffer.of(0x5a, 0, 0, 0, 5, 0x49)]);
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
