/**
 * Goal: connections over TLS as the URL asks, errors that say what to do, texts that arrive whole, and no wait for ever
 * on a server that fell silent.
 * Method: a real Postgres, with a certificate made by the openssl command (skipped without it), behind a proxy that can
 * be stopped, and strangers on the port.
 */
import { execFileSync } from 'node:child_process';
import { chownSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, define, idsOf, startCapture, temporaryDirectory } from '../../testing/capture.ts';
import { parseConnectionUrl } from './connection-url.ts';
import { PgConnection, withConnection } from './pg-connection.ts';

const patient = { timeout: 30_000, interval: 50 };

let server: RunningPostgres;
beforeAll(async () => {
  server = await startPostgres({ settings: { wal_sender_timeout: '2s' } });
});
afterAll(() => server.stop());

function open(url: string): Promise<PgConnection> {
  return PgConnection.open({ target: parseConnectionUrl(url), applicationName: 'test' }, AbortSignal.timeout(10_000));
}

async function listen(onConnection: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const listener = createServer(onConnection);
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  return { server: listener, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

describe('queries', () => {
  it('return texts whole, nulls, and many rows; an error leaves the connection usable', async () => {
    const connection = await open(server.url);
    const { columns, rows } = await connection.query(
      "SELECT i, CASE WHEN i % 2 = 0 THEN repeat('ü', i) END AS t FROM generate_series(1, 5000) i",
    );
    expect(columns).toEqual(['i', 't']);
    expect(rows).toHaveLength(5000);
    expect(rows[999]).toEqual(['1000', 'ü'.repeat(1000)]);
    expect(rows[1000]).toEqual(['1001', null]);
    await expect(connection.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' });
    expect((await connection.query('SELECT 1; SELECT 2')).rows).toEqual([['2']]);
    await connection.close();
  });

  it('are not cut off by limits of time that the database has for its sessions', async () => {
    const database = await createDatabase(server.url);
    const { name, sql } = database;
    const limits = [
      'statement_timeout',
      'idle_in_transaction_session_timeout',
      'idle_session_timeout',
      'transaction_timeout',
    ];
    const [known] = await sql`SELECT count(*)::int AS n FROM pg_settings WHERE name IN ${sql(limits)}`;
    // Else the newest of them would be tested by nobody.
    expect(known?.['n']).toBe(limits.length);
    for (const limit of limits) await sql.unsafe(`ALTER DATABASE "${name}" SET ${limit} = '200ms'`);
    const connection = await open(database.url);
    await systemClock.sleep(500);
    await connection.query('BEGIN');
    await connection.query('SELECT pg_sleep(0.5)');
    await systemClock.sleep(500);
    expect((await connection.query("SELECT 'there'")).rows).toEqual([['there']]);
    await connection.close();
    await database.drop();
  });

  it('copy out without reading ahead, and end with the signal', async () => {
    const connection = await open(server.url);
    let bytes = 0;
    for await (const piece of connection.copyOut('COPY (SELECT i FROM generate_series(1, 100000) i) TO STDOUT'))
      bytes += piece.length;
    expect(bytes).toBe(588_895);
    const controller = new AbortController();
    const release = connection.destroyOn(controller.signal);
    const query = connection.query('SELECT pg_sleep(60)');
    controller.abort(new DOMException('enough', 'AbortError'));
    await expect(query).rejects.toMatchObject({ code: 'CANCELLED' });
    release();
    await connection.close();
  });
});

describe('strangers', () => {
  it('are told from Postgres: nobody there, another protocol, no answer', async () => {
    const http = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const url = (port: number): string => `postgres://u:secret@127.0.0.1:${port}/db?sslmode=disable`;
    await expect(open(url(http.port))).rejects.toMatchObject({
      code: 'SOURCE_UNREACHABLE',
      remedy: expect.stringContaining('host and port') as string,
    });
    http.server.close();
    await expect(open(url(1))).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE', place: 'u@127.0.0.1:1/db' });
    const mute = await listen(() => {});
    const attempt = PgConnection.open(
      { target: parseConnectionUrl(url(mute.port)), applicationName: 'test' },
      AbortSignal.timeout(200),
    );
    await expect(attempt).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    mute.server.close();
  });
});

describe('TLS', () => {
  const openssl = (() => {
    try {
      execFileSync('openssl', ['version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  })();

  it.skipIf(!openssl)('is used where offered, demanded where asked for, and verified where told to', async () => {
    await expect(open(`${server.url}?sslmode=require`)).rejects.toMatchObject({
      code: 'SOURCE_NOT_READY',
      message: expect.stringContaining('TLS') as string,
    });
    const [crt, key] = ['server.crt', 'server.key'].map((name) => join(server.dataDirectory, name)) as [string, string];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, '-keyout', key, '-out', crt],
      { stdio: 'ignore' },
    );
    const { uid, gid } = statSync(server.dataDirectory);
    for (const file of [crt, key]) chownSync(file, uid, gid);
    const sql = postgres(server.url, { max: 1 });
    await sql`ALTER SYSTEM SET ssl = on`;
    await sql`SELECT pg_reload_conf()`;
    await sql.end();
    const local = server.url.replace('127.0.0.1', 'localhost');
    const isTls = (url: string): Promise<string | null | undefined> =>
      withConnection(
        { target: parseConnectionUrl(url), applicationName: 'test' },
        AbortSignal.timeout(10_000),
        async (connection) => {
          const { rows } = await connection.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
          return rows[0]?.[0];
        },
      );
    await expect.poll(() => isTls(local), patient).toBe('t');
    expect(await isTls(`${local}?sslmode=disable`)).toBe('f');
    expect(await isTls(`${local}?sslmode=require`)).toBe('t');
    expect(await isTls(`${local}?sslmode=verify-full&sslrootcert=${crt}`)).toBe('t');
    expect(await isTls(`${server.url}?sslmode=verify-ca&sslrootcert=${crt}`)).toBe('t');
    await expect(isTls(`${local}?sslmode=verify-full`)).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    await expect(isTls(`${server.url}?sslmode=verify-full&sslrootcert=${crt}`)).rejects.toMatchObject({
      code: 'SOURCE_UNREACHABLE',
    });
  });
});

describe('a connection that died without a word', () => {
  it('is noticed and made anew', async () => {
    const pairs = new Set<readonly [Socket, Socket]>();
    const proxy = await listen((socket) => {
      const upstream = connect(server.port, '127.0.0.1');
      for (const end of [socket, upstream]) end.on('error', () => {});
      socket.pipe(upstream).pipe(socket);
      const pair = [socket, upstream] as const;
      pairs.add(pair);
      socket.once('close', () => pairs.delete(pair));
    });
    const database = await createDatabase(server.url);
    const directory = temporaryDirectory();
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    const log = createMemoryLog({ partitions: 2, clock: systemClock });
    const capture = await startCapture({
      url: database.url.replace(`:${server.port}/`, `:${proxy.port}/`).concat('?sslmode=disable'),
      directory: directory.path,
      log,
    });
    await capture.node.apply(await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    // From now on the connections that are open carry nothing, and do not say so.
    const dead = [...pairs];
    for (const [socket, upstream] of dead) {
      socket.unpipe(upstream);
      upstream.unpipe(socket);
    }
    await database.sql`INSERT INTO events VALUES (1, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1]);
    await capture.stop();
    for (const pair of [...dead, ...pairs]) for (const end of pair) end.destroy();
    proxy.server.close();
    await database.drop();
    directory.remove();
  });
});
