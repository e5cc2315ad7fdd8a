/**
 * The column that a type written in SQL makes. Owns the spellings of built-in types, and what is known of types of the user:
 * what the columns that have them tell, and what statements made of them since. A type that neither tells of keeps its name, and
 * what it is read as is not known.
 */
import { clone, create } from '@bufbuild/protobuf';
import { type Column, ColumnSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { limitsOfText } from './column-type.ts';

/** Types of the user by their name as it is shown, each as a column of it that may be null. */
export type UserTypes = Map<string, Column>;

/** By its spellings: how the catalog shows the type, what it is read as, and how many numbers it takes in brackets. */
const BUILT_IN: readonly (readonly [shown: string, kind: Kind, numbers: number, ...spellings: string[]])[] = [
  ['smallint', Kind.INT64, 0, 'int2'],
  ['integer', Kind.INT64, 0, 'int', 'int4'],
  ['bigint', Kind.INT64, 0, 'int8'],
  ['oid', Kind.INT64, 0],
  ['real', Kind.DOUBLE, 0, 'float4'],
  ['double precision', Kind.DOUBLE, 0, 'float8'],
  ['numeric', Kind.DECIMAL, 2, 'decimal', 'dec'],
  ['character varying', Kind.STRING, 1, 'varchar', 'char varying', 'national character varying', 'nchar varying'],
  ['character', Kind.STRING, 1, 'char', 'national character', 'national char', 'nchar'],
  ['bpchar', Kind.STRING, 0],
  ['bit', Kind.STRING, 1],
  ['bit varying', Kind.STRING, 1, 'varbit'],
  ['boolean', Kind.BOOL, 0, 'bool'],
  ['bytea', Kind.BYTES, 0],
  ['date', Kind.TIMESTAMP, 0],
  ['timestamp without time zone', Kind.TIMESTAMP, 1, 'timestamp'],
  ['timestamp with time zone', Kind.TIMESTAMP, 1, 'timestamptz'],
  ['time without time zone', Kind.STRING, 1, 'time'],
  ['time with time zone', Kind.STRING, 1, 'timetz'],
  ['interval', Kind.STRING, 1],
  ...['text', 'name', 'uuid', 'json', 'jsonb', 'xml', 'money', 'inet', 'cidr', 'macaddr', 'macaddr8'].map(
    (shown) => [shown, Kind.STRING, 0] as const,
  ),
];

const SPELLINGS = new Map(
  BUILT_IN.flatMap(([shown, kind, numbers, ...others]) =>
    [shown, ...others].map((spelling) => [spelling, { shown, kind, numbers }] as const),
  ),
);
/** Longer than any type with its schema: two names of 63 letters. */
const TYPE_CHARS_MAX = 400;
const FLOAT4_DIGITS = 24;
const FLOAT8_DIGITS = 53;
const TIME_DIGITS = 6;

const WITH_NUMBERS = /^([a-z][a-z0-9 ]*?) ?\( ?(\d{1,9}) ?(?:, ?(-?\d{1,9}) ?)?\)( with(?:out)? time zone)?$/;
const BRACKETS = /(?: ?\[ ?\d* ?\])+$| array(?: ?\[ ?\d+ ?\])?$/i;
const NAME = String.raw`"(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*`;
const OWN_TYPE = new RegExp(`^(?:(${NAME}) ?\\. ?)?(${NAME})$`, 'u');

/**
 * A column of the type, as the catalog would describe it: "varchar(10)" is "character varying(10)". Undefined for a text that
 * is no type alone.
 */
export function columnOfType(
  name: string,
  written: string,
  types: ReadonlyMap<string, Column> = new Map(),
): Column | undefined {
  if (written.length > TYPE_CHARS_MAX) return undefined;
  const text = written.trim().replace(/\s+/g, ' ');
  const brackets = BRACKETS.exec(text);
  const element = brackets === null ? text : text.slice(0, brackets.index).trim();
  const column = builtIn(element.toLowerCase()) ?? ownType(element, types);
  if (column === undefined) return undefined;
  column.name = name;
  return brackets === null ? column : arrayOf(column);
}

/** The types of the user that columns have. */
export function typesOf(columns: readonly Column[]): UserTypes {
  const types: UserTypes = new Map();
  for (const column of columns) {
    const shown = elementType(column);
    if (types.has(shown) || builtIn(shown) !== undefined || column.type === undefined) continue;
    const own = clone(ColumnSchema, column);
    own.defaultExpression = '';
    own.nullable = !column.domains.some(({ notNull }) => notNull);
    own.sourceType = shown;
    // Of an array only the elements' kind is known, and their labels.
    if (column.type.kind === Kind.LIST)
      own.type = { ...column.type, kind: column.type.element, element: Kind.UNSPECIFIED };
    types.set(shown, own);
  }
  return types;
}

/** The name of the column's type, or of its elements'. */
export function elementType({ sourceType }: Column): string {
  return sourceType.replace(/(?:\[\])+$/, '');
}

/** A name as the catalog shows it: quoted where it must be, without the schema that everybody looks in. */
export function shownName(schema: string | undefined, name: string): string {
  const quoted = [schema === 'public' ? undefined : schema, name].flatMap((part) =>
    part === undefined ? [] : [/^[a-z_][a-z0-9_$]*$/.test(part) ? part : `"${part.replaceAll('"', '""')}"`],
  );
  return quoted.join('.');
}

function builtIn(text: string): Column | undefined {
  const match = WITH_NUMBERS.exec(text);
  const spelling = match === null ? text : `${match[1]}${match[4] ?? ''}`;
  const numbers = (match?.slice(2, 4) ?? []).flatMap((digits) => (digits === undefined ? [] : [Number(digits)]));
  if (spelling === 'float') return float(numbers);
  if (spelling === 'bpchar' && numbers.length === 1) return builtIn(`character(${numbers[0]})`);
  const known = SPELLINGS.get(spelling);
  if (known === undefined || numbers.length > known.numbers) return undefined;
  return made(withNumbers(known.shown, numbers), known.kind);
}

function float([digits = FLOAT8_DIGITS]: readonly number[]): Column | undefined {
  if (digits < 1 || digits > FLOAT8_DIGITS) return undefined;
  return made(digits <= FLOAT4_DIGITS ? 'real' : 'double precision', Kind.DOUBLE);
}

/** Where Postgres puts the numbers: "timestamp(3) with time zone", "numeric(10,2)"; and those that it adds. */
function withNumbers(shown: string, [first, second]: readonly number[]): string {
  if (first === undefined) return shown === 'character' || shown === 'bit' ? `${shown}(1)` : shown;
  const [head = '', ...zone] = shown.split(/(?= with)/);
  if (shown === 'numeric') return `numeric(${first},${second ?? 0})`;
  const most = zone.length > 0 || shown === 'interval' ? TIME_DIGITS : Number.POSITIVE_INFINITY;
  return `${head}(${Math.min(first, most)})${zone.join('')}`;
}

function made(sourceType: string, kind: Kind): Column {
  const { length, precision, scale, timeZone } = limitsOfText(sourceType);
  return create(ColumnSchema, {
    type: { kind },
    nullable: true,
    sourceType,
    length: length ?? 0,
    ...(precision !== undefined && { precision }),
    ...(scale !== undefined && { scale }),
    timeZone,
    sourceTypeModifier: -1,
  });
}

function ownType(text: string, types: ReadonlyMap<string, Column>): Column | undefined {
  const match = OWN_TYPE.exec(text);
  if (match === null) return undefined;
  const [schema, name] = [match[1], match[2]].map((part) => part && unquoted(part));
  if (name === undefined) return undefined;
  if (schema === 'pg_catalog') return builtIn(name);
  const shown = shownName(schema, name);
  const known = types.get(shown);
  if (known !== undefined) return clone(ColumnSchema, known);
  return create(ColumnSchema, { nullable: true, sourceType: shown, sourceTypeModifier: -1 });
}

function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase();
}

function arrayOf(element: Column): Column {
  const { type, sourceType } = element;
  // Nulls and limits of a domain are not those of a list of it.
  const isDomain = element.domains.length > 0;
  const list = isDomain
    ? create(ColumnSchema, { name: element.name, nullable: true, sourceTypeModifier: -1 })
    : element;
  list.sourceType = `${sourceType}[]`;
  if (type !== undefined) list.type = { ...type, kind: Kind.LIST, element: type.kind };
  return list;
}
