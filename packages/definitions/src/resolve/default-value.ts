/**
 * A feature's default as a value of the feature's type, exactly or not at all: 5 is a fine default for a double, 0.5 is
 * none for an int64.
 */
import { Kind, type Value, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { decimalOf, decimalToDouble, parseDecimal } from '@freshet/values/decimal.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { parseText } from '@freshet/values/text.ts';
import { kindOfProto, valueFromProto, valueToProto } from '@freshet/values/value-codec.ts';

/** The value of the type that a written value means; undefined when it means none. */
export function defaultOfType(type: ValueType, written: Value): Value | undefined {
  if (type.kind === Kind.VECTOR) {
    const vector = vectorOf(type, written);
    return vector === undefined ? undefined : valueToProto(type, vector);
  }
  if (type.kind !== Kind.LIST) {
    const scalar = scalarOfKind(type.kind, written);
    return scalar === undefined ? undefined : valueToProto(type, scalar);
  }
  if (written.kind.case !== 'list') return undefined;
  const elements: Scalar[] = [];
  for (const element of written.kind.value.elements) {
    const scalar = scalarOfKind(type.element, element);
    if (scalar === undefined) return undefined;
    elements.push(scalar);
  }
  return valueToProto(type, elements);
}

function scalarOfKind(kind: Kind, written: Value): Scalar | undefined {
  const from = kindOfProto(written);
  const value = valueFromProto(written);
  if (from === kind) {
    return kind === Kind.DECIMAL && parseDecimal(value as string) === undefined ? undefined : value;
  }
  switch (from) {
    case Kind.INT64:
      if (kind === Kind.DECIMAL) return String(value);
      return kind === Kind.DOUBLE ? exactDouble(value as bigint) : undefined;
    case Kind.DECIMAL:
      // Any decimal fraction is a fine way to write the double nearest to it.
      return kind === Kind.DOUBLE && parseDecimal(value as string) !== undefined
        ? decimalToDouble(decimalOf(value as string))
        : undefined;
    case Kind.STRING:
      return kind === Kind.TIMESTAMP || kind === Kind.DECIMAL ? parseText(kind, value as string) : undefined;
    case Kind.DOUBLE:
      // Only NaN and the infinities are written so: other numbers are int64 or decimal until here.
      return kind === Kind.DECIMAL && !Number.isFinite(value) ? String(value) : undefined;
    default:
      return undefined;
  }
}

function exactDouble(value: bigint): number | undefined {
  const double = Number(value);
  return BigInt(double) === value ? double : undefined;
}

function vectorOf(type: ValueType, written: Value): Float32Array | undefined {
  if (written.kind.case === 'vector') {
    const { components } = written.kind.value;
    return components.length === type.dimension ? Float32Array.from(components) : undefined;
  }
  if (written.kind.case !== 'list' || written.kind.value.elements.length !== type.dimension) return undefined;
  const components = written.kind.value.elements.map((element) => scalarOfKind(Kind.DOUBLE, element));
  return components.every((component) => typeof component === 'number') ? Float32Array.from(components) : undefined;
}
