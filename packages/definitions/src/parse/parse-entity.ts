/** `kind: Entity` as Protobuf. Owns the form; what names mean to each other is resolve's. */
import { create } from '@bufbuild/protobuf';
import { type Entity, EntitySchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { type KeyColumn, KeyColumnSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { isKeyKind } from '@freshet/values/key.ts';
import { kindByName, kindNames } from '@freshet/values/type-name.ts';
import type { Fields } from '../yaml/fields.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const ENTITY_FIELDS = ['kind', 'name', 'key', 'owner', 'description', 'tags'] as const;

/** What people write for a kind by the names of other systems. */
export const OTHER_NAMES: Readonly<Record<string, string>> = {
  int: 'int64',
  integer: 'int64',
  bigint: 'int64',
  long: 'int64',
  text: 'string',
  varchar: 'string',
  uuid: 'string',
  boolean: 'bool',
  numeric: 'decimal',
  bytea: 'bytes',
  timestamptz: 'timestamp',
};

/** What key columns may be. */
export const KEY_KIND_NAMES: readonly string[] = kindNames.filter((name) =>
  isKeyKind(kindByName(name) ?? Kind.UNSPECIFIED),
);

export function parseEntity(document: Fields): Entity {
  const name = document.requiredText('name', 'user');
  const fields = document.as(`entity ${name}`);
  fields.allow(ENTITY_FIELDS);
  const key: KeyColumn[] = [];
  const columns = fields.requiredMap('key', '{ user_id: int64 }');
  for (const column of columns?.all() ?? []) {
    const text = columns?.text(column.name) ?? '';
    const kind = kindByName(text) ?? Kind.UNSPECIFIED;
    if (isKeyKind(kind)) key.push(create(KeyColumnSchema, { name: column.name, kind }));
    else
      fields.problem(
        column.location,
        `Key column ${column.name} of ${fields.what} cannot be of type "${text}".`,
        keyRemedy(text),
      );
  }
  if (columns !== undefined && [...columns.all()].length === 0) {
    fields.problem(
      columns.location,
      `${fields.what} has an empty key.`,
      'Add a key column, for example `key: { user_id: int64 }`.',
    );
  }
  return create(EntitySchema, {
    name,
    key,
    owner: fields.text('owner'),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: document.location,
  });
}

function keyRemedy(text: string): string {
  if (text === 'double')
    return 'Doubles are no keys, since equal numbers may differ in their digits: use decimal, int64 or string.';
  const meant = OTHER_NAMES[text.toLowerCase()] ?? closest(text, KEY_KIND_NAMES);
  const all = `Key columns are ${KEY_KIND_NAMES.join(', ')}.`;
  return meant === undefined || text === '' ? all : `Did you mean "${meant}"? ${all}`;
}
