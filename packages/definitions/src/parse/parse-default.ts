/**
 * A feature's `default` as a typed value, without knowing yet which type the feature has: whole numbers are int64,
 * other numbers decimal with every digit as written, so that resolve can make any number type of them exactly.
 */
import { create } from '@bufbuild/protobuf';
import { Kind, type Value, ValueSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { canonicalDecimal } from '@freshet/values/decimal.ts';
import { INT64_MAX, INT64_MIN } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { isScalar, isSeq, type Node } from 'yaml';
import { type Field, type Fields, textOf } from '../yaml/fields.ts';

/** The value, or undefined, with a problem, when none can be written so. */
export function parseDefault(fields: Fields, field: Field): Value | undefined {
  if (isSeq(field.node)) {
    const elements = (fields.items(field) ?? []).map((item) => scalarValue(item));
    if (elements.every((element) => element !== undefined)) {
      return create(ValueSchema, { kind: { case: 'list', value: { elements } } });
    }
  } else {
    const value = scalarValue(field.node);
    if (value !== undefined) return value;
  }
  const message = `The default of ${fields.what} must be a value.`;
  fields.problem(
    field.location,
    message,
    'Write a number, text, true, false or a list of these; leave it out for none.',
  );
  return undefined;
}

function scalarValue(node: Node | null): Value | undefined {
  if (!isScalar(node)) return undefined;
  const value = node.value;
  const of = (kind: Kind, scalar: bigint | number | string | boolean | Uint8Array): Value =>
    valueToProto({ kind, element: Kind.UNSPECIFIED }, scalar);
  if (typeof value === 'bigint') {
    return value >= INT64_MIN && value <= INT64_MAX ? of(Kind.INT64, value) : of(Kind.DECIMAL, value.toString());
  }
  if (typeof value === 'number') {
    const decimal = Number.isFinite(value) ? canonicalDecimal(textOf(node)) : undefined;
    return decimal === undefined ? of(Kind.DOUBLE, value) : of(Kind.DECIMAL, decimal);
  }
  if (typeof value === 'string') return of(Kind.STRING, value);
  if (typeof value === 'boolean') return of(Kind.BOOL, value);
  // The library gives a Buffer, which may be a view of a larger one.
  return value instanceof Uint8Array ? of(Kind.BYTES, Uint8Array.from(value)) : undefined;
}
