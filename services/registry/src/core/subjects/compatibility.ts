/**
 * Which pairs a level implies, and the texts in which it is told that they do not fit.
 *
 * Owns levels, groups, reserved fields and the messages' form. Does not own how one pair is judged (@freshet/schemas). Pure.
 */
import type { Incompatibility } from '@freshet/schemas/schema.ts';
import type { Row, SchemaEntity } from './entity.ts';
import { isObject } from './entity.ts';
import { refuse } from './errors.ts';
import type { RequestWork } from './request-work.ts';
import type { SchemaIndex } from './schema-index.ts';
import { sourceOf } from './schema-reader.ts';
import { type JudgeWork, type SchemaSource, TOLD_MAX } from './schema-work.ts';
import { type Config, levelOf } from './settings.ts';

export interface Judgement {
  readonly work: RequestWork;
  readonly index: SchemaIndex;
  readonly context: string;
  readonly config: Config | undefined;
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

/** A schema as it would be kept, and what reading it takes. */
export interface NewSchema {
  readonly entity: SchemaEntity;
  readonly source: SchemaSource;
}

/** What a new schema is held against: the versions that it is judged with, newest first, and the one before it. */
export interface Earlier {
  readonly rows: readonly Row[];
  readonly previous: Row | undefined;
}

/**
 * Why the new schema does not fit the versions, in the API's form; stops at the first version that it does not fit.
 * Empty: it fits. Throws what reading throws, 42203 for the policy LOGICAL, 42209 when judging takes more than the limits, and
 * WorkNeeded.
 */
export function findMessages(judgement: Judgement, now: NewSchema, { rows, previous }: Earlier): string[] {
  const { config } = judgement;
  // A config that was kept before the policy was refused, or imported: nothing is judged by less than it asks for.
  if (config?.['compatibilityPolicy'] === 'LOGICAL') throw refuse.noLogicalPolicy();
  const level = levelOf(config);
  const validatesFields = config?.['validateFields'] === true;
  const messages = (validatesFields ? findReserved(judgement.work, now, previous) : []).map(messageOf);
  const first = level === 'NONE' ? undefined : firstUnfit(judgement, now.source, rows);
  if (first !== undefined) {
    messages.push(...first.found.map(messageOf));
    messages.push(`{oldSchemaVersion: ${first.row.version}}`, `{oldSchema: '${first.row.entity.schema}'}`);
  }
  if (messages.length > 0) messages.push(`{validateFields: '${validatesFields}', compatibility: '${level}'}`);
  return messages;
}

function messageOf({ type, path, message }: Incompatibility): string {
  return `{errorType:'${type}', description:'${message}', additionalInfo:'${path}'}`;
}

/** The property of metadata that names fields which a schema must not have, with commas in between. */
const RESERVED = 'confluent:reserved';

/** A reserved field must not be a field, and stays reserved. */
function findReserved(work: RequestWork, { entity, source }: NewSchema, previous: Row | undefined): Incompatibility[] {
  const now = reservedFields(entity);
  const before = previous === undefined ? [] : reservedFields(previous.entity);
  const still = new Set(now);
  const gone = before.filter((name) => !still.has(name));
  const taken = now.length === 0 ? [] : work.findFields(source, now);
  return [
    ...gone.slice(0, TOLD_MAX).map((name) => ({
      type: 'RESERVED_FIELD_REMOVED',
      path: name,
      message: `The new schema has reserved field ${name} removed from its metadata which is present in the old schema's metadata.`,
    })),
    ...taken.slice(0, TOLD_MAX).map((name) => ({
      type: 'FIELD_CONFLICTS_WITH_RESERVED_FIELD',
      path: name,
      message: `The new schema has field that conflicts with the reserved field ${name}.`,
    })),
  ];
}

function reservedFields(entity: SchemaEntity): readonly string[] {
  const names = propertyOf(entity, RESERVED);
  if (typeof names !== 'string') return [];
  return [...new Set(names.split(',').map((name) => name.trim()))].filter((name) => name !== '');
}

interface Unfit {
  readonly row: Row;
  readonly found: readonly Incompatibility[];
}

function firstUnfit(judgement: Judgement, now: SchemaSource, rows: readonly Row[]): Unfit | undefined {
  // No engine compares two types: those before the first of another type are judged, and that one is the last.
  const other = rows.findIndex((row) => row.entity.schemaType !== now.type);
  const same = other < 0 ? rows : rows.slice(0, other);
  const judged = judgement.work.judge(pairsOf(judgement, now, same));
  if (judged !== undefined) return { row: rows[judged.at] as Row, found: judged.found };
  const row = rows[other];
  if (row === undefined) return undefined;
  const message = `The new schema is ${now.type}, the old schema is ${row.entity.schemaType}`;
  return { row, found: [{ type: 'SCHEMA_TYPE_CHANGED', path: '/', message }] };
}

/** Made one by one: most judgements end with the first. */
function* pairsOf(
  { index, context, config }: Judgement,
  now: SchemaSource,
  rows: readonly Row[],
): Generator<JudgeWork> {
  const level = levelOf(config);
  const policy = config?.['compatibilityPolicy'] === 'LENIENT' ? 'LENIENT' : 'STRICT';
  const backward = /^(BACKWARD|FULL)/.test(level);
  const forward = /^(FORWARD|FULL)/.test(level);
  for (const row of rows) {
    const old = sourceOf(index, context, row.entity);
    yield { kind: 'JUDGE', now, old, policy, backward, forward };
  }
}

function propertyOf(entity: SchemaEntity, name: string): unknown {
  const properties = entity.metadata?.['properties'];
  return isObject(properties) && Object.hasOwn(properties, name) ? properties[name] : undefined;
}
