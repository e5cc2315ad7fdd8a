/** `kind: Source` as Protobuf. Owns the form; whether the table has those columns is resolve's. */
import { create } from '@bufbuild/protobuf';
import { type Source, SourceSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { ChangePolicy, HoldScope, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type PostgresTable, PostgresTableSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { isScalar } from 'yaml';
import { parseTableName } from '../table-name.ts';
import type { Fields } from '../yaml/fields.ts';
import { parseRules } from './parse-rules.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const SOURCE_FIELDS = [
  'kind',
  'name',
  'mode',
  'postgres',
  'event_time',
  'max_skew',
  'policy',
  'hold',
  'rules',
  'owner',
  'description',
  'tags',
] as const;
export const POSTGRES_FIELDS = ['table', 'database'] as const;

export const MODES: Readonly<Record<string, SourceMode>> = { append: SourceMode.APPEND, mutable: SourceMode.MUTABLE };

export const POLICIES: Readonly<Record<string, ChangePolicy>> = {
  strict: ChangePolicy.STRICT,
  evolve: ChangePolicy.EVOLVE,
  notify: ChangePolicy.NOTIFY,
};
export const HOLDS: Readonly<Record<string, HoldScope>> = { table: HoldScope.TABLE, key: HoldScope.KEY };

/** The database of a source that names none: what a configuration with one database calls it. */
export const DEFAULT_DATABASE = 'default';

export function parseSource(document: Fields): Source {
  const name = document.requiredText('name', 'user_activity');
  const fields = document.as(`source ${name}`);
  fields.allow(SOURCE_FIELDS);
  const mode = parseMode(fields);
  const postgres = parsePostgres(fields);
  const maxSkewUs = fields.duration('max_skew');
  const skewField = fields.get('max_skew');
  if (maxSkewUs === 0 && skewField !== undefined) {
    const remedy = 'Give at least 1us, or leave the field out for the default of 5s.';
    fields.problem(skewField.location, `The field "max_skew" of ${fields.what} must be above zero.`, remedy);
  }
  return create(SourceSchema, {
    name,
    mode,
    origin: postgres === undefined ? { case: undefined } : { case: 'postgres', value: postgres },
    eventTime: fields.text('event_time'),
    maxSkewUs: BigInt(maxSkewUs ?? 0),
    policy: parseWord(fields, 'policy', POLICIES) ?? ChangePolicy.UNSPECIFIED,
    hold: parseWord(fields, 'hold', HOLDS) ?? HoldScope.UNSPECIFIED,
    rules: parseRules(fields),
    owner: fields.text('owner'),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: document.location,
  });
}

/** What one of a few words means; undefined when the field is not there, or, with a problem, when it is another word. */
function parseWord<T>(fields: Fields, name: string, words: Readonly<Record<string, T>>): T | undefined {
  const text = fields.text(name);
  const field = fields.get(name);
  if (text === '' || field === undefined) return undefined;
  if (Object.hasOwn(words, text)) return words[text];
  const meant = closest(text, Object.keys(words));
  const remedy = `${meant === undefined ? '' : `Did you mean "${meant}"? `}Write ${Object.keys(words).join(' or ')}.`;
  fields.problem(field.location, `${fields.what} has an unknown ${name} "${text}".`, remedy);
  return undefined;
}

function parseMode(fields: Fields): SourceMode {
  const text = fields.requiredText('mode', 'append');
  const mode = MODES[text];
  const field = fields.get('mode');
  if (mode === undefined && text !== '' && field !== undefined) {
    const meant = closest(text, Object.keys(MODES));
    const remedy = `${meant === undefined ? '' : `Did you mean "${meant}"? `}Write append (every inserted row is an event) or mutable (rows are facts that change).`;
    fields.problem(field.location, `${fields.what} has an unknown mode "${text}".`, remedy);
  }
  return mode ?? SourceMode.UNSPECIFIED;
}

function parsePostgres(fields: Fields): PostgresTable | undefined {
  const postgres = fields.requiredMap('postgres', '{ table: public.user_activity }');
  if (postgres === undefined) return undefined;
  postgres.allow(POSTGRES_FIELDS);
  const text = postgres.requiredText('table', 'public.user_activity');
  const database = postgres.text('database') || DEFAULT_DATABASE;
  const name = parseTableName(text);
  const field = postgres.get('table');
  // What is missing or no text was told already; a text with nothing in it was not.
  const isText = isScalar(field?.node) && typeof field.node.value === 'string';
  if (name === undefined && isText) {
    const remedy =
      'Write schema.table as in SQL, for example public.user_activity, or \'"My Schema"."My Table"\' with capitals or spaces.';
    fields.problem(field.location, `"${text}" is not the name of a table.`, remedy);
  }
  return create(PostgresTableSchema, { database, schema: name?.schema ?? '', table: name?.table ?? '' });
}
