/**
 * What of the log and the quarantine belongs to an entity that is to be erased.
 *
 * Owns which routes and views are meant, which records of a key are the entity's, and which quarantined rows. Does not own
 * taking them out. Pure.
 *
 * Two entities may have keys of the same bytes (user 5, product 5), which share a partition. A record under the key is
 * another entity's only if its route is in force and is of that entity alone; a route that no definitions name any more is
 * taken for the entity's: nobody folds it, and forgetting too much of it hurts nobody.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ErasedSchema, LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet, KeyColumn, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { decodeKey, encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { QuarantineEntry } from './quarantine.ts';
import { parserOf } from './types/text-parsers.ts';

export interface EraseScope {
  readonly entity: string;
  readonly key: readonly KeyColumn[];
  /** The routes whose rows under the key are the entity's, ascending. */
  readonly routes: readonly number[];
  /** Routes in force under whose keys others lie. */
  readonly others: ReadonlySet<number>;
  /** The names of the views in force that fold the routes. */
  readonly views: readonly string[];
  /** Names of entities whose routes have the entity's sources: their records keep columns that may name the entity. */
  readonly mentions: readonly string[];
}

/** Throws INVALID_REQUEST when the definitions have no such entity, WRONG_KEY when the key is none of its. */
export function eraseScope(definitions: DefinitionSet | undefined, entity: string, entityKey: Uint8Array): EraseScope {
  const views = definitions?.views ?? [];
  const routes = definitions?.routes ?? [];
  const meant = new Set([
    ...views.filter((view) => view.entity?.name === entity).map(({ route }) => route),
    ...routes.filter((route) => route.entity?.name === entity).map(({ route }) => route),
  ]);
  const plan =
    views.find((view) => view.entity?.name === entity)?.entity ?? routes.find((r) => meant.has(r.route))?.entity;
  if (plan === undefined) {
    throw new FreshetError('INVALID_REQUEST', `the definitions in force have no entity ${entity} with a view`, {
      place: 'entity',
      remedy: 'name an entity of the definitions in force; what of another is in the log goes as the log is trimmed',
    });
  }
  decodeKey(
    plan.key.map(({ kind }) => kind),
    entityKey,
  );
  const sources = new Set(routes.filter(({ route }) => meant.has(route)).map(sourceOf));
  const mentions = routes.filter((route) => !meant.has(route.route) && sources.has(sourceOf(route)));
  return {
    entity,
    key: plan.key,
    routes: [...meant].sort((a, b) => a - b),
    others: new Set(routes.map(({ route }) => route).filter((route) => !meant.has(route))),
    views: views.filter(({ route }) => meant.has(route)).map(({ name }) => name),
    mentions: [...new Set(mentions.map((route) => route.entity?.name ?? `route ${route.route}`))].sort(),
  };
}

/** The scope of an erase that was begun; also when the definitions no longer have its entity, whose keys are then unknown. */
export function scopeOfBegun(
  definitions: DefinitionSet | undefined,
  { entity, entityKey, routes }: { readonly entity: string; readonly entityKey: Uint8Array; readonly routes: number[] },
): EraseScope {
  try {
    return eraseScope(definitions, entity, entityKey);
  } catch (error) {
    if (!isFreshetError(error, 'INVALID_REQUEST', 'WRONG_KEY')) throw error;
    const inForce = definitions?.routes.map(({ route }) => route) ?? [];
    const others = new Set(inForce.filter((route) => !routes.includes(route)));
    return { entity, key: [], routes, others, views: [], mentions: [] };
  }
}

/** The databases that the entity's routes are captured from, each once. */
export function databasesOf(definitions: DefinitionSet | undefined, { routes }: EraseScope): string[] {
  const meant = (definitions?.routes ?? []).filter(({ route }) => routes.includes(route));
  const names = meant.flatMap(({ source }) =>
    source?.origin.case === 'postgres' ? [source.origin.value.database] : [],
  );
  return [...new Set(names)];
}

function sourceOf({ source }: RoutePlan): string {
  return source?.origin.case === 'postgres'
    ? JSON.stringify([source.origin.value.database, source.origin.value.schema, source.origin.value.table])
    : (source?.name ?? '');
}

/**
 * What stays of an encoded LogRecord that is a row of the entity, or an earlier Erase record of it, as fields of Erased;
 * undefined when it is neither.
 */
export function keptOfEntity(
  record: Uint8Array,
  { others, entity }: EraseScope,
  entityKey: Uint8Array,
): Uint8Array | undefined {
  const { kind } = fromBinary(LogRecordSchema, record);
  if (kind.case === 'change') {
    const { route, generation, lane, sequence } = kind.value;
    if (!isSame(kind.value.entityKey, entityKey) || others.has(route)) return undefined;
    const place = { route, generation, lane, ...(sequence === undefined ? {} : { sequence }) };
    return toBinary(ErasedSchema, create(ErasedSchema, place));
  }
  const isErase = kind.case === 'erase' && kind.value.entity === entity && isSame(kind.value.entityKey, entityKey);
  return isErase ? new Uint8Array(0) : undefined;
}

/** Tells the quarantined rows of the entity: those of its routes whose key columns, as text, are the key. */
export function quarantineMatcher(
  definitions: DefinitionSet | undefined,
  { routes, key }: EraseScope,
  entityKey: Uint8Array,
): (entry: Pick<QuarantineEntry, 'route' | 'values' | 'old'>) => boolean {
  const kinds = key.map(({ kind }) => kind);
  const columns = new Map(definitions?.routes.map(({ route, keyColumns }) => [route, keyColumns]));
  const meant = new Set(routes);
  return ({ route, values, old }) => isOf(route, values) || (old !== undefined && isOf(route, old.values));
  function isOf(route: number, values: QuarantineEntry['values']): boolean {
    const names = columns.get(route);
    if (!meant.has(route) || names === undefined) return false;
    try {
      const scalars = kinds.map((kind, i): Scalar => {
        const text = values[names[i] ?? ''];
        if (text === undefined || text === null) return null;
        return parserOf({ kind, element: Kind.UNSPECIFIED, dimension: 0 }, 0)(text);
      });
      return isSame(encodeKey(kinds, scalars), entityKey);
    } catch {
      // A key that cannot be encoded is nobody's.
      return false;
    }
  }
}

/**
 * Tells held rows of the entity's routes that do not say whose they are: their table has another name for a column of the key, so
 * that only a mapping would tell, which comes with their release.
 */
export function untoldMatcher(
  definitions: DefinitionSet | undefined,
  { routes }: EraseScope,
): (entry: Pick<QuarantineEntry, 'route' | 'shape' | 'truncates'>) => boolean {
  const columns = new Map(definitions?.routes.map(({ route, keyColumns }) => [route, keyColumns]));
  const meant = new Set(routes);
  return ({ route, shape, truncates }) => {
    const keys = columns.get(route);
    if (!meant.has(route) || keys === undefined || shape === undefined || truncates === true) return false;
    const named = new Set(shape.columns.map(([name]) => name));
    return keys.some((key) => !named.has(key));
  };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
