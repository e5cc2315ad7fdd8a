/**
 * Which pairs a level implies, and the texts in which it is told that they do not fit.
 *
 * Owns levels, groups and the messages' form. Does not own how one pair is judged (@freshet/schemas). Pure.
 */
import type { Incompatibility } from '@freshet/schemas/schema.ts';
import type { Row, SchemaEntity } from './entity.ts';
import { isObject } from './entity.ts';
import { refuse } from './errors.ts';
import type { RequestWork } from './request-work.ts';
import type { SchemaIndex } from './schema-index.ts';
import { sourceOf } from './schema-reader.ts';
import type { JudgeWork, SchemaSource } from './schema-work.ts';
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

/**
 * Why the new schema does not fit the versions, in the API's form; stops at the first version that it does not fit.
 * Empty: it fits. Throws what reading throws, 42203 for the policy LOGICAL, 42209 when judging takes more than the limits, and WorkNeeded.
 */
export function findMessages(judgement: Judgement, now: SchemaSource, rows: readonly Row[]): string[] {
  // A config that was kept before the policy was refused, or imported: nothing is judged by less than it asks for.
  if (judgement.config?.['compatibilityPolicy'] === 'LOGICAL') throw refuse.noLogicalPolicy();
  const level = levelOf(judgement.config);
  if (level === 'NONE') return [];
  const first = firstUnfit(judgement, now, rows);
  if (first === undefined) return [];
  const { row, found } = first;
  return [
    ...found.map(
      ({ type, path, message }) => `{errorType:'${type}', description:'${message}', additionalInfo:'${path}'}`,
    ),
    `{oldSchemaVersion: ${row.version}}`,
    `{oldSchema: '${row.entity.schema}'}`,
    `{validateFields: '${judgement.config?.['validateFields'] === true}', compatibility: '${level}'}`,
  ];
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
