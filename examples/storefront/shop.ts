/** Opens the shop: its tables, made when they are missing, and its catalogue. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Sql } from 'postgres';
import { stockShelves } from './traffic.ts';

/** Throws SOURCE_UNREACHABLE when the database does not answer, SOURCE_NOT_READY when the tables cannot be made. */
export async function openShop(sql: Sql): Promise<void> {
  try {
    await sql`SELECT 1`;
  } catch (cause) {
    throw new FreshetError('SOURCE_UNREACHABLE', `the database does not answer: ${(cause as Error).message}`, {
      remedy: 'check the URL given with --postgres: host, port, user, password, database',
      cause,
    });
  }
  try {
    await sql.unsafe(await readFile(join(import.meta.dirname, 'schema.sql'), 'utf8'));
    await stockShelves(sql);
  } catch (cause) {
    throw new FreshetError('SOURCE_NOT_READY', `the shop's tables cannot be made: ${(cause as Error).message}`, {
      remedy: 'give a user that may create tables, or a database that has those of examples/storefront/schema.sql',
      cause,
    });
  }
}
