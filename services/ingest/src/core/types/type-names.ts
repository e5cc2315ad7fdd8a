/** The names of built-in Postgres types as format_type() writes them, with their limits: "character varying(20)". Pure. */
import { typeLimits } from './type-limits.ts';
import { elementOf } from './type-table.ts';

const NAMES: ReadonlyMap<number, string> = new Map([
  [16, 'boolean'],
  [17, 'bytea'],
  [18, '"char"'],
  [19, 'name'],
  [20, 'bigint'],
  [21, 'smallint'],
  [23, 'integer'],
  [25, 'text'],
  [26, 'oid'],
  [114, 'json'],
  [142, 'xml'],
  [650, 'cidr'],
  [700, 'real'],
  [701, 'double precision'],
  [774, 'macaddr8'],
  [790, 'money'],
  [829, 'macaddr'],
  [869, 'inet'],
  [1042, 'character'],
  [1043, 'character varying'],
  [1082, 'date'],
  [1083, 'time without time zone'],
  [1114, 'timestamp without time zone'],
  [1184, 'timestamp with time zone'],
  [1186, 'interval'],
  [1266, 'time with time zone'],
  [1560, 'bit'],
  [1562, 'bit varying'],
  [1700, 'numeric'],
  [2950, 'uuid'],
  [3802, 'jsonb'],
]);
const TIME_ZONE = / with(?:out)? time zone$/;

/** Undefined for a type that is not built in. */
export function typeNameOf(oid: number, modifier: number): string | undefined {
  const element = elementOf(oid);
  const name = NAMES.get(element ?? oid);
  if (name === undefined) return undefined;
  const { length, precision, scale } = typeLimits({ oid, name, category: '', elementOid: element ?? 0, modifier });
  const limits = length ?? (scale === undefined ? precision : `${precision},${scale}`);
  const zone = TIME_ZONE.exec(name)?.[0] ?? '';
  const bare = name.slice(0, name.length - zone.length);
  return `${bare}${limits === undefined ? '' : `(${limits})`}${zone}${element === undefined ? '' : '[]'}`;
}
