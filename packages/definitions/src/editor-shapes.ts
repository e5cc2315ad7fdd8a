/**
 * The forms that values of definitions have in YAML, as JSON Schema: one per reader of yaml/fields.ts, and as generous as
 * that reader. Lengths, counts and patterns are read from the rules of the message, which the parser is held to as well.
 *
 * Owns no field: which field has which form is editor-schema.ts.
 */
import { type DescMessage, getOption } from '@bufbuild/protobuf';
import { type FieldRules, field as fieldRules } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js';
import { must } from '@freshet/kit/assert.ts';
import { DURATION_PATTERN } from './duration.ts';

/** A JSON Schema of draft 2020-12. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** What the message asks of a field, in the keywords for texts, lists and maps; empty where it asks nothing. */
export function rulesOf(message: DescMessage, localName: string): JsonSchema {
  const described = must(message.field[localName], `${message.typeName} has no field ${localName}`);
  return keywordsOf(getOption(described, fieldRules));
}

function keywordsOf(rules: FieldRules | undefined): JsonSchema {
  switch (rules?.type.case) {
    case 'string': {
      const { pattern, minLen, maxLen } = rules.type.value;
      return { ...(pattern && { pattern }), ...above0('minLength', minLen), ...above0('maxLength', maxLen) };
    }
    case 'repeated': {
      const { minItems, maxItems, unique, items } = rules.type.value;
      return {
        ...above0('minItems', minItems),
        ...above0('maxItems', maxItems),
        ...(unique && { uniqueItems: true }),
        ...(items && { items: keywordsOf(items) }),
      };
    }
    case 'map': {
      const { minPairs, maxPairs, keys } = rules.type.value;
      return {
        ...above0('minProperties', minPairs),
        ...above0('maxProperties', maxPairs),
        ...(keys && { propertyNames: keywordsOf(keys) }),
      };
    }
    default:
      return {};
  }
}

function above0(keyword: string, value: bigint): JsonSchema {
  return value === 0n ? {} : { [keyword]: Number(value) };
}

/** A map with exactly these fields, each with its shape: one that is missing here does not compile. */
export function record<const F extends readonly string[]>(
  description: string,
  fields: F,
  shapes: NoInfer<Readonly<Record<F[number], JsonSchema>>>,
  required: readonly NoInfer<F[number]>[],
): JsonSchema {
  const properties = Object.fromEntries(fields.map((name: F[number]) => [name, shapes[name]]));
  return { description, type: 'object', properties, required, additionalProperties: false };
}

/** A text that must be there. */
export function text(description: string, rules: JsonSchema = {}): JsonSchema {
  return { description, type: 'string', ...rules };
}

/** A text that may be left out, also behind its colon. */
export function optionalText(description: string, rules: JsonSchema = {}): JsonSchema {
  return { description, type: ['string', 'null'], ...rules };
}

/** One of a few words. */
export function word(description: string, words: Iterable<string>): JsonSchema {
  return { description, enum: [...words] };
}

/** One of a few words, or nothing. The empty text is no choice that an editor should offer. */
export function optionalWord(description: string, words: Iterable<string>): JsonSchema {
  return { description, anyOf: [{ enum: [...words] }, { type: ['string', 'null'], maxLength: 0 }] };
}

/** A CEL expression: any scalar. Its length counts without the spaces around it, so the rules have no keyword for it. */
export function expression(description: string): JsonSchema {
  return { description, type: ['string', 'number', 'boolean'] };
}

/** A duration. The upper bound depends on the unit: it is left to the parser. */
export function duration(description: string): JsonSchema {
  return { description, type: 'string', pattern: DURATION_PATTERN.source };
}

/** A duration that is not zero. */
export function durationAbove0(description: string): JsonSchema {
  return { ...duration(description), not: { type: 'string', pattern: String.raw`^\s*0+[a-z]` } };
}

export function flag(description: string): JsonSchema {
  return { description, type: 'boolean' };
}

/** A list of texts that may not be empty. */
export function texts(description: string, rules: JsonSchema): JsonSchema {
  const items = { type: 'string', ...(rules['items'] as JsonSchema | undefined) };
  return { description, type: 'array', minItems: 1, ...rules, items };
}

/** A map of names that are the user's own; `rules` are of the list or map that the message holds them in. */
export function named(description: string, values: JsonSchema, rules: JsonSchema, names: JsonSchema = {}): JsonSchema {
  const least = rules['minItems'] ?? rules['minProperties'];
  const most = rules['maxItems'] ?? rules['maxProperties'];
  const propertyNames = rules['propertyNames'] ?? names;
  return {
    description,
    type: 'object',
    ...(least !== undefined && { minProperties: least }),
    ...(most !== undefined && { maxProperties: most }),
    propertyNames,
    additionalProperties: values,
  };
}

/** The shape, or nothing behind the colon. */
export function orNothing(shape: JsonSchema): JsonSchema {
  return { ...shape, type: [shape['type'], 'null'] };
}

/** What a value may be that the parser reads before it knows the type. */
export function defaultValue(description: string): JsonSchema {
  const scalar = ['string', 'number', 'boolean'];
  return { description, type: [...scalar, 'array'], items: { type: scalar } };
}
