/**
 * What is known of a column's type beyond its kind. Owns one question: what a column that was written before contracts
 * told length, precision and scale still says by its source type's text.
 *
 * Invariant: a column that was captured with its details is taken at its word; text is read only where there are none.
 */
import type { Column } from '@freshet/gen/freshet/type/v1/contract_pb.ts';

/** Length in characters or bits, digits, digits behind the point; undefined: no such limit. */
export interface TypeLimits {
  readonly length: number | undefined;
  readonly precision: number | undefined;
  readonly scale: number | undefined;
  readonly timeZone: boolean;
}

const TEXT_LENGTH = /^(?:character varying|character|varchar|char|bpchar|bit varying|bit)\((\d{1,9})\)/;
const TEXT_NUMERIC = /^(?:numeric|decimal)\((\d{1,4})(?:,\s*(-?\d{1,4}))?\)/;
const TEXT_TIME = /^(?:timestamp|time|interval)[a-z ]*\((\d)\)/;

/** Whether the column was captured with its type's details, default, labels and domains. */
export function isDetailed(column: Column): boolean {
  return column.sourceTypeModifier !== undefined;
}

/** The digits of a fraction of a second that Postgres keeps; as a limit it is none. */
const TIME_DIGITS = 6;

export function limitsOf(column: Column): TypeLimits {
  const { length, precision, scale, timeZone } = isDetailed(column) ? column : limitsOfText(column.sourceType);
  const isNone = scale === undefined && precision === TIME_DIGITS;
  return { length: length === 0 ? undefined : length, precision: isNone ? undefined : precision, scale, timeZone };
}

/** The limits that a type's text tells: "character varying(20)", "numeric(10,2)", "timestamp(3) with time zone". */
export function limitsOfText(text: string): TypeLimits {
  const written = text.trim().toLowerCase();
  const timeZone = written.endsWith('with time zone') || /^(?:timestamptz|timetz)\b/.test(written);
  const none = { length: undefined, precision: undefined, scale: undefined, timeZone };
  const length = TEXT_LENGTH.exec(written)?.[1];
  if (length !== undefined) return { ...none, length: Number(length) };
  // A length of one is what Postgres means by these words alone.
  if (/^(?:character|char|bit)(?:\[\])*$/.test(written)) return { ...none, length: 1 };
  const numeric = TEXT_NUMERIC.exec(written);
  if (numeric !== null) return { ...none, precision: Number(numeric[1]), scale: Number(numeric[2] ?? 0) };
  const time = TEXT_TIME.exec(written)?.[1];
  return time === undefined ? none : { ...none, precision: Number(time) };
}

/** The type's name without its limits: "numeric(10,2)" and "numeric" are one type. */
export function bareType(column: Column): string {
  return column.sourceType
    .replace(/\([^)]*\)/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}
