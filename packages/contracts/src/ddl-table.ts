/**
 * What the actions of an ALTER TABLE make of a contract. Owns the actions, and the order in which Postgres does those of one
 * statement. Each is read first and done later: a statement of which one is not understood changes nothing by halves.
 */
import { clone } from '@bufbuild/protobuf';
import { type Column, ColumnSchema, ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Live } from './ddl.ts';
import type { TokenReader } from './ddl-tokens.ts';
import { columnOfType, type UserTypes } from './ddl-type.ts';

/** Does the action to a table; false: the table has no such column, so it cannot be meant. */
type Act = (table: Live) => boolean;

/** When Postgres does an action of a statement that has several, whatever their order in it. */
const PASSES = { drop: 0, type: 1, column: 2, notNull: 3, key: 4, rest: 5 } as const;

/** One action of an ALTER TABLE. */
export interface Action {
  readonly pass: number;
  readonly act: Act;
}

function at(pass: keyof typeof PASSES, act: Act): Action {
  return { pass: PASSES[pass], act };
}

/** The next action; undefined: it is not understood. */
export function parseAction(reader: TokenReader, types: UserTypes): Action | undefined {
  if (reader.take('add')) return parseAdd(reader, types);
  if (reader.take('drop')) return parseDrop(reader);
  if (reader.take('rename')) return parseRename(reader);
  if (reader.take('replica', 'identity')) return parseIdentity(reader);
  if (!reader.take('alter')) return undefined;
  reader.take('column');
  const name = reader.name();
  return name === undefined ? undefined : parseAlterColumn(reader, name, types);
}

function parseAdd(reader: TokenReader, types: UserTypes): Action | undefined {
  if (reader.take('constraint')) {
    const name = reader.name();
    return name === undefined ? undefined : parseConstraint(reader, name);
  }
  const constraint = parseConstraint(reader, undefined);
  if (constraint !== undefined) return constraint;
  reader.take('column');
  const ifNotExists = reader.take('if', 'not', 'exists');
  const name = reader.name();
  const type = reader.until(',', ...OF_COLUMNS);
  if (name === undefined || type === '') return undefined;
  const serial = SERIAL.get(type.toLowerCase());
  const column = columnOfType(name, serial ?? type, types);
  if (column === undefined) return undefined;
  if (serial !== undefined) Object.assign(column, { nullable: false, defaultExpression: 'nextval' });
  const isKey = parseOfColumn(reader, column);
  return at('column', (one) => {
    const { after, renamed, rewritten } = one;
    if (after.columns.some((other) => other.name === name)) return ifNotExists;
    after.columns.push(clone(ColumnSchema, column));
    if (isKey) Object.assign(one, { primaryKeyName: `${one.table}_pkey` }).after.primaryKey = [name];
    // Another column under a name that was there: what it held is gone.
    if (one.before.has(name) && renamed.get(name) !== name) rewritten.add(name);
    return true;
  });
}

const SERIAL: ReadonlyMap<string, string> = new Map([
  ['smallserial', 'smallint'],
  ['serial2', 'smallint'],
  ['serial', 'integer'],
  ['serial4', 'integer'],
  ['bigserial', 'bigint'],
  ['serial8', 'bigint'],
]);
/** What may stand behind a new column's type; what is not looked at is not understood. */
const OF_COLUMNS = [
  'default',
  'not',
  'null',
  'collate',
  'unique',
  'primary',
  'check',
  'references',
  'constraint',
  'generated',
];

/** Takes what stands behind the type. Whether the column is the primary key. */
function parseOfColumn(reader: TokenReader, column: Column): boolean {
  let isKey = false;
  for (;;) {
    if (reader.take('not', 'null')) column.nullable = false;
    else if (reader.take('default')) {
      const expression = reader.until(',', ...OF_COLUMNS);
      column.defaultExpression = expression;
    } else if (reader.take('primary', 'key')) {
      isKey = true;
      column.nullable = false;
    } else if (reader.take('collate')) reader.qualified();
    else if (reader.take('check')) reader.brackets();
    else if (!(reader.take('null') || reader.take('unique'))) return isKey;
  }
}

/** Constraints that refuse rows change no row that comes; a primary key names rows. */
function parseConstraint(reader: TokenReader, name: string | undefined): Action | undefined {
  if (reader.take('primary', 'key')) {
    const names = reader.names();
    return names === undefined
      ? undefined
      : at('key', (one) => {
          const { after } = one;
          after.primaryKey = names;
          one.primaryKeyName = name ?? `${one.table}_pkey`;
          for (const column of after.columns) if (names.includes(column.name)) column.nullable = false;
          return names.every((key) => after.columns.some((column) => column.name === key));
        });
  }
  if (['check', 'unique', 'foreign', 'exclude'].some((word) => reader.take(word))) {
    reader.until(',');
    return at('rest', () => true);
  }
  return undefined;
}

function parseDrop(reader: TokenReader): Action | undefined {
  const cascades = (): boolean => reader.take('cascade') || reader.take('restrict') || true;
  if (reader.take('constraint')) {
    reader.take('if', 'exists');
    const name = reader.name();
    cascades();
    // Another one may be the primary key too, or the replica identity's, which only the database knows.
    return at('drop', ({ after, primaryKeyName }) => {
      if (name !== primaryKeyName) return false;
      after.primaryKey = [];
      return true;
    });
  }
  reader.take('column');
  const ifExists = reader.take('if', 'exists');
  const name = reader.name();
  cascades();
  return at('drop', ({ after, renamed, rewritten }) => {
    const index = after.columns.findIndex((column) => column.name === name);
    if (index < 0) return ifExists;
    after.columns.splice(index, 1);
    if (after.primaryKey.includes(name ?? '')) after.primaryKey = [];
    if (after.replicaIdentityColumns.includes(name ?? '')) after.replicaIdentityColumns = [];
    for (const [was, is] of renamed) if (is === name) renamed.delete(was);
    rewritten.delete(name ?? '');
    return true;
  });
}

function parseRename(reader: TokenReader): Action | undefined {
  if (reader.take('to')) {
    const to = reader.name();
    return to === undefined
      ? undefined
      : at('rest', (one) => {
          one.ofTable.push({ kind: 'table_renamed', column: '', before: one.table, after: to, readable: false });
          one.table = to;
          return true;
        });
  }
  if (reader.take('constraint')) {
    const [was, is] = [reader.name(), reader.take('to') ? reader.name() : undefined];
    if (was === undefined || is === undefined) return undefined;
    return at('rest', (one) => {
      if (one.primaryKeyName === was) one.primaryKeyName = is;
      return true;
    });
  }
  reader.take('column');
  const from = reader.name();
  if (from === undefined || !reader.take('to')) return undefined;
  const to = reader.name();
  if (to === undefined) return undefined;
  return at('rest', ({ after, renamed, rewritten }) => {
    const column = after.columns.find((one) => one.name === from);
    if (column === undefined) return false;
    column.name = to;
    const follow = (name: string): string => (name === from ? to : name);
    after.primaryKey = after.primaryKey.map(follow);
    after.replicaIdentityColumns = after.replicaIdentityColumns.map(follow);
    for (const [was, is] of renamed) if (is === from) renamed.set(was, to);
    if (rewritten.delete(from)) rewritten.add(to);
    return true;
  });
}

function parseIdentity(reader: TokenReader): Action | undefined {
  const identities = { default: ReplicaIdentity.DEFAULT, full: ReplicaIdentity.FULL, nothing: ReplicaIdentity.NOTHING };
  for (const [word, identity] of Object.entries(identities)) {
    if (!reader.take(word)) continue;
    return at('rest', ({ after }) => {
      after.replicaIdentity = identity;
      after.replicaIdentityColumns = [];
      return true;
    });
  }
  // USING INDEX: which columns an index has, only the database knows.
  return undefined;
}

function parseAlterColumn(reader: TokenReader, name: string, types: UserTypes): Action | undefined {
  const change = (pass: keyof typeof PASSES, act: (column: Column, one: Live) => boolean): Action =>
    at(pass, (one) => {
      const column = one.after.columns.find((candidate) => candidate.name === name);
      return column !== undefined && act(column, one);
    });
  const set = (pass: keyof typeof PASSES, values: Partial<Column>): Action =>
    change(pass, (column) => Object.assign(column, values) === column);
  if (reader.take('set', 'not', 'null')) return set('notNull', { nullable: false });
  if (reader.take('drop', 'not', 'null')) return change('drop', mayBeNull);
  if (reader.take('drop', 'default')) return set('drop', { defaultExpression: '' });
  if (reader.take('set', 'default')) {
    const expression = reader.until(',');
    return expression === '' ? undefined : set('rest', { defaultExpression: expression });
  }
  if (reader.take('set', 'statistics') || reader.take('set', 'storage')) {
    reader.until(',');
    return change('rest', () => true);
  }
  if (!(reader.take('type') || reader.take('set', 'data', 'type'))) return undefined;
  const type = reader.until(',', 'using', 'collate');
  if (type === '') return undefined;
  if (reader.take('collate') && reader.qualified() === undefined) return undefined;
  const rewrites = reader.take('using') && reader.until(',') !== '';
  const made = columnOfType(name, type, types);
  return made === undefined
    ? undefined
    : change('type', (column, one) => retype(column, made, rewrites ? one.rewritten : undefined));
}

/** Lifts NOT NULL; a domain that has it keeps it. */
function mayBeNull(column: Column): boolean {
  column.nullable = !column.domains.some(({ notNull }) => notNull);
  return true;
}

/** Gives the column the type of another one; the labels and domains that it had went with its old type. */
function retype(column: Column, made: Column, rewritten: Set<string> | undefined): boolean {
  // Whether the column refuses nulls beside its domain, only the database knows.
  if (column.domains.some(({ notNull }) => notNull)) return false;
  delete column.type;
  delete column.precision;
  delete column.scale;
  const { name, defaultExpression, tableOid, columnNumber } = column;
  const nullable = column.nullable && made.nullable;
  const kept = { name, nullable, defaultExpression, tableOid, columnNumber };
  Object.assign(column, clone(ColumnSchema, made), kept);
  rewritten?.add(name);
  return true;
}
