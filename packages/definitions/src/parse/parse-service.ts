/** `kind: FeatureService` as Protobuf. Owns the form; whether the features exist is resolve's. */
import { create } from '@bufbuild/protobuf';
import { type FeatureService, FeatureServiceSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Fields } from '../yaml/fields.ts';
import { parseOnDemand, parseRequest } from './parse-on-demand.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const SERVICE_FIELDS = [
  'kind',
  'name',
  'features',
  'request',
  'on_demand',
  'owner',
  'description',
  'tags',
] as const;

export function parseService(document: Fields): FeatureService {
  const name = document.requiredText('name', 'recommendations');
  const fields = document.as(`service ${name}`);
  fields.allow(SERVICE_FIELDS);
  return create(FeatureServiceSchema, {
    name,
    features: fields.requiredTexts('features', '[user_clicks:*]'),
    request: parseRequest(fields),
    onDemand: parseOnDemand(fields),
    owner: fields.text('owner'),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: document.location,
  });
}
