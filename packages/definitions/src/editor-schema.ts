/**
 * The JSON Schema (2020-12) of one document of a definition file, by which editors complete, explain and check the YAML.
 *
 * It is made of the parser's own tables: the fields of each map, the aggregates, the words that a field may be. A field
 * without a shape does not compile. It never refuses what the parser accepts; what it cannot say (names that other
 * documents must have, columns, types, expressions, the longest duration) is left to `plan`.
 */
import { NULL_RATE_ROWS, NULL_RATE_ROWS_MAX } from '@freshet/contracts/null-rate.ts';
import { aggregateNames } from '@freshet/engine/aggregates/table.ts';
import {
  DerivedSchema,
  EntitySchema,
  FeatureSchema,
  FeatureServiceSchema,
  FeatureViewSchema,
  JoinSchema,
  OnDemandFeatureSchema,
  RequestFieldSchema,
  SourceSchema,
} from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  defaultValue,
  duration,
  durationAbove0,
  expression,
  flag,
  type JsonSchema,
  named,
  optionalText,
  optionalWord,
  orNothing,
  record,
  rulesOf,
  text,
  texts,
  word,
} from './editor-shapes.ts';
import { ENTITY_FIELDS, KEY_KIND_NAMES } from './parse/parse-entity.ts';
import { type FEATURE_OPTIONS, WINDOWS } from './parse/parse-feature.ts';
import { JOIN_FIELDS } from './parse/parse-join.ts';
import { ON_DEMAND_FIELDS, SCALARS } from './parse/parse-on-demand.ts';
import { NULL_RATE_FIELDS, RULE_FIELDS } from './parse/parse-rules.ts';
import { SERVICE_FIELDS } from './parse/parse-service.ts';
import { HOLDS, MODES, POLICIES, POSTGRES_FIELDS, SOURCE_FIELDS } from './parse/parse-source.ts';
import { VIEW_FIELDS } from './parse/parse-view.ts';
import { KINDS } from './parse.ts';
import { TABLE_NAME_PATTERN } from './table-name.ts';

/** The schema of one document, as JSON. The same for every call. */
export function editorSchema(): JsonSchema {
  const shapes: Readonly<Record<(typeof KINDS)[number], JsonSchema>> = {
    Entity: entity(),
    Source: source(),
    FeatureView: view(),
    FeatureService: service(),
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Freshet definition',
    description: 'One document of a definition file: an entity, a source, a view of features, or a feature service.',
    // A document with nothing in it is skipped.
    type: ['object', 'null'],
    required: ['kind'],
    properties: { kind: word('What the document defines.', KINDS) },
    // One condition per kind and no oneOf: an editor then tells what is wrong with a view, not that it is no entity.
    allOf: KINDS.map((kind) => ({
      if: { type: 'object', required: ['kind'], properties: { kind: { const: kind } } },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
      then: { $ref: `#/$defs/${kind}` },
    })),
    $defs: { ...shapes, Feature: feature(), Join: join(), Rule: rule() },
  };
}

/** Whose names have the same rules as a definition's. */
type Message = Parameters<typeof rulesOf>[0];

function nameOf(message: Message, description: string): JsonSchema {
  return text(`${description} Lower-case letters, digits and underscores.`, rulesOf(message, 'name'));
}

function kindField(kind: (typeof KINDS)[number]): JsonSchema {
  return { description: 'What the document defines.', const: kind };
}

/** What definitions have for people. */
function forPeople(message: Message): Readonly<Record<'owner' | 'description' | 'tags', JsonSchema>> {
  return {
    owner: optionalText('Who answers for it: a team or a person.', rulesOf(message, 'owner')),
    ...described(message),
  };
}

function described(message: Message): Readonly<Record<'description' | 'tags', JsonSchema>> {
  return {
    description: optionalText('What it is, for people. `freshet search` finds it.', rulesOf(message, 'description')),
    tags: texts('Words to find it by, such as [finance, pii].', rulesOf(message, 'tags')),
  };
}

function entity(): JsonSchema {
  const columns = word('The type of the key column.', KEY_KIND_NAMES);
  const shapes = {
    kind: kindField('Entity'),
    name: nameOf(EntitySchema, "The entity's name."),
    key: named(
      'The key: { user_id: int64 }. Several columns make a compound key.',
      columns,
      rulesOf(EntitySchema, 'key'),
    ),
    ...forPeople(EntitySchema),
  };
  return record('What features are about, and by which key.', ENTITY_FIELDS, shapes, ['kind', 'name', 'key']);
}

function source(): JsonSchema {
  const rules = 'What values must be. Rows that break a rule go to quarantine, or are only told.';
  return record(
    'A table that is captured, and what is promised about it.',
    SOURCE_FIELDS,
    {
      kind: kindField('Source'),
      name: nameOf(SourceSchema, "The source's name."),
      mode: word('append: every inserted row is an event. mutable: rows are facts that change.', Object.keys(MODES)),
      postgres: postgres(),
      event_time: optionalText(
        "The timestamp column that says when a row happened; without it, the commit's time.",
        rulesOf(SourceSchema, 'eventTime'),
      ),
      max_skew: durationAbove0(
        'How far an event time may be in the future, at most 1d; rows beyond it go to quarantine. Default: 5s.',
      ),
      policy: optionalWord(
        'What a change of the table does. strict: any change of a column that is read holds its rows. evolve (default): ' +
          'what breaks a consumer holds them. notify: only what can no longer be read holds them.',
        Object.keys(POLICIES),
      ),
      hold: optionalWord(
        'What waits behind a row in quarantine: the table (default) or only the rows of its key.',
        Object.keys(HOLDS),
      ),
      rules: {
        description: rules,
        type: ['array', 'null'],
        ...rulesOf(SourceSchema, 'rules'),
        items: { $ref: '#/$defs/Rule' },
      },
      ...forPeople(SourceSchema),
    },
    ['kind', 'name', 'mode', 'postgres'],
  );
}

function postgres(): JsonSchema {
  const table = TABLE_NAME_PATTERN.source.slice(1, -1);
  return record(
    'The table.',
    POSTGRES_FIELDS,
    {
      table: text('schema.table as in SQL: public.user_activity.', { pattern: String.raw`^\s*${table}\s*$` }),
      database: optionalText('The name of the database in the configuration of ingest. Default: default.'),
    },
    ['table'],
  );
}

function rule(): JsonSchema {
  const share = record(
    'A bound on the share of nulls in a column.',
    NULL_RATE_FIELDS,
    {
      column: text('The column.'),
      max: { description: 'The largest share of nulls, from 0 to 1.', type: 'number' },
      rows: {
        description: `Over how many of the newest rows. Default: ${NULL_RATE_ROWS}.`,
        type: 'integer',
        minimum: 1,
        maximum: NULL_RATE_ROWS_MAX,
      },
    },
    ['column', 'max'],
  );
  const shapes = {
    name: text('The name by which it is told.'),
    expression: expression("CEL over the row's columns. False breaks the rule; null keeps it."),
    null_rate: share,
    only_tell: flag('Rows that break the rule pass, and are told.'),
  };
  return {
    ...record('What values must be: an expression or a null rate.', RULE_FIELDS, shapes, ['name']),
    oneOf: [{ required: ['expression'] }, { required: ['null_rate'] }],
  };
}

function view(): JsonSchema {
  const derived = expression('CEL over the columns, joined columns and the derived columns before.');
  const names = rulesOf(DerivedSchema, 'name');
  const joins = 'Tables whose columns enrich each row, as they were when it was written.';
  return record(
    'Features of an entity, folded from a source.',
    VIEW_FIELDS,
    {
      kind: kindField('FeatureView'),
      name: nameOf(FeatureViewSchema, "The view's name."),
      entity: text('The entity.', rulesOf(FeatureViewSchema, 'entity')),
      source: text('The source.', rulesOf(FeatureViewSchema, 'source')),
      key: orNothing(
        named("The source's column for a key column, where its name is another.", text('The column.'), {}),
      ),
      join: {
        description: joins,
        type: ['array', 'null'],
        ...rulesOf(FeatureViewSchema, 'joins'),
        items: { $ref: '#/$defs/Join' },
      },
      where: expression('A CEL condition: only rows for which it is true are folded.'),
      derived: orNothing(
        named(
          'Columns that expressions make: { net: double(amount) * 0.81 }.',
          derived,
          rulesOf(FeatureViewSchema, 'derived'),
          names,
        ),
      ),
      features: named(
        'The features: { clicks_5m: { count: {}, rolling: 5m } }.',
        { $ref: '#/$defs/Feature' },
        rulesOf(FeatureViewSchema, 'features'),
        rulesOf(FeatureSchema, 'name'),
      ),
      ...forPeople(FeatureViewSchema),
    },
    ['kind', 'name', 'entity', 'source', 'features'],
  );
}

function join(): JsonSchema {
  return record(
    'A table whose columns enrich the rows.',
    JOIN_FIELDS,
    {
      table: text("The name of the table's source.", rulesOf(JoinSchema, 'table')),
      on: named(
        "Column of the view's source: key column of the table.",
        text('The key column.'),
        rulesOf(JoinSchema, 'on'),
      ),
      columns: named('Name in the view: column of the table.', text('The column.'), rulesOf(JoinSchema, 'columns')),
    },
    ['table', 'on', 'columns'],
  );
}

/** Nothing, or an empty map. */
const NOTHING = { type: ['object', 'null'], maxProperties: 0 } as const;

function feature(): JsonSchema {
  const options: Readonly<Record<(typeof FEATURE_OPTIONS)[number], JsonSchema>> = {
    rolling: duration('The window moves with time: the last 5m.'),
    tumbling: duration("The window is one of the clock's: today, for 1d."),
    lifetime: { description: 'No window, as when none is named. Write {}.', anyOf: [NOTHING, { const: true }] },
    pane: durationAbove0('How fine a rolling window moves.'),
    closed: flag('The last whole tumbling window instead of the current one.'),
    ttl: durationAbove0('The value is absent when no event came for so long.'),
    default: defaultValue('What to answer when there is no value.'),
    ...forPeople(FeatureSchema),
  };
  const input = {
    description: 'The column, joined or derived column to aggregate; {} to count rows.',
    anyOf: [{ type: 'string', ...rulesOf(FeatureSchema, 'input') }, NOTHING],
  };
  const both = WINDOWS.flatMap((a, i) => WINDOWS.slice(i + 1).map((b) => ({ required: [a, b] })));
  return {
    description: 'One feature: an aggregate, at most one window, options.',
    type: 'object',
    properties: { ...Object.fromEntries(aggregateNames.map((name) => [name, input])), ...options },
    additionalProperties: false,
    oneOf: aggregateNames.map((name) => ({ required: [name] })),
    not: { anyOf: both },
    dependentRequired: { pane: ['rolling'], closed: ['tumbling'] },
  };
}

function service(): JsonSchema {
  const types = SCALARS.join('|');
  const type = {
    description: 'The type: a scalar, or a list of one, such as list<string>.',
    anyOf: [{ enum: SCALARS }, { type: 'string', pattern: String.raw`^list<\s*(?:${types})\s*>$` }],
  };
  const names = rulesOf(OnDemandFeatureSchema, 'name');
  return record(
    'What one model reads.',
    SERVICE_FIELDS,
    {
      kind: kindField('FeatureService'),
      name: nameOf(FeatureServiceSchema, "The service's name."),
      features: texts('The features, as view:feature or view:*.', rulesOf(FeatureServiceSchema, 'features')),
      request: orNothing(
        named(
          'What the caller sends beside the keys: { cart_total: double }.',
          type,
          rulesOf(FeatureServiceSchema, 'request'),
          rulesOf(RequestFieldSchema, 'name'),
        ),
      ),
      on_demand: orNothing(
        named(
          'What is computed when the service is read.',
          onDemand(),
          rulesOf(FeatureServiceSchema, 'onDemand'),
          names,
        ),
      ),
      ...forPeople(FeatureServiceSchema),
    },
    ['kind', 'name', 'features'],
  );
}

function onDemand(): JsonSchema {
  const told = 'CEL over stored features, request fields, `now` and the on-demand features before.';
  const shapes = {
    expression: expression(told),
    default: defaultValue('What to answer when the expression fails or gives null.'),
    ...described(OnDemandFeatureSchema),
  };
  const whole = record('An on-demand feature with options.', ON_DEMAND_FIELDS, shapes, ['expression']);
  return { anyOf: [expression(told), whole] };
}
