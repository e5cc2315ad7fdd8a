/**
 * Whether the default of a field is a value of its type.
 *
 * Owns the mapping of JSON onto types, by Avro 1.12: a union's default may be of any branch (before 1.12, of the first).
 * A field that a record's default leaves out takes its own default; one that holds itself that way is refused, and so
 * is what takes more than the limits. Pure.
 */
import { InvalidSchema, type SchemaLimits } from '../schema.ts';
import type { AvroField, AvroRecord, AvroType } from './avro-schema.ts';
import { isJsonArray, isJsonObject, JsonNumber, type JsonValue, printJson } from './json-text.ts';

/** Throws InvalidSchema for the first default of these records that does not fit. */
export function checkDefaults(records: Iterable<AvroRecord>, limits: SchemaLimits): void {
  const checker = new DefaultChecker(limits);
  for (const record of records)
    for (const field of record.fields)
      if (field.default !== undefined && !checker.fits(field.type, field.default))
        throw new InvalidSchema(
          `The default ${printJson(field.default).slice(0, 200)} of the field "${field.name}" of ${record.fullName} is no value of its type.`,
        );
}

/** Values within values, also of defaults that fill others: what the call stack bears with ease. */
const DEPTH_MAX = 1000;
const INT_MAX = 2n ** 31n - 1n;
const LONG_MAX = 2n ** 63n - 1n;

class DefaultChecker {
  readonly #limits: SchemaLimits;
  /** Fields whose own default is being filled in. */
  readonly #filling = new Set<AvroField>();
  #steps = 0;
  #depth = 0;

  constructor(limits: SchemaLimits) {
    this.#limits = limits;
  }

  fits(type: AvroType, value: JsonValue): boolean {
    this.#steps += type.kind === 'enum' ? type.symbols.length : 1;
    if (this.#steps > this.#limits.stepsMax || this.#depth > DEPTH_MAX)
      throw new InvalidSchema('The defaults of the schema take more steps than the limit.', { tooLarge: true });
    this.#depth++;
    const fits = this.#fitsKind(type, value);
    this.#depth--;
    return fits;
  }

  #fitsKind(type: AvroType, value: JsonValue): boolean {
    switch (type.kind) {
      case 'null':
        return value === null;
      case 'boolean':
        return typeof value === 'boolean';
      case 'int':
        return isWhole(value, INT_MAX);
      case 'long':
        return isWhole(value, LONG_MAX);
      case 'float':
      case 'double':
        return value instanceof JsonNumber || value === 'NaN' || value === 'Infinity' || value === '-Infinity';
      case 'string':
        return typeof value === 'string';
      case 'bytes':
        return isBytes(value);
      case 'fixed':
        return isBytes(value) && value.length === type.size;
      case 'enum':
        return typeof value === 'string' && type.symbols.includes(value);
      case 'array':
        return isJsonArray(value) && value.every((each) => this.fits(type.items, each));
      case 'map':
        return isJsonObject(value) && [...value.values()].every((each) => this.fits(type.values, each));
      case 'union':
        return type.branches.some((branch) => this.fits(branch, value));
      case 'record':
        return isJsonObject(value) && type.fields.every((field) => this.#fieldFits(field, value.get(field.name)));
    }
  }

  #fieldFits(field: AvroField, given: JsonValue | undefined): boolean {
    if (given !== undefined) return this.fits(field.type, given);
    if (field.default === undefined || this.#filling.has(field)) return false;
    this.#filling.add(field);
    const fits = this.fits(field.type, field.default);
    this.#filling.delete(field);
    return fits;
  }
}

function isWhole(value: JsonValue, max: bigint): boolean {
  if (!(value instanceof JsonNumber) || !/^-?[0-9]{1,19}$/.test(value.text)) return false;
  const number = BigInt(value.text);
  return number <= max && number >= -max - 1n;
}

/** Bytes are written as characters up to U+00FF. */
function isBytes(value: JsonValue): value is string {
  if (typeof value !== 'string') return false;
  for (let index = 0; index < value.length; index++) if (value.charCodeAt(index) > 0xff) return false;
  return true;
}
