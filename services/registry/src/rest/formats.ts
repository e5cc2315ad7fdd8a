/**
 * The `format` of a schema: what a client asks for beside the text as it is kept.
 *
 * Owns which formats there are: `serialized` gives a Protobuf schema as base64 of its FileDescriptorProto, where the
 * engine has it. Any other format gives the text as it is kept, as Confluent's registry does for one that it does not know.
 */
import type { ParsedSchema } from '@freshet/schemas/schema.ts';
import type { JsonObject, Row } from '../core/subjects/entity.ts';
import { parseSubject } from '../core/subjects/names.ts';
import { asRefusal } from '../core/subjects/schema-reader.ts';
import type { Call } from './router.ts';

/** A Protobuf schema that was read by an engine which can give its descriptor. */
interface WithDescriptor extends ParsedSchema {
  /** Base64 of the FileDescriptorProto. */
  readonly serialized: string;
}

/** The text alone, in the format that the query asks for. */
export function formattedText(call: Call, row: Row): string {
  const { schema } = formatted(call, row, { schema: row.entity.schema });
  return typeof schema === 'string' ? schema : row.entity.schema;
}

/** The view with its `schema` in the format that the query asks for. Throws 42209 for a descriptor that is too long. */
export function formatted(call: Call, row: Row, view: JsonObject): JsonObject {
  if (view['schema'] === undefined || call.query.get('format') !== 'serialized') return view;
  if (row.entity.schemaType !== 'PROTOBUF') return view;
  const { registry } = call;
  const parsed = registry.reader.read(registry.index, parseSubject(row.subject).context, row.entity);
  if (!('serialized' in parsed)) return view;
  try {
    return { ...view, schema: (parsed as WithDescriptor).serialized };
  } catch (error) {
    throw asRefusal(error);
  }
}
