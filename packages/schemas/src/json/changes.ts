/**
 * The kinds of change between two schemas: which are compatible, and how each is told.
 *
 * Owns the table; the names are those that tools know from Confluent's registry, and the last group is our own. What
 * is found where is diff/. Pure.
 */
import type { CompatibilityPolicy } from '../schema.ts';

interface ChangeRule {
  /** never, always, or only under the policy LENIENT. */
  readonly compatible: 'never' | 'always' | 'lenient';
  /** What is so at the path: "the new schema ...". */
  readonly text: string;
}

const never = (text: string): ChangeRule => ({ compatible: 'never', text });
const always = (text: string): ChangeRule => ({ compatible: 'always', text });
const lenient = (text: string): ChangeRule => ({ compatible: 'lenient', text });

/** The four changes of an upper bound, or of a lower one. */
function bound<N extends string>(
  name: N,
  word: string,
  upper: boolean,
): Record<`${N}_${'ADDED' | 'REMOVED' | 'INCREASED' | 'DECREASED'}`, ChangeRule> {
  const rules: Record<string, ChangeRule> = {
    [`${name}_ADDED`]: never(`${word} is new`),
    [`${name}_REMOVED`]: always(`${word} is gone`),
    [`${name}_INCREASED`]: upper ? always(`${word} is larger`) : never(`${word} is larger`),
    [`${name}_DECREASED`]: upper ? never(`${word} is smaller`) : always(`${word} is smaller`),
  };
  return rules as Record<`${N}_${'ADDED' | 'REMOVED' | 'INCREASED' | 'DECREASED'}`, ChangeRule>;
}

export const CHANGES = {
  ID_CHANGED: always('the identifier differs'),
  TITLE_CHANGED: always('the title differs'),
  DESCRIPTION_CHANGED: always('the description differs'),
  DEFAULT_CHANGED: always('the default differs'),
  SCHEMA_ADDED: never('a schema stands where none was'),
  SCHEMA_REMOVED: always('a schema is gone'),
  TYPE_EXTENDED: always('more types are allowed'),
  TYPE_NARROWED: never('fewer types are allowed'),
  TYPE_CHANGED: never('the type is another'),
  ...bound('MAX_LENGTH', 'maxLength', true),
  ...bound('MIN_LENGTH', 'minLength', false),
  PATTERN_ADDED: never('pattern is new'),
  PATTERN_REMOVED: always('pattern is gone'),
  PATTERN_CHANGED: never('pattern is another'),
  ...bound('MAXIMUM', 'maximum', true),
  ...bound('MINIMUM', 'minimum', false),
  ...bound('EXCLUSIVE_MAXIMUM', 'exclusiveMaximum', true),
  ...bound('EXCLUSIVE_MINIMUM', 'exclusiveMinimum', false),
  MULTIPLE_OF_ADDED: never('multipleOf is new'),
  MULTIPLE_OF_REMOVED: always('multipleOf is gone'),
  MULTIPLE_OF_EXPANDED: never('multipleOf is a multiple of what it was'),
  MULTIPLE_OF_REDUCED: always('multipleOf divides what it was'),
  MULTIPLE_OF_CHANGED: never('multipleOf is another'),
  REQUIRED_ATTRIBUTE_ADDED: never('a property became required and has no default'),
  REQUIRED_ATTRIBUTE_WITH_DEFAULT_ADDED: always('a property with a default became required'),
  REQUIRED_ATTRIBUTE_REMOVED: always('a property is required no more'),
  ...bound('MAX_PROPERTIES', 'maxProperties', true),
  ...bound('MIN_PROPERTIES', 'minProperties', false),
  ADDITIONAL_PROPERTIES_ADDED: always('additional properties are allowed now'),
  ADDITIONAL_PROPERTIES_REMOVED: lenient('additional properties are not allowed any more'),
  ADDITIONAL_PROPERTIES_EXTENDED: always('additionalProperties allows more'),
  ADDITIONAL_PROPERTIES_NARROWED: lenient('additionalProperties allows less'),
  DEPENDENCY_ARRAY_ADDED: never('a list of dependent properties is new'),
  DEPENDENCY_ARRAY_REMOVED: always('a list of dependent properties is gone'),
  DEPENDENCY_ARRAY_EXTENDED: never('more properties depend'),
  DEPENDENCY_ARRAY_NARROWED: always('fewer properties depend'),
  DEPENDENCY_ARRAY_CHANGED: never('other properties depend'),
  DEPENDENCY_SCHEMA_ADDED: never('a dependent schema is new'),
  DEPENDENCY_SCHEMA_REMOVED: always('a dependent schema is gone'),
  PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL: lenient('a property is new, where old data may hold anything by its name'),
  PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL: always('a property that may be anything is new'),
  REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL: never('a required property without a default is new'),
  REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_UNOPEN_CONTENT_MODEL: always('a required property with a default is new'),
  OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL: always('an optional property is new'),
  PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL: always('a property is gone, and may still be there'),
  PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL: always('a property that could not be is gone'),
  PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL: lenient(
    'a property is gone, and others than those named are not allowed',
  ),
  PROPERTY_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: always(
    'a property is new and allows what its name allowed',
  ),
  PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: lenient(
    'a property is new and allows less than its name allowed',
  ),
  PROPERTY_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: always(
    'a property is gone, and its name still allows its values',
  ),
  PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: lenient(
    'a property is gone, and its name does not allow its values any more',
  ),
  ...bound('MAX_ITEMS', 'maxItems', true),
  ...bound('MIN_ITEMS', 'minItems', false),
  UNIQUE_ITEMS_ADDED: never('items must be unique now'),
  UNIQUE_ITEMS_REMOVED: always('items need not be unique any more'),
  ADDITIONAL_ITEMS_ADDED: always('additional items are allowed now'),
  ADDITIONAL_ITEMS_REMOVED: never('additional items are not allowed any more'),
  ADDITIONAL_ITEMS_EXTENDED: always('additional items allow more'),
  ADDITIONAL_ITEMS_NARROWED: never('additional items allow less'),
  ITEM_ADDED_TO_OPEN_CONTENT_MODEL: never('an item is new, where old data may hold anything'),
  ITEM_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL: always('an item that may be anything is new'),
  ITEM_ADDED_TO_CLOSED_CONTENT_MODEL: always('an item is new, where none was allowed'),
  ITEM_REMOVED_FROM_OPEN_CONTENT_MODEL: always('an item is gone, and may still be there'),
  ITEM_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL: always('an item that could not be is gone'),
  ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL: never('an item is gone, and further items are not allowed'),
  ITEM_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: always('an item is new and allows what its place allowed'),
  ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: never(
    'an item is new and allows less than its place allowed',
  ),
  ITEM_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: always(
    'an item is gone, and its place still allows its values',
  ),
  ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL: never(
    'an item is gone, and its place does not allow its values any more',
  ),
  ENUM_ARRAY_EXTENDED: always('more values are allowed'),
  ENUM_ARRAY_NARROWED: never('fewer values are allowed'),
  ENUM_ARRAY_CHANGED: never('other values are allowed'),
  COMBINED_TYPE_EXTENDED: always('the way in which schemas are combined allows more'),
  COMBINED_TYPE_CHANGED: never('schemas are combined in another way'),
  COMBINED_TYPE_SUBSCHEMAS_CHANGED: never('combined schemas do not all have one that allows as much'),
  PRODUCT_TYPE_EXTENDED: never('allOf asks for more'),
  PRODUCT_TYPE_NARROWED: always('allOf asks for less'),
  SUM_TYPE_EXTENDED: always('there are more alternatives'),
  SUM_TYPE_NARROWED: never('there are fewer alternatives'),
  NOT_TYPE_EXTENDED: never('not forbids more'),
  NOT_TYPE_NARROWED: always('not forbids less'),
  // What the other registry does not look at, and what would let unreadable data pass.
  ...bound('MAX_CONTAINS', 'maxContains', true),
  MIN_CONTAINS_INCREASED: never('minContains is larger'),
  MIN_CONTAINS_DECREASED: always('minContains is smaller'),
  PATTERN_PROPERTY_ADDED: never('patternProperties asks for more'),
  PATTERN_PROPERTY_REMOVED: never('a pattern of properties is gone, and such names do not allow their values any more'),
  CONDITION_CHANGED: never('if, then and else ask for something else'),
  UNEVALUATED_CHANGED: never('what counts as unevaluated is another'),
} as const satisfies Readonly<Record<string, ChangeRule>>;

export type ChangeType = keyof typeof CHANGES;

/** One difference, with its place in the new schema, or in the old one for what is gone. */
export interface Change {
  readonly type: ChangeType;
  readonly path: string;
}

export function isCompatibleChange(type: ChangeType, policy: CompatibilityPolicy): boolean {
  const { compatible } = CHANGES[type] as ChangeRule;
  return compatible === 'always' || (compatible === 'lenient' && policy === 'LENIENT');
}

export function describeChange({ type, path }: Change): string {
  return `At ${path} ${CHANGES[type].text}.`;
}
