/**
 * DuckDB in this process, if its package is installed. Owns the few calls that the tests make of it.
 * The package is loaded by name at run time, because it is not among the dependencies of every checkout.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { SqlEngine } from './sql-features.ts';

const PACKAGE = '@duckdb/node-api';

/** What is used of the package's module. */
interface DuckDbModule {
  readonly DuckDBInstance: { create(path: string): Promise<{ connect(): Promise<DuckDbConnection> }> };
}

interface DuckDbConnection {
  runAndReadAll(sql: string): Promise<{ getRowObjectsJson(): Readonly<Record<string, unknown>>[] }>;
}

/** A database in memory; or, in words, why there is none. */
export async function openDuckDb(): Promise<SqlEngine | string> {
  let module: unknown;
  try {
    module = await import(PACKAGE);
  } catch (error) {
    const isMissing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND';
    return isMissing ? `${PACKAGE} is not installed` : `${PACKAGE} cannot be loaded: ${String(error)}`;
  }
  assert(
    typeof module === 'object' && module !== null && 'DuckDBInstance' in module,
    `${PACKAGE} has no DuckDBInstance`,
  );
  const instance = await (module as DuckDbModule).DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  return { run: async (sql) => (await connection.runAndReadAll(sql)).getRowObjectsJson() };
}
