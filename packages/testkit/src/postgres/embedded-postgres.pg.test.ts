/**
 * Goal: tests and the example can rely on a Postgres in every situation they start in.
 * Method: real servers, below a closed directory, after a crash, after a SIGKILL of the owner.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import postgres from 'postgres';
import { describe, expect, it } from 'vitest';
import { startPostgres } from './embedded-postgres.ts';
import { isAlive } from './postmaster.ts';

async function query(url: string, text: string): Promise<unknown[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return await sql.unsafe(text);
  } finally {
    await sql.end();
  }
}

describe('startPostgres', () => {
  it('runs below a directory that only its owner may enter, and keeps what was committed over stop and crash', async () => {
    const closed = mkdtempSync(join(tmpdir(), 'freshet-closed-'));
    const directory = join(closed, 'db');
    mkdirSync(directory);
    const first = await startPostgres({ directory });
    expect(await query(first.url, 'SHOW wal_level')).toMatchObject([{ wal_level: 'logical' }]);
    await query(first.url, 'CREATE TABLE t AS SELECT 1 AS a');
    await expect(startPostgres({ directory })).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await first.kill();
    const second = await startPostgres({ directory, settings: { wal_sender_timeout: '3s' } });
    expect(await query(second.url, 'SELECT a FROM t')).toEqual([{ a: 1 }]);
    expect(await query(second.url, 'SHOW wal_sender_timeout')).toMatchObject([{ wal_sender_timeout: '3s' }]);
    await second.stop();
    rmSync(dirname(second.dataDirectory), { recursive: true });
    rmSync(closed, { recursive: true, force: true });
  });

  it('stops a server whose owner was killed, and takes its place', async () => {
    const closed = mkdtempSync(join(tmpdir(), 'freshet-orphan-'));
    const directory = join(closed, 'db');
    const script = `
      import { startPostgres } from ${JSON.stringify(new URL('embedded-postgres.ts', import.meta.url).href)};
      import { readFileSync } from 'node:fs';
      const db = await startPostgres({ directory: ${JSON.stringify(directory)} });
      console.log(readFileSync(db.dataDirectory + '/postmaster.pid', 'utf8').split('\\n')[0]);
      setInterval(() => {}, 1000);`;
    const owner = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(owner.stdout, 'data')) as [Buffer];
    owner.kill('SIGKILL');
    await once(owner, 'exit');
    const orphan = Number(line.toString());
    expect(isAlive(orphan)).toBe(true);
    const next = await startPostgres({ directory });
    expect(isAlive(orphan)).toBe(false);
    expect(await query(next.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await next.stop();
    rmSync(dirname(next.dataDirectory), { recursive: true });
    rmSync(closed, { recursive: true, force: true });
  });
});
