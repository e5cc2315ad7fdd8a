/**
 * What a client asks for beside the schema as it is kept: `format`, `referenceFormat`, `findTags`.
 *
 * Owns which formats there are: `serialized` gives a Protobuf schema as base64 of its FileDescriptorProto, `resolved` an
 * Avro schema with all that it references in it. Any other format gives the text as it is kept, as Confluent's registry does for one that it does not know.
 * What no published text says of `referenceFormat` is refused: a client that asked would take the answer for what it meant.
 */
import type { SchemaType } from '@freshet/schemas/schema.ts';
import type { JsonObject, Row } from '../core/subjects/entity.ts';
import { SchemaApiError } from '../core/subjects/errors.ts';
import { parseSubject, qualified } from '../core/subjects/names.ts';
import { sourceOf } from '../core/subjects/schema-reader.ts';
import type { SchemaForm } from '../core/subjects/schema-work.ts';
import type { Call } from './router.ts';

const FORMS: Readonly<Record<SchemaType, SchemaForm | undefined>> = {
  AVRO: 'resolved',
  JSON: undefined,
  PROTOBUF: 'serialized',
};

/** The text alone, in the format that the query asks for. */
export async function formattedText(call: Call, row: Row): Promise<string> {
  const { schema } = await formatted(call, row, { schema: row.entity.schema });
  return typeof schema === 'string' ? schema : row.entity.schema;
}

/** The view with its `schema` in the format that the query asks for. Throws 42209 for one that is too long. */
export async function formatted(call: Call, row: Row, view: JsonObject): Promise<JsonObject> {
  const form = FORMS[row.entity.schemaType];
  if (view['schema'] === undefined || form === undefined || call.query.get('format') !== form) return view;
  const { registry } = call;
  const source = sourceOf(registry.index, parseSubject(row.subject).context, row.entity);
  const schema = await registry.look((work) => work.describe(source, form));
  return schema === undefined ? view : { ...view, schema };
}

/** The view of a read by id or by version: in the formats that the query asks for, with the tags that it looks for. */
export async function shown(call: Call, row: Row, view: JsonObject): Promise<JsonObject> {
  const references = referencesOf(call, row);
  const tags = await taggedPlaces(call, row);
  const text = await formatted(call, row, view);
  return {
    ...text,
    ...(references.length === 0 ? {} : { references }),
    ...(tags.length === 0 ? {} : { schemaTags: tags }),
  };
}

/** The references in the form that `referenceFormat` asks for. Throws 422 for one that there is not. */
function referencesOf({ query }: Call, { subject, entity }: Row): readonly JsonObject[] {
  const format = (query.get('referenceFormat') ?? '').toLowerCase();
  if (format === '' || format === 'default') return entity.references.map((reference) => ({ ...reference }));
  if (format !== 'qualified')
    throw new SchemaApiError(
      422,
      'referenceFormat must be default or qualified; leave it out for the references as they are kept',
    );
  const { context } = parseSubject(subject);
  return entity.references.map((each) => ({ ...each, subject: qualified(parseSubject(each.subject, context)) }));
}

/** What has one of the tags that `findTags` names, "*" for any; with all the tags that it has. */
async function taggedPlaces({ query, registry }: Call, row: Row): Promise<readonly JsonObject[]> {
  const wanted = new Set(query.getAll('findTags'));
  if (wanted.size === 0) return [];
  const source = sourceOf(registry.index, parseSubject(row.subject).context, row.entity);
  const places = await registry.look((work) => work.findTags(source));
  return places
    .filter(({ tags }) => wanted.has('*') || tags.some((tag) => wanted.has(tag)))
    .map(({ path, kind, tags }) => ({ schemaEntity: { entityPath: path, entityType: kind }, tags }));
}
