/**
 * The request data of a call: what its caller knows and the store does not, by field, one value per entity or one for
 * all.
 *
 * Owns checking it against what the service declares, with errors that name the field, what it expects and what was sent.
 * Kinds never convert silently: what is taken for another list's value is exactly the same value (serve.proto).
 */
import type { RequestFieldPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueColumn, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { canonicalDecimal } from '@freshet/values/decimal.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { typeName } from '@freshet/values/type-name.ts';
import { kindOfProto, valueFromProto } from '@freshet/values/value-codec.ts';

/** A column as it was sent. */
export interface SentColumn {
  readonly name: string;
  readonly values: ValueColumn | undefined;
}

/** By field of the service, one value per entity, or one for all. */
export type RequestData = readonly (readonly Scalar[])[];

type Form = Exclude<keyof ValueColumn, 'statuses' | '$typeName' | '$unknown'>;

const FORMS: Readonly<Record<Form, true>> = {
  int64s: true,
  doubles: true,
  decimals: true,
  strings: true,
  bools: true,
  bytes: true,
  timestamps: true,
  lists: true,
  vectors: true,
};
const ALL_FORMS = Object.keys(FORMS) as Form[];

const FORM_OF: Readonly<Partial<Record<Kind, Form>>> = {
  [Kind.INT64]: 'int64s',
  [Kind.DOUBLE]: 'doubles',
  [Kind.DECIMAL]: 'decimals',
  [Kind.STRING]: 'strings',
  [Kind.BOOL]: 'bools',
  [Kind.BYTES]: 'bytes',
  [Kind.TIMESTAMP]: 'timestamps',
  [Kind.LIST]: 'lists',
};

/** Throws WRONG_REQUEST_DATA when a field is missing, unknown, doubled, of another type, or of another length. */
export function requestData(
  fields: readonly RequestFieldPlan[],
  sent: readonly SentColumn[],
  entities: number,
): RequestData {
  const columns = new Map<string, SentColumn>();
  for (const column of sent) {
    if (!fields.some(({ name }) => name === column.name)) throw unknown(column.name, fields);
    if (columns.has(column.name)) {
      const what = `the request data "${column.name}" is given twice`;
      throw wrong(column.name, what, 'give each field once, with all its values');
    }
    columns.set(column.name, column);
  }
  return fields.map((field) => {
    const column = columns.get(field.name);
    const type = must(field.type, 'a request field without a type');
    if (column !== undefined) return fieldValues(field.name, type, column.values, entities);
    throw wrong(field.name, `the request data "${field.name}" is missing`, expected(field.name, type));
  });
}

function fieldValues(name: string, type: ValueType, column: ValueColumn | undefined, entities: number): Scalar[] {
  const used = ALL_FORMS.filter((form) => (column?.[form].length ?? 0) > 0);
  const [form] = used;
  const statuses = column?.statuses ?? [];
  const length = column === undefined || form === undefined ? statuses.length : column[form].length;
  if (used.length > 1) {
    throw wrong(name, `the request data "${name}" has ${used.join(' and ')}`, expected(name, type));
  }
  if (length !== entities && length !== 1) {
    const what = `the request data "${name}" has ${length} values, but ${entities} entities are asked for`;
    throw wrong(name, what, `give "${name}" one value per entity, or one value for all`);
  }
  if (statuses.length !== 0 && statuses.length !== length) {
    const what = `the request data "${name}" has ${length} values, but ${statuses.length} statuses`;
    throw wrong(name, what, 'give one status per value, or none if no value is null');
  }
  return Array.from({ length }, (_, i) => {
    const status = statuses[i];
    if (status === ValueStatus.ABSENT || status === ValueStatus.OUT_OF_RANGE) return null;
    const value = column === undefined || form === undefined ? undefined : valueAt(type, column, form, i);
    if (value !== undefined) return value;
    const given = form === undefined ? 'no value was' : `${form} were`;
    const what = `the request data "${name}" is of type ${typeName(type)}, but for entity ${i} ${given} sent that ${
      form === undefined ? 'could be it' : 'is such a value'
    }`;
    throw wrong(name, what, expected(name, type));
  });
}

/** The value, exactly; undefined when it is none of the type. */
function valueAt(type: ValueType, column: ValueColumn, form: Form, i: number): Scalar | undefined {
  switch (type.kind) {
    case Kind.INT64:
      return form === 'doubles' ? wholeOf(column.doubles[i]) : form === 'int64s' ? column.int64s[i] : undefined;
    case Kind.DOUBLE:
      return form === 'int64s' ? doubleOf(column.int64s[i]) : form === 'doubles' ? column.doubles[i] : undefined;
    case Kind.TIMESTAMP:
      return form === 'timestamps' || form === 'int64s' ? column[form][i] : undefined;
    case Kind.DECIMAL:
      return form === 'decimals' || form === 'strings' ? decimalOf(column[form][i]) : undefined;
    case Kind.LIST:
      return form === 'lists' ? listOf(type, column, i) : undefined;
    default:
      return form === FORM_OF[type.kind] ? (column[form][i] as Scalar) : undefined;
  }
}

function wholeOf(value: number | undefined): bigint | undefined {
  return Number.isSafeInteger(value) ? BigInt(must(value)) : undefined;
}

function doubleOf(value: bigint | undefined): number | undefined {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}

function decimalOf(text: string | undefined): string | undefined {
  // An exponent of a few characters would make a text of a hundred thousand.
  return text === undefined || /[eE]/.test(text) ? undefined : canonicalDecimal(text);
}

function listOf({ element }: ValueType, column: ValueColumn, i: number): Scalar[] | undefined {
  const elements = column.lists[i]?.elements ?? [];
  const items: Scalar[] = [];
  for (const item of elements) {
    const kind = kindOfProto(item);
    const value = valueFromProto(item);
    const whole = kind === Kind.DECIMAL ? decimalOf(value as string) : value;
    if ((kind !== undefined && kind !== element) || whole === undefined) return undefined;
    items.push(whole);
  }
  return items;
}

function expected(name: string, type: ValueType): string {
  const note = type.kind === Kind.TIMESTAMP ? ' (microseconds since the Unix epoch)' : '';
  return `give "${name}" as ${FORM_OF[type.kind]}${note} of type ${typeName(type)}, one value per entity or one for all; status ABSENT for null`;
}

function unknown(name: string, fields: readonly RequestFieldPlan[]): FreshetError {
  const names = fields.map((field) => field.name);
  const near = closest(name, names);
  const known = names.length === 0 ? 'it takes no request data' : `its request data is ${names.join(', ')}`;
  return wrong(
    name,
    `"${name}" is no request data of what is asked for`,
    near === undefined ? known : `did you mean "${near}"? ${known}`,
  );
}

function wrong(name: string, message: string, remedy: string): FreshetError {
  return new FreshetError('WRONG_REQUEST_DATA', message, { place: `request.${name}`, remedy });
}
