/**
 * Goal: without any process of its mesh, the doctor finds a table of the configuration's definitions that may not be read,
 * and its SQL mends it. Method: the command against a real Postgres, as a role that lacks SELECT on one of two tables.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres from 'postgres';
import { expect, it } from 'vitest';
import type { Finding } from '../doctor/finding.ts';
import { runFreshet } from '../testing/fake-mesh.ts';

const DEFINITIONS = ['orders', 'users']
  .map((table) => `kind: Source\nname: ${table}\nmode: append\npostgres: { database: shop, table: public.${table} }\n`)
  .join('---\n');

it('finds a table that may not be read, before anything runs, with the SQL that makes it so', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-doctor-pg-test-'));
  const server = await startPostgres({});
  const sql = postgres(server.url, { max: 1, onnotice: () => {} });
  await sql.unsafe(`
    CREATE TABLE orders (id int8); CREATE TABLE users (id int8);
    CREATE ROLE reader LOGIN REPLICATION PASSWORD 'x'; GRANT SELECT ON orders TO reader`);
  const url = new URL(server.url);
  url.username = 'reader';
  url.password = 'x';
  const file = join(directory, 'mesh.yaml');
  writeFileSync(join(directory, 'features.yaml'), DEFINITIONS);
  writeFileSync(
    file,
    `data_dir: data\npostgres:\n  shop: ${url.href}\ndefinitions: [features.yaml]\nports: { registry: 0 }\n`,
    { mode: 0o600 },
  );
  const barred = async (): Promise<Finding[]> => {
    const { out } = await runFreshet(['doctor', '--json', '-f', file], { env: process.env });
    const { findings } = JSON.parse(out) as { findings: Finding[] };
    return findings.filter(({ message }) => message.includes('may not read') || message.includes('may be read'));
  };
  try {
    const [found, ...others] = await barred();
    expect(others).toEqual([]);
    expect(found).toMatchObject({
      area: 'databases',
      level: 'problem',
      message: 'user reader may not read public.users',
      place: 'database shop',
    });
    await sql.unsafe(found?.remedy ?? '');
    expect(await barred()).toMatchObject([{ level: 'ok', message: '2 tables that definitions name may be read' }]);
  } finally {
    await sql.end();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});
