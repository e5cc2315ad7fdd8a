/** Result types that aggregates share, and the words in which they refuse an input. */
import { create } from '@bufbuild/protobuf';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { kindName } from '@freshet/values/type-name.ts';

/** A type without element or dimension. */
export function simpleType(kind: Kind): ValueType {
  return create(ValueTypeSchema, { kind });
}

/** The input type if its kind is among those, else why it cannot be. */
export function inputAmong(
  aggregate: string,
  input: ValueType | undefined,
  kinds: readonly Kind[],
): ValueType | string {
  const names = kinds.map(kindName).join(', ');
  if (input === undefined) return `${aggregate} needs an input column of type ${names}`;
  if (kinds.includes(input.kind)) return input;
  return `${aggregate} takes ${names}, not ${kindName(input.kind)}`;
}

/** The kind of an input that resultType let pass. */
export function kindOf(input: ValueType | undefined): Kind {
  assert(input !== undefined, 'an aggregate was planned without the input type it needs');
  return input.kind;
}

/** Whether values of the kind are, nearly all, plain numbers inside the engine. */
export function isNumeric(kind: Kind): boolean {
  return kind === Kind.INT64 || kind === Kind.DOUBLE || kind === Kind.TIMESTAMP;
}
