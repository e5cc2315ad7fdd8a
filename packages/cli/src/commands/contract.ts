/**
 * freshet contract: the contracts of sources, and whom a change would hurt.
 * Owns words and exit codes; the verdicts are the registry's.
 */
import { readFile } from 'node:fs/promises';
import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { toJson } from '@bufbuild/protobuf';
import {
  AcceptContractResponseSchema,
  type CheckContractRequestSchema,
  type CheckContractResponse,
  CheckContractResponseSchema,
  type ContractRecord,
  ContractService,
  ContractVerdict,
  GetContractResponseSchema,
  ListContractsResponseSchema,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { whoApplies } from '../definitions.ts';
import { judgementText } from '../output/judgement-text.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { tryDdl } from '../try-ddl.ts';

/** The tables may have to be asked for first. */
const DEADLINE_MS = 30_000;

export interface ContractOptions {
  readonly registry: string;
  readonly json?: boolean;
}

export interface CheckOptions extends ContractOptions {
  /** Statements, or "@file". */
  readonly ddl?: string;
  /** Where they are run, and rolled back: a URL, or "@file". */
  readonly database?: string;
  /** Milliseconds. */
  readonly lockTimeout: number;
  readonly statementTimeout: number;
}

async function ask<T>(
  { registry }: ContractOptions,
  work: (client: GrpcClient<typeof ContractService>) => Promise<T>,
): Promise<T> {
  const client = createGrpcClient(ContractService, registry, { deadlineMs: DEADLINE_MS });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

function json(terminal: Terminal, value: unknown): void {
  terminal.out(`${JSON.stringify(value)}\n`);
}

export async function listCommand(terminal: Terminal, options: ContractOptions): Promise<void> {
  const response = await ask(options, (client) => client.listContracts({}, { signal: terminal.signal }));
  if (options.json === true) return json(terminal, toJson(ListContractsResponseSchema, response));
  const head = ['source', 'table', 'version', 'columns', 'since'].map((name) => ({ head: name }));
  const rows = response.contracts.map((record) => [
    record.contract?.source ?? '',
    record.table === undefined ? '' : `${record.table.schema}.${record.table.table}`,
    String(record.contract?.version ?? 0),
    String(record.contract?.columns.length ?? 0),
    sinceText(record),
  ]);
  terminal.out(rows.length === 0 ? 'No source is in force.\n' : table(terminal, head, rows));
}

export async function showCommand(terminal: Terminal, source: string, options: ContractOptions): Promise<void> {
  const response = await ask(options, (client) => client.getContract({ source }, { signal: terminal.signal }));
  if (options.json === true) return json(terminal, toJson(GetContractResponseSchema, response));
  const [newest] = response.versions;
  const head = ['column', 'type', 'null', 'default'].map((name) => ({ head: name }));
  const rows = (newest?.contract?.columns ?? []).map((column) => [
    column.name,
    column.enumLabels.length === 0 ? column.sourceType : `${column.sourceType} (${column.enumLabels.join(', ')})`,
    column.nullable ? 'yes' : 'no',
    column.defaultExpression,
  ]);
  terminal.out(table(terminal, head, rows));
  for (const record of response.versions)
    terminal.out(`version ${record.contract?.version ?? 0}: ${sinceText(record)}\n`);
  if (response.judgement !== undefined) {
    const { seen, shownVersion } = response;
    const what =
      seen === undefined ? `is back at version ${shownVersion}` : `showed another shape at ${lsnText(seen.lsn)}`;
    terminal.out(`\nThe stream ${what}:\n`);
    terminal.out(judgementText(terminal, response.judgement));
  }
}

/** Whether nothing breaks anybody and every statement was understood. */
export async function checkCommand(
  terminal: Terminal,
  sources: readonly string[],
  options: CheckOptions,
): Promise<boolean> {
  const response = await ask(options, async (client) => {
    const change = await changeOf(terminal, client, sources, options);
    return client.checkContract({ change, sources: [...sources] }, { signal: terminal.signal });
  });
  if (options.json === true) json(terminal, toJson(CheckContractResponseSchema, response));
  else terminal.out(checkText(terminal, response));
  return (
    response.notUnderstood.length === 0 && response.judgements.every((one) => one.verdict !== ContractVerdict.BREAKING)
  );
}

/** What is judged: the tables as they are, the text of statements, or what they made of the tables of a database. */
async function changeOf(
  terminal: Terminal,
  client: GrpcClient<typeof ContractService>,
  sources: readonly string[],
  { ddl, database, lockTimeout, statementTimeout }: CheckOptions,
): Promise<NonNullable<MessageInitShape<typeof CheckContractRequestSchema>['change']>> {
  if (ddl === undefined) return { case: 'live', value: true };
  const statements = await textOf(ddl);
  if (database === undefined) return { case: 'ddl', value: statements };
  const { contracts } = await client.listContracts({}, { signal: terminal.signal });
  const tried = await tryDdl(terminal, {
    url: (await textOf(database)).trim(),
    ddl: statements,
    records: contracts.filter(({ contract }) => sources.length === 0 || sources.includes(contract?.source ?? '')),
    lockMsMax: lockTimeout,
    statementMsMax: statementTimeout,
  });
  for (const name of tried.differs)
    terminal.err(`the table of source ${name} is not as its contract before the statements: the verdict is of both\n`);
  return { case: 'given', value: tried.given };
}

/** The text, or that of a file by "@path". */
async function textOf(text: string): Promise<string> {
  if (!text.startsWith('@')) return text;
  return readFile(text.slice(1), 'utf8').catch((cause: unknown) => {
    throw new FreshetError('INVALID_REQUEST', `${text.slice(1)} cannot be read`, { place: text.slice(1), cause });
  });
}

/** Whether it was accepted, or there was nothing to accept. */
export async function acceptCommand(
  terminal: Terminal,
  options: ContractOptions & { readonly yes?: boolean; readonly message?: string },
): Promise<boolean> {
  const { signal } = terminal;
  const { message = '' } = options;
  return ask(options, async (client) => {
    const asked = await client.acceptContract({}, { signal });
    const isWanted = options.yes === true && asked.judgements.length > 0;
    const response: MessageShape<typeof AcceptContractResponseSchema> = isWanted
      ? await client.acceptContract({ planHash: asked.planHash, by: whoApplies(), message }, { signal })
      : asked;
    if (options.json === true) json(terminal, toJson(AcceptContractResponseSchema, response));
    else {
      for (const judgement of asked.judgements) terminal.out(judgementText(terminal, judgement));
      if (asked.judgements.length === 0) terminal.out('Every table keeps its contract: nothing to accept.\n');
      else if (isWanted) terminal.out(`Accepted; generation ${response.generation} is in force.\n`);
      else terminal.out('Nothing was accepted. Repeat with --yes to accept this.\n');
    }
    return isWanted || asked.judgements.length === 0;
  });
}

function checkText(terminal: Pick<Terminal, 'colours'>, response: CheckContractResponse): string {
  const lines = response.judgements.map((judgement) => judgementText(terminal, judgement));
  for (const name of response.unreadTables) lines.push(`No source reads ${name}.\n`);
  for (const text of response.notUnderstood)
    lines.push(`${paint(terminal, 'red', 'not understood')} ${text}\n    what it does is not judged\n`);
  // A source that is as it was has no line.
  return lines.join('') || 'No contract changes.\n';
}

function sinceText({ acceptedAtUs, acceptedBy, lsn, returns }: ContractRecord): string {
  const accepted =
    acceptedAtUs === 0n
      ? 'accepted before contracts were kept'
      : `accepted ${new Date(Number(acceptedAtUs / 1_000n)).toISOString()} by ${acceptedBy}`;
  if (lsn === 0n) return accepted;
  const again = returns.map((one) => `, again since ${lsnText(one.lsn)}`).join('');
  return `${accepted}, in the stream since ${lsnText(lsn)}${again}`;
}

/** As Postgres writes a position. */
function lsnText(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}
