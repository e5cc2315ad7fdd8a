/**
 * Runs a DDL against a database, rolled back, by a process of ingest that does only this (services/ingest/src/try-ddl.ts): no
 * service is imported here. Owns that process; judges nothing but whether the tables were as their contracts.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { changesBetween } from '@freshet/contracts/change.ts';
import {
  type ContractRecord,
  type GivenContracts,
  GivenContractsSchema,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { ERROR_CODES, type ErrorCode } from '@freshet/kit/error-codes.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { TRY_DDL_PROGRAM } from './mesh/layout.ts';
import type { Terminal } from './output/terminal.ts';

export interface TryDdlOptions {
  readonly url: string;
  readonly ddl: string;
  /** The contracts in force, with their tables: of those that are not in the database nothing is said. */
  readonly records: readonly ContractRecord[];
  readonly lockMsMax: number;
  readonly statementMsMax: number;
}

export interface TriedDdl {
  readonly given: GivenContracts;
  /** Sources whose tables were not as their contracts before the DDL. */
  readonly differs: readonly string[];
}

interface Answer {
  readonly before?: readonly JsonValue[];
  readonly after?: JsonValue;
  readonly error?: { readonly code: string; readonly message: string; readonly remedy: string; readonly place: string };
}

/** Throws what the process says: INVALID_REQUEST for a DDL that cannot be tried, SOURCE_UNREACHABLE, INVALID_CONFIG. */
export async function tryDdl(
  { env, signal }: Pick<Terminal, 'env' | 'signal'>,
  { records, ...question }: TryDdlOptions,
): Promise<TriedDdl> {
  const tables = records.flatMap(({ contract, table }) =>
    contract === undefined || table === undefined
      ? []
      : [{ source: contract.source, schema: table.schema, table: table.table }],
  );
  const { before = [], after, error } = await ask(JSON.stringify({ ...question, tables }), env, signal);
  if (error !== undefined) {
    const code = error.code in ERROR_CODES ? (error.code as ErrorCode) : 'INTERNAL';
    throw new FreshetError(code, error.message, { remedy: error.remedy, place: error.place });
  }
  const given = fromJson(GivenContractsSchema, after ?? {});
  if (given.contracts.length === 0)
    throw new FreshetError('INVALID_REQUEST', 'the database has none of the tables that sources read', {
      remedy: 'name the database that has them, or apply definitions over its tables first',
      place: 'database',
    });
  const inForce = new Map(records.map(({ contract }) => [contract?.source, contract]));
  const differs = before.flatMap((json) => {
    const found = fromJson(ContractSchema, json);
    const contract = inForce.get(found.source);
    return contract === undefined || changesBetween(contract, found).length === 0 ? [] : [found.source];
  });
  return { given, differs };
}

async function ask(question: string, env: Terminal['env'], signal: AbortSignal): Promise<Answer> {
  const child = spawn(process.execPath, [TRY_DDL_PROGRAM, '--log-level=error'], {
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('FRESHET_'))),
    signal,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  // A process that ends before it read everything says why.
  child.stdin.on('error', () => undefined);
  child.stdin.end(question);
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code === 0) return JSON.parse(out) as Answer;
  const said = err.trimEnd().split('\n').at(-1) ?? '';
  throw new FreshetError('INTERNAL', `trying the statements ended with ${code ?? 'a signal'}: ${said.slice(0, 500)}`);
}
