/** The `rules` of a source as Protobuf. Owns their form; what they ask of columns is resolve's. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { NULL_RATE_ROWS, NULL_RATE_ROWS_MAX } from '@freshet/contracts/null-rate.ts';
import { type ValueRule, ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Fields } from '../yaml/fields.ts';

/** Their fields; editor-schema.ts gives each a shape. */
export const RULE_FIELDS = ['name', 'expression', 'null_rate', 'only_tell'] as const;
export const NULL_RATE_FIELDS = ['column', 'max', 'rows'] as const;

/** What a source may have; the message refuses more. */
const RULES_MAX = 100;

type Rule = NonNullable<MessageInitShape<typeof ValueRuleSchema>['rule']>;

export function parseRules(fields: Fields): ValueRule[] {
  const field = fields.get('rules');
  if (field?.node == null) return [];
  const items = fields.items(field) ?? [];
  if (items.length > RULES_MAX) {
    const message = `${fields.what} has ${items.length} rules.`;
    fields.problem(
      field.location,
      message,
      `Give at most ${RULES_MAX}: one expression may ask several things with &&.`,
    );
    return [];
  }
  const names = new Set<string>();
  return items.flatMap((node) => {
    const location = fields.locate(node, field);
    const rule = fields.mapOf({ name: 'rules', nameLocation: location, node, location }, `a rule of ${fields.what}`);
    return rule === undefined ? [] : [parseRule(rule, names)];
  });
}

function parseRule(fields: Fields, names: Set<string>): ValueRule {
  fields.allow(RULE_FIELDS);
  const name = fields.requiredText('name', 'amount_positive');
  if (names.has(name) && name !== '')
    fields.problem(fields.location, `Two rules have the name "${name}".`, 'Give each rule a name of its own.');
  names.add(name);
  if (fields.has('expression') === fields.has('null_rate')) {
    const remedy = 'Write `expression: amount >= 0.0`, or `null_rate: { column: sku, max: 0.05 }`, one of the two.';
    fields.problem(fields.location, `Rule ${name} must ask one thing.`, remedy);
  }
  return create(ValueRuleSchema, { name, rule: ruleOf(fields), onlyTell: fields.boolean('only_tell') });
}

function ruleOf(fields: Fields): Rule {
  if (fields.has('expression')) return { case: 'expression', value: fields.expression('expression') };
  if (!fields.has('null_rate')) return { case: undefined };
  const rate = fields.requiredMap('null_rate', '{ column: sku, max: 0.05 }');
  if (rate === undefined) return { case: undefined };
  rate.allow(NULL_RATE_FIELDS);
  const column = rate.requiredText('column', 'sku');
  const [max, rows] = [rate.number('max'), rate.number('rows')];
  if (!rate.has('max'))
    rate.problem(rate.location, 'A null rate needs `max`.', 'Give the largest share of nulls, such as `max: 0.05`.');
  const isRows = rows !== undefined && Number.isInteger(rows) && rows > 0 && rows <= NULL_RATE_ROWS_MAX;
  if (rows !== undefined && !isRows) {
    const remedy = `Give 1 to ${NULL_RATE_ROWS_MAX}, or leave it out for ${NULL_RATE_ROWS}.`;
    rate.problem(rate.location, 'The `rows` of a null rate are no number of rows.', remedy);
  }
  return { case: 'nullRate', value: { column, max: max ?? 0, rows: isRows ? rows : 0 } };
}
