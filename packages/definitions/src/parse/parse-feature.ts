/**
 * One feature of a view as Protobuf:
 *
 *     name: { <aggregate>: <column> | {}, rolling: 5m | tumbling: 1h | lifetime: {}, pane: 5s, closed: true, ttl: 30d,
 *             default: 0, owner: …, description: …, tags: […] }
 *
 * Owns the form: which field is the aggregate, that there is one window. Does not own whether they fit together.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { aggregateNames } from '@freshet/engine/aggregates/table.ts';
import { type Feature, FeatureSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { WindowSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { isMap, isScalar } from 'yaml';
import type { Field, Fields } from '../yaml/fields.ts';
import { parseDefault } from './parse-default.ts';

export const WINDOWS = ['rolling', 'tumbling', 'lifetime'] as const;
/** A feature's fields beside the aggregate; editor-schema.ts gives each a shape. */
export const FEATURE_OPTIONS = [
  ...WINDOWS,
  'pane',
  'closed',
  'ttl',
  'default',
  'owner',
  'description',
  'tags',
] as const;
const OPTIONS: readonly string[] = FEATURE_OPTIONS;

/** The feature, or undefined, with a problem, when there is no telling what is meant. */
export function parseFeature(features: Fields, field: Field, view: string): Feature | undefined {
  const fields = features.mapOf(field, `feature ${field.name} of view ${view}`);
  if (fields === undefined) return undefined;
  const aggregate = parseAggregate(fields, field);
  const window = parseWindow(fields, field);
  const ttlUs = fields.duration('ttl');
  const ttl = fields.get('ttl');
  if (ttlUs === 0 && ttl !== undefined) {
    fields.problem(
      ttl.location,
      `The ttl of ${fields.what} must be above zero.`,
      'Leave it out for a value that never runs out.',
    );
  }
  const fallback = fields.get('default');
  const defaultValue = fallback === undefined ? undefined : parseDefault(fields, fallback);
  if (aggregate === undefined) return undefined;
  return create(FeatureSchema, {
    name: field.name,
    aggregate: aggregate.name,
    input: aggregate.input,
    ...(window === undefined ? {} : { window }),
    ...(defaultValue === undefined ? {} : { defaultValue }),
    ttlUs: BigInt(ttlUs ?? 0),
    owner: fields.text('owner'),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: field.nameLocation,
  });
}

function parseAggregate(fields: Fields, feature: Field): { name: string; input: string } | undefined {
  const candidates = [...fields.all()].filter(({ name }) => !OPTIONS.includes(name));
  const known = candidates.filter(({ name }) => aggregateNames.includes(name));
  for (const candidate of candidates) {
    if (!known.includes(candidate)) fields.unknown(candidate, [...aggregateNames, ...OPTIONS]);
  }
  const [aggregate, second] = known;
  if (aggregate === undefined) {
    // An unknown field was most likely meant to be it, and was told already.
    if (candidates.length === 0) {
      const remedy = `Say what to compute: ${aggregateNames.join(', ')}; for example \`${feature.name}: { count: {} }\`.`;
      fields.problem(feature.nameLocation, `Feature ${feature.name} has no aggregate.`, remedy);
    }
    return undefined;
  }
  if (second !== undefined) {
    const remedy = 'Make it two features, one with each.';
    fields.problem(
      second.nameLocation,
      `Feature ${feature.name} has two aggregates, ${aggregate.name} and ${second.name}.`,
      remedy,
    );
    return undefined;
  }
  if (aggregate.node === null || (isMap(aggregate.node) && aggregate.node.items.length === 0)) {
    return { name: aggregate.name, input: '' };
  }
  if (isScalar(aggregate.node) && typeof aggregate.node.value === 'string') {
    return { name: aggregate.name, input: aggregate.node.value };
  }
  const message = `The input of ${aggregate.name} in feature ${feature.name} must be the name of a column.`;
  const remedy = `Write \`${aggregate.name}: amount\`; to aggregate an expression, give it a name under the view's \`derived\`.`;
  fields.problem(aggregate.location, message, remedy);
  return undefined;
}

function parseWindow(fields: Fields, feature: Field): MessageInitShape<typeof WindowSchema> | undefined {
  const given = WINDOWS.filter((name) => fields.has(name));
  if (given.length > 1) {
    const at = fields.get(given[1] ?? '')?.nameLocation ?? feature.nameLocation;
    const message = `Feature ${feature.name} has several windows: ${given.join(', ')}.`;
    fields.problem(at, message, 'Make it several features, one for each.');
  }
  const rolling = fields.duration('rolling');
  const tumbling = fields.duration('tumbling');
  const pane = fields.duration('pane');
  const closed = fields.boolean('closed');
  belongsTo(fields, 'pane', 'rolling');
  belongsTo(fields, 'closed', 'tumbling');
  if (pane === 0) {
    const at = fields.get('pane')?.location ?? feature.location;
    fields.problem(at, `The pane of feature ${feature.name} must be above zero.`, 'Leave it out for the default.');
  }
  switch (given[0]) {
    case 'rolling':
      return rolling === undefined
        ? undefined
        : { kind: { case: 'rolling', value: { lengthUs: BigInt(rolling), paneUs: BigInt(pane ?? 0) } } };
    case 'tumbling':
      return tumbling === undefined
        ? undefined
        : { kind: { case: 'tumbling', value: { lengthUs: BigInt(tumbling), closed } } };
    case 'lifetime':
      return lifetime(fields);
    default:
      return undefined;
  }
}

function belongsTo(fields: Fields, option: string, window: string): void {
  const field = fields.get(option);
  if (field === undefined || fields.has(window)) return;
  const remedy = `Add \`${window}\` to the feature, or take \`${option}\` out.`;
  fields.problem(field.nameLocation, `The field "${option}" of ${fields.what} only goes with "${window}".`, remedy);
}

function lifetime(fields: Fields): MessageInitShape<typeof WindowSchema> {
  const field = fields.get('lifetime');
  const node = field?.node ?? null;
  const plain = node === null || (isMap(node) && node.items.length === 0) || (isScalar(node) && node.value === true);
  if (!plain && field !== undefined) {
    fields.problem(field.location, `A lifetime window of ${fields.what} has no length.`, 'Write `lifetime: {}`.');
  }
  return { kind: { case: 'lifetime', value: {} } };
}
