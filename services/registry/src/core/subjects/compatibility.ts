/**
 * Which pairs a level implies, and the texts in which it is told that they do not fit.
 *
 * Owns levels, groups and the messages' form. Does not own how one pair is judged (@freshet/schemas). Pure.
 */
import type { Incompatibility, ParsedSchema } from '@freshet/schemas/schema.ts';
import type { Row, SchemaEntity } from './entity.ts';
import { isObject } from './entity.ts';
import type { SchemaIndex } from './schema-index.ts';
import { asRefusal, type SchemaReader } from './schema-reader.ts';
import { type Config, levelOf } from './settings.ts';

export interface Judgement {
  readonly reader: SchemaReader;
  readonly index: SchemaIndex;
  readonly context: string;
  readonly config: Config | undefined;
  /** Called before each pair is read and judged; throws 42209 when it took long enough. */
  readonly checkTime: () => void;
}

/** The versions that the level compares with, newest first. `rows`: those that are not deleted, ascending. */
export function comparedWith(rows: readonly Row[], entity: SchemaEntity, config: Config | undefined): readonly Row[] {
  const level = levelOf(config);
  if (level === 'NONE') return [];
  const group = config?.['compatibilityGroup'];
  const same =
    typeof group === 'string'
      ? rows.filter((row) => propertyOf(row.entity, group) === propertyOf(entity, group))
      : [...rows];
  same.reverse();
  return level.endsWith('_TRANSITIVE') ? same : same.slice(0, 1);
}

/**
 * Why the new schema does not fit the versions, in the API's form; stops at the first version that it does not fit.
 * Empty: it fits. Throws what reading throws, and 42209 when judging takes more than the limits.
 */
export function findMessages(
  judgement: Judgement,
  entity: SchemaEntity,
  parsed: ParsedSchema,
  rows: readonly Row[],
): string[] {
  const level = levelOf(judgement.config);
  if (level === 'NONE') return [];
  for (const row of rows) {
    judgement.checkTime();
    const found = judge(judgement, entity, parsed, row);
    if (found.length === 0) continue;
    return [
      ...found.map(
        ({ type, path, message }) => `{errorType:'${type}', description:'${message}', additionalInfo:'${path}'}`,
      ),
      `{oldSchemaVersion: ${row.version}}`,
      `{oldSchema: '${row.entity.schema}'}`,
      `{validateFields: '${judgement.config?.['validateFields'] === true}', compatibility: '${level}'}`,
    ];
  }
  return [];
}

/** Of one pair this many are told; more help nobody. */
const TOLD_MAX = 100;

function judge(judgement: Judgement, entity: SchemaEntity, parsed: ParsedSchema, row: Row): readonly Incompatibility[] {
  if (row.entity.schemaType !== entity.schemaType) {
    const message = `The new schema is ${entity.schemaType}, the old schema is ${row.entity.schemaType}`;
    return [{ type: 'SCHEMA_TYPE_CHANGED', path: '/', message }];
  }
  const { reader, index, context, config } = judgement;
  const old = reader.read(index, context, row.entity);
  const engine = reader.engine(entity.schemaType);
  const level = levelOf(config);
  const policy = config?.['compatibilityPolicy'] === 'LENIENT' ? 'LENIENT' : 'STRICT';
  try {
    const found: Incompatibility[] = [];
    if (/^(BACKWARD|FULL)/.test(level)) found.push(...engine.findIncompatibilities(parsed, old, { policy }));
    if (/^(FORWARD|FULL)/.test(level)) found.push(...engine.findIncompatibilities(old, parsed, { policy }));
    return found.slice(0, TOLD_MAX);
  } catch (error) {
    throw asRefusal(error);
  }
}

function propertyOf(entity: SchemaEntity, name: string): unknown {
  const properties = entity.metadata?.['properties'];
  return isObject(properties) && Object.hasOwn(properties, name) ? properties[name] : undefined;
}
