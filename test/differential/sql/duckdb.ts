/** DuckDB in this process. Owns the few calls that the tests make of it. */
import { DuckDBInstance } from '@duckdb/node-api';
import type { SqlEngine } from './sql-features.ts';

/** A database in memory. */
export async function openDuckDb(): Promise<SqlEngine> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  return { run: async (sql) => (await connection.runAndReadAll(sql)).getRowObjectsJson() };
}
