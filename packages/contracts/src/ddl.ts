/**
 * What a DDL text would make of contracts, without a database: the forms of ALTER TABLE, ALTER TYPE and DROP TABLE that
 * change what a source promises. Pure.
 *
 * Owns the statements. Invariant: what is not understood is told as such, and never counts as harmless; a DDL that is
 * understood to the last word is the only one that may pass.
 */
import { clone } from '@bufbuild/protobuf';
import {
  type Column,
  type Contract,
  ContractSchema,
  ReplicaIdentity,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Change } from './change.ts';
import { type Statement, statementsOf, TokenReader } from './ddl-tokens.ts';
import { columnOfType } from './ddl-type.ts';

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

interface Live extends DdlOutcome {
  schema: string;
  table: string;
  touched: boolean;
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
    ofTable: [],
    touched: false,
  }));
  const notUnderstood: string[] = [];
  const unread = new Set<string>();
  for (const statement of statementsOf(ddl)) {
    if (!follow(ddl, statement, live, unread)) notUnderstood.push(statement.text.slice(0, 200));
  }
  const outcomes = live
    .filter(({ touched }) => touched)
    .map(({ renamed, ...rest }) => ({ ...rest, renamed: new Map([...renamed].filter(([was, is]) => was !== is)) }));
  return { outcomes, notUnderstood, unread: [...unread].sort() };
}

/** Whether the whole statement was understood. */
function follow(ddl: string, { tokens }: Statement, live: Live[], unread: Set<string>): boolean {
  const reader = new TokenReader(tokens, ddl);
  if (['begin', 'commit'].some((word) => tokens.length === 1 && tokens[0]?.text === word)) return true;
  if (reader.take('set', 'lock_timeout') || reader.take('set', 'statement_timeout')) return true;
  // What is new is read by nobody yet, and an index changes no row.
  if (reader.take('create', 'table') || reader.take('create', 'index') || reader.take('create', 'unique', 'index'))
    return true;
  if (reader.take('drop', 'table')) return dropTables(reader, live, unread);
  if (reader.take('alter', 'type')) return alterType(reader, live);
  if (!reader.take('alter', 'table')) return false;
  reader.take('if', 'exists');
  reader.take('only');
  const found = tablesOf(reader, live, unread);
  if (found === undefined) return false;
  do {
    // One statement changes every source over the table alike.
    const action = parseAction(reader);
    if (action === undefined || !(reader.atEnd || reader.take(','))) return false;
    for (const one of found) {
      one.touched = true;
      if (!action(one)) return false;
    }
  } while (!reader.atEnd);
  return true;
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
  return reader.take('cascade') || reader.take('restrict') || reader.atEnd;
}

/** Does the action to a table; false: the table has no such column, so it cannot be meant. */
type Action = (table: Live) => boolean;

function parseAction(reader: TokenReader): Action | undefined {
  if (reader.take('add')) return parseAdd(reader);
  if (reader.take('drop')) return parseDrop(reader);
  if (reader.take('rename')) return parseRename(reader);
  if (reader.take('replica', 'identity')) return parseIdentity(reader);
  if (!reader.take('alter')) return undefined;
  reader.take('column');
  const name = reader.name();
  return name === undefined ? undefined : parseAlterColumn(reader, name);
}

function parseAdd(reader: TokenReader): Action | undefined {
  if (reader.take('constraint')) {
    if (reader.name() === undefined) return undefined;
    return parseConstraint(reader);
  }
  const constraint = parseConstraint(reader);
  if (constraint !== undefined) return constraint;
  reader.take('column');
  const ifNotExists = reader.take('if', 'not', 'exists');
  const name = reader.name();
  const type = reader.until(',', 'default', 'not', 'null', 'collate');
  if (name === undefined || type === '') return undefined;
  const column = columnOfType(name, type);
  if (column === undefined) return undefined;
  for (;;) {
    if (reader.take('not', 'null')) column.nullable = false;
    else if (reader.take('default')) column.defaultExpression = reader.until(',', 'not', 'null');
    else if (!reader.take('null')) break;
  }
  return ({ after }) => {
    if (after.columns.some((one) => one.name === name)) return ifNotExists;
    after.columns.push(column);
    return true;
  };
}

/** Constraints that refuse rows change no row that comes; a primary key names rows. */
function parseConstraint(reader: TokenReader): Action | undefined {
  if (reader.take('primary', 'key')) {
    const names = reader.names();
    return names === undefined
      ? undefined
      : ({ after }) => {
          after.primaryKey = names;
          for (const column of after.columns) if (names.includes(column.name)) column.nullable = false;
          return names.every((name) => after.columns.some((column) => column.name === name));
        };
  }
  if (['check', 'unique', 'foreign', 'exclude'].some((word) => reader.take(word))) {
    reader.until(',');
    return () => true;
  }
  return undefined;
}

function parseDrop(reader: TokenReader): Action | undefined {
  const cascades = (): boolean => reader.take('cascade') || reader.take('restrict') || true;
  if (reader.take('constraint')) {
    reader.take('if', 'exists');
    const name = reader.name();
    cascades();
    // By the name that Postgres gives; another one may be the primary key too, which only the database knows.
    return ({ after, table }) => {
      if (name !== `${table}_pkey`) return false;
      after.primaryKey = [];
      return true;
    };
  }
  reader.take('column');
  const ifExists = reader.take('if', 'exists');
  const name = reader.name();
  cascades();
  return ({ after, renamed }) => {
    const index = after.columns.findIndex((column) => column.name === name);
    if (index < 0) return ifExists;
    after.columns.splice(index, 1);
    if (after.primaryKey.includes(name ?? '')) after.primaryKey = [];
    for (const [was, is] of renamed) if (is === name) renamed.delete(was);
    return true;
  };
}

function parseRename(reader: TokenReader): Action | undefined {
  if (reader.take('to')) {
    const to = reader.name();
    return to === undefined
      ? undefined
      : (one) => {
          one.ofTable.push({ kind: 'table_renamed', column: '', before: one.table, after: to, readable: false });
          one.table = to;
          return true;
        };
  }
  if (reader.take('constraint')) {
    reader.until(',');
    return () => true;
  }
  reader.take('column');
  const from = reader.name();
  if (from === undefined || !reader.take('to')) return undefined;
  const to = reader.name();
  if (to === undefined) return undefined;
  return ({ after, renamed }) => {
    const column = after.columns.find((one) => one.name === from);
    if (column === undefined) return false;
    column.name = to;
    const follow = (name: string): string => (name === from ? to : name);
    after.primaryKey = after.primaryKey.map(follow);
    after.replicaIdentityColumns = after.replicaIdentityColumns.map(follow);
    for (const [was, is] of renamed) if (is === from) renamed.set(was, to);
    return true;
  };
}

function parseIdentity(reader: TokenReader): Action | undefined {
  const identities = { default: ReplicaIdentity.DEFAULT, full: ReplicaIdentity.FULL, nothing: ReplicaIdentity.NOTHING };
  for (const [word, identity] of Object.entries(identities)) {
    if (!reader.take(word)) continue;
    return ({ after }) => {
      after.replicaIdentity = identity;
      after.replicaIdentityColumns = [];
      return true;
    };
  }
  // USING INDEX: which columns an index has, only the database knows.
  return undefined;
}

function parseAlterColumn(reader: TokenReader, name: string): Action | undefined {
  const change =
    (act: (column: Column, one: Live) => void): Action =>
    (one) => {
      const column = one.after.columns.find((candidate) => candidate.name === name);
      if (column !== undefined) act(column, one);
      return column !== undefined;
    };
  const set = (values: Partial<Column>): Action => change((column) => void Object.assign(column, values));
  if (reader.take('set', 'not', 'null')) return set({ nullable: false });
  if (reader.take('drop', 'not', 'null')) return set({ nullable: true });
  if (reader.take('drop', 'default')) return set({ defaultExpression: '' });
  if (reader.take('set', 'default')) {
    const expression = reader.until(',');
    return expression === '' ? undefined : set({ defaultExpression: expression });
  }
  if (reader.take('set', 'statistics') || reader.take('set', 'storage')) {
    reader.until(',');
    return change(() => {});
  }
  if (!(reader.take('type') || reader.take('set', 'data', 'type'))) return undefined;
  const type = reader.until(',', 'using', 'collate');
  if (type === '') return undefined;
  if (reader.take('collate') && reader.qualified() === undefined) return undefined;
  const rewrites = reader.take('using') && reader.until(',') !== '';
  const made = columnOfType(name, type);
  return made === undefined
    ? undefined
    : change((column, one) => retype(column, made, rewrites ? one.rewritten : undefined));
}

/** Gives the column the type of another one; the labels and domains that it had went with its old type. */
function retype(column: Column, made: Column, rewritten: Set<string> | undefined): void {
  delete column.precision;
  delete column.scale;
  const { name, nullable, defaultExpression, tableOid, columnNumber } = column;
  Object.assign(column, made, { name, nullable, defaultExpression, tableOid, columnNumber });
  rewritten?.add(name);
}

/** ALTER TYPE of an enum changes every column of it, in every table. */
function alterType(reader: TokenReader, live: readonly Live[]): boolean {
  const type = reader.qualified();
  if (type === undefined) return false;
  const act = parseLabels(reader);
  if (act === undefined || !reader.atEnd) return false;
  for (const one of live) {
    for (const column of one.after.columns) {
      const name = column.sourceType.replace(/\[\]$/, '').replaceAll('"', '').split('.').at(-1);
      if (name !== type.name || column.enumLabels.length === 0) continue;
      one.touched = true;
      if (!act(column.enumLabels)) return false;
    }
  }
  return true;
}

function parseLabels(reader: TokenReader): ((labels: string[]) => boolean) | undefined {
  if (reader.take('rename', 'value')) {
    const from = reader.string();
    const to = reader.take('to') ? reader.string() : undefined;
    if (from === undefined || to === undefined) return undefined;
    return (labels) => {
      const index = labels.indexOf(from);
      if (index >= 0) labels[index] = to;
      return index >= 0;
    };
  }
  if (!reader.take('add', 'value')) return undefined;
  const ifNotExists = reader.take('if', 'not', 'exists');
  const label = reader.string();
  const side = reader.take('before') ? 0 : reader.take('after') ? 1 : undefined;
  const beside = side === undefined ? undefined : reader.string();
  if (label === undefined || (side !== undefined && beside === undefined)) return undefined;
  return (labels) => {
    if (labels.includes(label)) return ifNotExists;
    const at = beside === undefined ? labels.length : labels.indexOf(beside) + (side ?? 0);
    if (beside !== undefined && !labels.includes(beside)) return false;
    labels.splice(at, 0, label);
    return true;
  };
}
