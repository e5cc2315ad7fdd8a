/** The column that a type written in SQL makes. Owns the spellings of built-in types; others keep their name and are read as text. */
import { create } from '@bufbuild/protobuf';
import { type Column, ColumnSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { limitsOfText } from './column-type.ts';

const ALIASES: Readonly<Record<string, readonly [canonical: string, kind: Kind]>> = {
  int2: ['smallint', Kind.INT64],
  smallint: ['smallint', Kind.INT64],
  int: ['integer', Kind.INT64],
  int4: ['integer', Kind.INT64],
  integer: ['integer', Kind.INT64],
  int8: ['bigint', Kind.INT64],
  bigint: ['bigint', Kind.INT64],
  float4: ['real', Kind.DOUBLE],
  real: ['real', Kind.DOUBLE],
  float: ['double precision', Kind.DOUBLE],
  float8: ['double precision', Kind.DOUBLE],
  'double precision': ['double precision', Kind.DOUBLE],
  numeric: ['numeric', Kind.DECIMAL],
  decimal: ['numeric', Kind.DECIMAL],
  varchar: ['character varying', Kind.STRING],
  'character varying': ['character varying', Kind.STRING],
  char: ['character', Kind.STRING],
  character: ['character', Kind.STRING],
  text: ['text', Kind.STRING],
  bool: ['boolean', Kind.BOOL],
  boolean: ['boolean', Kind.BOOL],
  bytea: ['bytea', Kind.BYTES],
  date: ['date', Kind.TIMESTAMP],
  timestamp: ['timestamp without time zone', Kind.TIMESTAMP],
  'timestamp without time zone': ['timestamp without time zone', Kind.TIMESTAMP],
  timestamptz: ['timestamp with time zone', Kind.TIMESTAMP],
  'timestamp with time zone': ['timestamp with time zone', Kind.TIMESTAMP],
  time: ['time without time zone', Kind.STRING],
  timetz: ['time with time zone', Kind.STRING],
};

/** A name of a type that is not built in: one word, perhaps with its schema. */
const OWN_TYPE = /^(?:[\p{L}_"][\p{L}\p{N}_$"]*\.)?[\p{L}_"][\p{L}\p{N}_$"]*$/u;

/**
 * A column of the type, as the catalog would describe it: "varchar(10)" is "character varying(10)"; `enums` has the labels of
 * types that were made meanwhile. Undefined for a text that is no type alone.
 */
export function columnOfType(
  name: string,
  written: string,
  enums: ReadonlyMap<string, readonly string[]> = new Map(),
): Column | undefined {
  const text = written.trim().replace(/\s+/g, ' ').toLowerCase();
  const isArray = /(?:\[\d*\])+$|\barray$/.test(text);
  const element = text.replace(/(?:\[\d*\])+$|\s*\barray$/, '').trim();
  const modifier = /\(\s*([^)]*?)\s*\)/.exec(element)?.[1]?.replace(/\s+/g, '');
  const bare = element.replace(/\s*\(\s*\d+\s*(?:,\s*-?\d+\s*)?\)/, '').trim();
  if (!Object.hasOwn(ALIASES, bare) && !OWN_TYPE.test(bare)) return undefined;
  const [canonical, kind] = ALIASES[bare] ?? [bare, Kind.STRING];
  const sourceType = withModifier(canonical, modifier, bare) + (isArray ? '[]' : '');
  const { length, precision, scale, timeZone } = limitsOfText(sourceType.replace(/\[\]$/, ''));
  return create(ColumnSchema, {
    name,
    type: isArray ? { kind: Kind.LIST, element: kind } : { kind },
    nullable: true,
    sourceType,
    length: length ?? 0,
    ...(precision !== undefined && { precision }),
    ...(scale !== undefined && { scale }),
    timeZone,
    enumLabels: [...(enums.get(bare.split('.').at(-1) ?? '') ?? [])],
    sourceTypeModifier: -1,
  });
}

/** Where Postgres puts the modifier: "timestamp(3) with time zone", "numeric(10,2)". */
function withModifier(canonical: string, modifier: string | undefined, bare: string): string {
  if (canonical === 'character' && modifier === undefined) return bare.startsWith('char') ? 'character(1)' : canonical;
  if (modifier === undefined || bare === 'float') return canonical;
  const [head, ...rest] = canonical.split(/ (?=with)/);
  const digits = canonical === 'numeric' && !modifier.includes(',') ? `${modifier},0` : modifier;
  return [`${head}(${digits})`, ...rest].join(' ');
}
