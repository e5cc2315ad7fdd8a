/**
 * The joins of a view as Protobuf:
 *
 *     join:
 *       - { table: <source>, on: { <column of the view's source>: <key column> }, columns: { <name>: <column> } }
 *
 * Owns the form; whether table, columns and key fit is resolve's.
 */
import { create } from '@bufbuild/protobuf';
import { type Join, JoinSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Fields } from '../yaml/fields.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const JOIN_FIELDS = ['table', 'on', 'columns'] as const;

/** The joins under `join`, in order; none when the field is not there. */
export function parseJoins(view: Fields): Join[] {
  const field = view.get('join');
  if (field?.node == null) return [];
  return (view.items(field) ?? []).flatMap((node, index) => {
    const location = view.locate(node, field);
    const entry = { name: field.name, nameLocation: location, node, location };
    const fields = view.mapOf(entry, `join ${index + 1} of ${view.what}`);
    if (fields === undefined) return [];
    fields.allow(JOIN_FIELDS);
    return create(JoinSchema, {
      table: fields.requiredText('table', 'product_catalog'),
      on: texts(fields, 'on', '{ product_id: id }'),
      columns: texts(fields, 'columns', '{ category: category }'),
      location,
    });
  });
}

function texts(fields: Fields, name: string, example: string): { [name: string]: string } {
  const entries: { [name: string]: string } = {};
  const map = fields.requiredMap(name, example);
  const all = [...(map?.all() ?? [])];
  if (map !== undefined && all.length === 0) {
    fields.problem(map.location, `The field "${name}" of ${fields.what} is empty.`, `Write for example ${example}.`);
  }
  for (const entry of all) {
    const value = map?.requiredText(entry.name, 'id') ?? '';
    // A plain assignment to __proto__ would be no entry at all.
    Object.defineProperty(entries, entry.name, { value, enumerable: true, configurable: true, writable: true });
  }
  return entries;
}
