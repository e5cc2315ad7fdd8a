/** `kind: Source` as Protobuf. Owns the form; whether the table has those columns is resolve's. */
import { create } from '@bufbuild/protobuf';
import { type Source, SourceSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type PostgresTable, PostgresTableSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { parseTableName } from '../table-name.ts';
import type { Fields } from '../yaml/fields.ts';

const FIELDS = ['kind', 'name', 'mode', 'postgres', 'event_time', 'max_skew', 'description', 'tags'] as const;
const MODES: Readonly<Record<string, SourceMode>> = { append: SourceMode.APPEND, mutable: SourceMode.MUTABLE };

/** The database of a source that names none: what a configuration with one database calls it. */
export const DEFAULT_DATABASE = 'default';

export function parseSource(document: Fields): Source {
  const name = document.requiredText('name', 'user_activity');
  const fields = document.as(`source ${name}`);
  fields.allow(FIELDS);
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
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: document.location,
  });
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
  postgres.allow(['table', 'database']);
  const text = postgres.requiredText('table', 'public.user_activity');
  const database = postgres.text('database') || DEFAULT_DATABASE;
  const name = parseTableName(text);
  const field = postgres.get('table');
  if (name === undefined && text !== '' && field !== undefined) {
    const remedy =
      'Write schema.table as in SQL, for example public.user_activity, or \'"My Schema"."My Table"\' with capitals or spaces.';
    fields.problem(field.location, `"${text}" is not the name of a table.`, remedy);
  }
  return create(PostgresTableSchema, { database, schema: name?.schema ?? '', table: name?.table ?? '' });
}
