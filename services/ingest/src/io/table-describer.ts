/** Describes tables for the registry's plans: their shape as a contract, and what keeps them from being captured. */
import { type Contract, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { type CatalogTable, contractOf } from '../core/contract.ts';
import { leafFindings, unloggedFindings } from '../core/leaf-findings.ts';
import { serverFindings, tableFindings, untoldFindings } from '../core/preflight.ts';
import { type ColumnValues, withValuesSince } from '../core/table-fill.ts';
import { readRowsEstimate, readServer, readTable } from './catalog.ts';
import { notConfigured } from './ingest-node.ts';
import type { PgConnection } from './pg/pg-connection.ts';

export interface TableQuestion {
  readonly source: string;
  readonly database: string;
  readonly schema: string;
  readonly table: string;
  readonly mode: SourceMode;
}

export interface TableAnswer {
  readonly contract: Contract | undefined;
  readonly problems: readonly FreshetError[];
  /** How many rows the database believes it has; undefined when it was never counted. */
  readonly rows?: bigint | undefined;
}

/** A database that can be asked. */
export interface Database {
  readonly name: string;
  connect<T>(signal: AbortSignal, work: (connection: PgConnection) => Promise<T>): Promise<T>;
}

/** What of a table's values was computed anew since it is captured, by its database's name and its oid (core/table-fill.ts). */
export type KnownValues = (database: string, tableOid: number) => readonly ColumnValues[];

/** One answer per question, in order. A database that does not answer or is not set up is a problem of its tables. */
export async function describeTables(
  databases: readonly Database[],
  questions: readonly TableQuestion[],
  signal: AbortSignal,
  valuesOf: KnownValues = () => [],
): Promise<TableAnswer[]> {
  const answers = new Map<TableQuestion, TableAnswer>();
  const byDatabase = Map.groupBy(questions, ({ database }) => database);
  for (const [name, asked] of byDatabase) {
    const database = databases.find((candidate) => candidate.name === name);
    try {
      if (database === undefined) throw notConfigured(name);
      await database.connect(signal, async (connection) => {
        const server = await readServer(connection);
        const problems = serverFindings(server);
        for (const question of asked) {
          const table = await readTable(connection, question.schema, question.table);
          answers.set(question, {
            contract: table === undefined ? undefined : describedContract(question, table, valuesOf),
            problems: [
              ...problems,
              ...tableFindings(question, table, server.user),
              ...(table === undefined ? [] : unloggedFindings(table)),
              ...(table !== undefined && question.mode === SourceMode.MUTABLE
                ? [...untoldFindings(table), ...leafFindings(table)]
                : []),
            ],
            rows: table === undefined ? undefined : await readRowsEstimate(connection, question.schema, question.table),
          });
        }
      });
    } catch (error) {
      if (!isFreshetError(error) || signal.aborted) throw error;
      for (const question of asked) {
        if (!answers.has(question)) answers.set(question, { contract: undefined, problems: [error] });
      }
    }
  }
  return questions.map((question) => answers.get(question) ?? { contract: undefined, problems: [] });
}

/** A mutable source's rows are read anew for it: there is nothing to accept. */
function describedContract(
  { source, database, mode }: TableQuestion,
  table: CatalogTable,
  valuesOf: KnownValues,
): Contract {
  const contract = contractOf(source, table);
  return mode === SourceMode.MUTABLE ? contract : withValuesSince(contract, valuesOf(database, table.oid));
}
