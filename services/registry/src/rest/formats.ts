/**
 * The `format` of a schema: what a client asks for beside the text as it is kept.
 *
 * Owns which formats there are: `serialized` gives a Protobuf schema as base64 of its FileDescriptorProto, where the
 * engine has it. Any other format gives the text as it is kept, as Confluent's registry does for one that it does not know.
 */
import type { JsonObject, Row } from '../core/subjects/entity.ts';
import { parseSubject } from '../core/subjects/names.ts';
import { sourceOf } from '../core/subjects/schema-reader.ts';
import type { Call } from './router.ts';

/** The text alone, in the format that the query asks for. */
export async function formattedText(call: Call, row: Row): Promise<string> {
  const { schema } = await formatted(call, row, { schema: row.entity.schema });
  return typeof schema === 'string' ? schema : row.entity.schema;
}

/** The view with its `schema` in the format that the query asks for. Throws 42209 for a descriptor that is too long. */
export async function formatted(call: Call, row: Row, view: JsonObject): Promise<JsonObject> {
  if (view['schema'] === undefined || call.query.get('format') !== 'serialized') return view;
  if (row.entity.schemaType !== 'PROTOBUF') return view;
  const { registry } = call;
  const source = sourceOf(registry.index, parseSubject(row.subject).context, row.entity);
  const descriptor = await registry.look((work) => work.describe(source));
  return descriptor === undefined ? view : { ...view, schema: descriptor };
}
