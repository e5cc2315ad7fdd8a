/** `kind: FeatureView` as Protobuf. Owns the form; features are parse-feature.ts, joins parse-join.ts. */
import { create } from '@bufbuild/protobuf';
import {
  type Derived,
  DerivedSchema,
  type FeatureView,
  FeatureViewSchema,
} from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Fields } from '../yaml/fields.ts';
import { parseFeature } from './parse-feature.ts';
import { parseJoins } from './parse-join.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const VIEW_FIELDS = [
  'kind',
  'name',
  'entity',
  'source',
  'key',
  'join',
  'where',
  'derived',
  'features',
  'owner',
  'description',
  'tags',
] as const;

export function parseView(document: Fields): FeatureView {
  const name = document.requiredText('name', 'user_clicks');
  const fields = document.as(`view ${name}`);
  fields.allow(VIEW_FIELDS);
  const where = fields.get('where');
  const features = fields.requiredMap('features', '{ click_count_5min: { count: {}, rolling: 5m } }');
  if (features !== undefined && [...features.all()].length === 0) {
    const remedy = 'Add one, for example `click_count_5min: { count: {}, rolling: 5m }`.';
    fields.problem(features.location, `View ${name} has no features.`, remedy);
  }
  return create(FeatureViewSchema, {
    name,
    entity: fields.requiredText('entity', 'user'),
    source: fields.requiredText('source', 'user_activity'),
    keyColumns: parseKeyColumns(fields),
    joins: parseJoins(fields),
    where: fields.expression('where'),
    derived: parseDerived(fields),
    features: [...(features?.all() ?? [])].flatMap((field) => parseFeature(features as Fields, field, name) ?? []),
    owner: fields.text('owner'),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: document.location,
    ...(where === undefined ? {} : { whereLocation: where.location }),
  });
}

function parseKeyColumns(fields: Fields): { [keyColumn: string]: string } {
  const columns: { [keyColumn: string]: string } = {};
  const key = fields.map('key');
  for (const { name } of key?.all() ?? []) {
    const column = key?.requiredText(name, 'uid') ?? '';
    // A plain assignment to __proto__ would be no entry at all.
    Object.defineProperty(columns, name, { value: column, enumerable: true, configurable: true, writable: true });
  }
  return columns;
}

function parseDerived(fields: Fields): Derived[] {
  const derived = fields.map('derived');
  return [...(derived?.all() ?? [])].map((field) =>
    create(DerivedSchema, {
      name: field.name,
      expression: derived?.expressionOf(field) ?? '',
      location: field.location,
    }),
  );
}
