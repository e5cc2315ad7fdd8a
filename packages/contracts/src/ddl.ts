/**
 * What a DDL text would make of contracts, without a database: the forms of ALTER TABLE, ALTER TYPE and DROP TABLE that
 * change what a source promises. Pure.
 *
 * Owns the statements. Invariant: what is not understood is told as such, and never counts as harmless; a DDL that is
 * understood to the last word is the only one that may pass.
 */
import { clone } from '@bufbuild/protobuf';
import { type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Change } from './change.ts';
import { alterType, createType } from './ddl-enum.ts';
import { type Action, parseAction } from './ddl-table.ts';
import { type Statement, statementsOf, TokenReader } from './ddl-tokens.ts';
import { typesOf, type UserTypes } from './ddl-type.ts';

/** A source's table as it is. */
export interface DdlTable {
  readonly source: string;
  readonly schema: string;
  readonly table: string;
  readonly contract: Contract;
}

/** A source's table as it would be. */
export interface DdlOutcome {
  readonly source: string;
  readonly after: Contract;
  readonly renamed: Map<string, string>;
  readonly rewritten: Set<string>;
  /** What happens to the table as a whole. */
  readonly ofTable: Change[];
}

export interface DdlResult {
  /** Of the sources whose tables the DDL changes. */
  readonly outcomes: readonly DdlOutcome[];
  /** Statements, or parts of them, that were not understood. */
  readonly notUnderstood: readonly string[];
  /** Tables that no source reads, as they were written. */
  readonly unread: readonly string[];
}

export interface Live extends DdlOutcome {
  /** The names of the columns as they were. */
  readonly before: ReadonlySet<string>;
  schema: string;
  table: string;
  touched: boolean;
  /** What the primary key is called: until it is told, what Postgres calls it by itself. */
  primaryKeyName: string;
  after: Contract;
}

/** Follows the statements in order. Throws INVALID_REQUEST for a text that has no tokens to read. */
export function applyDdl(ddl: string, tables: readonly DdlTable[]): DdlResult {
  const live: Live[] = tables.map(({ source, schema, table, contract }) => ({
    source,
    schema,
    table,
    after: clone(ContractSchema, contract),
    renamed: new Map(contract.columns.map(({ name }) => [name, name])),
    rewritten: new Set(),
    before: new Set(contract.columns.map(({ name }) => name)),
    ofTable: [],
    primaryKeyName: `${table}_pkey`,
    touched: false,
  }));
  const notUnderstood: string[] = [];
  const unread = new Set<string>();
  const types = typesOf(tables.flatMap(({ contract }) => contract.columns));
  for (const statement of statementsOf(ddl)) {
    if (!follow(ddl, statement, { live, unread, types })) notUnderstood.push(statement.text.slice(0, 200));
  }
  const outcomes = live
    .filter(({ touched }) => touched)
    .map(({ renamed, ...rest }) => ({ ...rest, renamed: new Map([...renamed].filter(([was, is]) => was !== is)) }));
  return { outcomes, notUnderstood, unread: [...unread].sort() };
}

/** What the statements so far made. */
interface Known {
  readonly live: Live[];
  readonly unread: Set<string>;
  readonly types: UserTypes;
}

/** Whether the whole statement was understood. */
function follow(ddl: string, { tokens }: Statement, { live, unread, types }: Known): boolean {
  const reader = new TokenReader(tokens, ddl);
  if (['begin', 'commit'].some((word) => tokens.length === 1 && tokens[0]?.text === word)) return true;
  if (reader.take('set', 'lock_timeout') || reader.take('set', 'statement_timeout')) return true;
  // What is new is read by nobody yet, and an index changes no row.
  if (reader.take('create', 'table') || reader.take('create', 'index') || reader.take('create', 'unique', 'index'))
    return true;
  if (reader.take('drop', 'table')) return dropTables(reader, live, unread);
  if (reader.take('create', 'type')) return createType(reader, types);
  if (reader.take('alter', 'type')) return alterType(reader, live, types);
  if (!reader.take('alter', 'table')) return false;
  reader.take('if', 'exists');
  reader.take('only');
  const found = tablesOf(reader, live, unread);
  if (found === undefined) return false;
  const actions: Action[] = [];
  do {
    const action = parseAction(reader, types);
    if (action === undefined || !(reader.atEnd || reader.take(','))) return false;
    actions.push(action);
  } while (!reader.atEnd);
  actions.sort((a, b) => a.pass - b.pass);
  for (const one of found) one.touched = true;
  // One statement changes every source over the table alike.
  return actions.every(({ act }) => found.every((one) => act(one)));
}

function tablesOf(reader: TokenReader, live: readonly Live[], unread: Set<string>): Live[] | undefined {
  const written = reader.qualified();
  if (written === undefined) return undefined;
  const { schema = 'public', name } = written;
  const found = live.filter((one) => one.schema === schema && one.table === name);
  if (found.length === 0) unread.add(`${schema}.${name}`);
  return found;
}

function dropTables(reader: TokenReader, live: readonly Live[], unread: Set<string>): boolean {
  reader.take('if', 'exists');
  do {
    const found = tablesOf(reader, live, unread);
    if (found === undefined) return false;
    for (const one of found) {
      one.touched = true;
      one.ofTable.push({ kind: 'table_dropped', column: '', before: one.table, after: '', readable: false });
    }
  } while (reader.take(','));
  if (!reader.take('cascade')) reader.take('restrict');
  return reader.atEnd;
}
