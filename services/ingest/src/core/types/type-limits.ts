/**
 * What a Postgres type's modifier says: length, digits, time zone. One place decodes it, for the catalog and for the
 * stream, which tells the same number with every relation. Pure.
 */
import type { TypeLimits } from '@freshet/contracts/column-type.ts';
import type { CatalogType } from './type-table.ts';

const BPCHAR = 1042;
const VARCHAR = 1043;
const BIT = 1560;
const VARBIT = 1562;
const NUMERIC = 1700;
const INTERVAL = 1186;
const TIMETZ = 1266;
const TIMESTAMPTZ = 1184;
const TIMES: ReadonlySet<number> = new Set([1083, 1114, TIMESTAMPTZ, TIMETZ]);
const ZONED: ReadonlySet<number> = new Set([TIMESTAMPTZ, TIMETZ]);
/** Modifiers of varchar, bpchar and numeric count the four bytes of a header. */
const HEADER = 4;
const INTERVAL_DIGITS_UNSET = 0xffff;

/** The limits of a type with its modifier, domains followed to the base; of an array, those of its elements. */
export function typeLimits({ oid, elementOid, modifier }: CatalogType): TypeLimits {
  const base = elementOid === 0 ? oid : elementOid;
  const none = { length: undefined, precision: undefined, scale: undefined, timeZone: ZONED.has(base) };
  if (modifier < 0) return none;
  if (base === VARCHAR || base === BPCHAR) return { ...none, length: modifier - HEADER };
  if (base === BIT || base === VARBIT) return { ...none, length: modifier };
  if (base === NUMERIC) return { ...none, ...numericLimits(modifier - HEADER) };
  if (TIMES.has(base)) return { ...none, precision: modifier };
  if (base === INTERVAL) {
    const digits = modifier & 0xffff;
    return digits === INTERVAL_DIGITS_UNSET ? none : { ...none, precision: digits };
  }
  return none;
}

/** Since Postgres 15 a scale may be below zero or above the precision: eleven bits with a sign. */
function numericLimits(packed: number): { precision: number; scale: number } {
  return { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 0x400) - 0x400 };
}
