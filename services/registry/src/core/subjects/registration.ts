/**
 * What registering a schema means: the same id for the same schema, the next version for a new one, or a refusal.
 *
 * Owns that decision and the lookup of a schema in a subject. Reads the index, changes nothing. Invariants: a schema that
 * the subject has makes nothing new, and is answered in any mode; a new id is above every id that its context ever gave. Pure.
 */

import type { SchemaType } from '@freshet/schemas/schema.ts';
import { comparedWith, findMessages, type NewSchema } from './compatibility.ts';
import { fingerprintOf, guidOf, type JsonObject, type Row, type SchemaEntity, type SchemaReference } from './entity.ts';
import { refuse } from './errors.ts';
import { qualified, type SubjectName } from './names.ts';
import { ID_MAX, type StoredRecord } from './records.ts';
import type { RequestWork } from './request-work.ts';
import type { SchemaIndex } from './schema-index.ts';
import { resolveReferences, sourceOf } from './schema-reader.ts';
import { type Config, mergeMetadata, mergeRuleSets } from './settings.ts';
import type { Decision, RegistryLimits } from './subject-registry.ts';
import { type Tagging, taggedText } from './text-tags.ts';

/** A schema as a request gives it. */
export interface GivenSchema {
  /** Undefined: that of the subject's latest version. */
  readonly schema: string | undefined;
  readonly schemaType: SchemaType;
  readonly references: readonly SchemaReference[];
  readonly metadata: JsonObject | undefined;
  readonly ruleSet: JsonObject | undefined;
  readonly normalize: boolean | undefined;
  /** Changes of the tags in the text. */
  readonly tagging?: Tagging | undefined;
  /** Makes the rule set of that of the latest version, in place of `ruleSet`. */
  readonly changeRules?: ((before: JsonObject | undefined) => JsonObject | undefined) | undefined;
}

export interface RegistrationRequest extends GivenSchema {
  /** Given with an import. */
  readonly id: number | undefined;
  readonly version: number | undefined;
  readonly extra: JsonObject | undefined;
  /** Whether it is to be what the subject has last, also when an older version of it is the same. */
  readonly isNext?: boolean | undefined;
}

/** The version that stands for what was registered. */
export type Registration = Row;

export interface Registering {
  readonly index: SchemaIndex;
  readonly work: RequestWork;
  readonly limits: RegistryLimits;
  /** Whether the process refuses every change. */
  readonly readOnly: boolean;
}

/** Decides a registration at `ts`, ms since the epoch. Throws SchemaApiError, WorkNeeded. */
export function decideRegistration(
  on: Registering,
  subject: SubjectName,
  request: RegistrationRequest,
  ts: number,
): Decision<Registration> {
  const { index } = on;
  const name = qualified(subject);
  const mode = index.modeInScope(subject);
  // What asks for a change of tags is never only a look-up.
  if (request.tagging !== undefined || request.isNext === true) requireMode(on, subject, request);
  const config = index.configInScope(subject);
  const read = readGiven(on, subject, request, config, true);
  const fingerprint = fingerprintOf(read.entity);
  const latest = index.latest(name);
  const present =
    request.isNext !== true
      ? findPresent(index, name, read.entity, request)
      : latest?.fingerprint === fingerprint
        ? latest
        : undefined;
  const isAsGiven = request.id === undefined || request.id === present?.id;
  // In any mode: a serialiser registers what it writes with each time it starts, and writes on in a subject that is frozen.
  if (present !== undefined && isAsGiven) return { records: [], answer: present };
  requireMode(on, subject, request);
  if (present !== undefined) throw refuse.idDoesNotMatch(present.id, request.id ?? -1);
  if (mode !== 'IMPORT') requireCompatible(on, subject, read, config);
  const id = request.id ?? index.idOf(subject.context, fingerprint) ?? nextId(index, subject.context);
  const known = index.entityOf(subject.context, id);
  if (known !== undefined && known.fingerprint !== fingerprint)
    throw refuse.notPermitted(`Overwrite new schema with id ${id} is not permitted.`);
  const version = versionOf(on, name, mode === 'IMPORT', request.version);
  const { entity } = read;
  const row: Row = {
    subject: name,
    version,
    id,
    guid: guidOf(entity),
    fingerprint,
    entity,
    deleted: false,
    ts,
    extra: request.extra,
  };
  const records: StoredRecord[] = [{ kind: 'SCHEMA', subject: name, version, row }];
  // An id is kept apart from its versions too: it must not be given again once they are deleted for good.
  if (id > index.idMax(subject.context))
    records.push({ kind: 'CONTEXT', context: subject.context, value: { idMax: id, isListed: true } });
  records.push(...replaced(index, name, row));
  return { records, answer: row };
}

/** The schema of a request as it would be kept, and read. Throws 42201, 42209, 42210, WorkNeeded. */
export function readGiven(
  { index, work }: Pick<Registering, 'index' | 'work'>,
  subject: SubjectName,
  given: GivenSchema,
  config: Config | undefined,
  isRegistered: boolean,
): NewSchema {
  const previous = index.latest(qualified(subject));
  let { schema, schemaType, references } = given;
  if (schema === undefined || schema.trim() === '') {
    if (previous === undefined || !isRegistered) throw refuse.invalidSchema('Invalid schema, details: Empty schema');
    ({ schema, schemaType, references } = previous.entity);
  }
  const own = given.metadata ?? (isRegistered ? previous?.entity.metadata : undefined);
  const ownRules =
    given.changeRules?.(previous?.entity.ruleSet) ??
    given.ruleSet ??
    (isRegistered ? previous?.entity.ruleSet : undefined);
  const plain: SchemaEntity = {
    schemaType,
    schema,
    references: resolveReferences(index, subject.context, references),
    metadata: mergeMetadata(mergeMetadata(config?.['defaultMetadata'], own), config?.['overrideMetadata']),
    ruleSet: mergeRuleSets(mergeRuleSets(config?.['defaultRuleSet'], ownRules), config?.['overrideRuleSet']),
  };
  const on = { index, work, context: subject.context };
  const written =
    given.tagging === undefined ? plain : { ...plain, schema: taggedText(on, plain, given.tagging, previous) };
  const source = sourceOf(index, subject.context, written, config?.['validateNewSchemas'] === true);
  const texts = work.read(source);
  const normalize = given.normalize ?? config?.['normalize'] === true;
  return { entity: { ...written, schema: normalize ? texts.normalized : texts.canonical }, source };
}

/**
 * The version of a subject that has the schema already, the newest first. One without metadata and rule set stands for
 * any of the same text: a serialiser that registers what it writes with does not know them.
 */
export function findPresent(
  index: SchemaIndex,
  name: string,
  entity: SchemaEntity,
  given: Pick<GivenSchema, 'metadata' | 'ruleSet'>,
  withDeleted = false,
): Row | undefined {
  const rows = index.rowsOf(name).filter((row) => withDeleted || !row.deleted);
  const fingerprint = fingerprintOf(entity);
  const exact = rows.findLast((row) => row.fingerprint === fingerprint);
  if (exact !== undefined || given.metadata !== undefined || given.ruleSet !== undefined) return exact;
  // The parts themselves, not a fingerprint: a subject may have a thousand versions of a megabyte each.
  return rows.findLast(({ entity: { schemaType, schema, references } }) => {
    if (schemaType !== entity.schemaType || schema !== entity.schema) return false;
    return areSame(references, entity.references);
  });
}

function areSame(a: readonly SchemaReference[], b: readonly SchemaReference[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, subject, version }, at) => {
      const other = b[at];
      return name === other?.name && subject === other.subject && version === other.version;
    })
  );
}

function requireMode({ index, readOnly }: Registering, subject: SubjectName, request: RegistrationRequest): void {
  if (readOnly) throw refuse.readOnly();
  const mode = index.modeInScope(subject);
  if (mode.startsWith('READONLY')) throw refuse.notPermitted(`Subject ${qualified(subject)} is in read-only mode`);
  if (request.id !== undefined && mode !== 'IMPORT')
    throw refuse.notPermitted(`Subject ${qualified(subject)} is not in import mode`);
  if (request.id === undefined && mode !== 'READWRITE')
    throw refuse.notPermitted(`Subject ${qualified(subject)} is not in read-write mode`);
}

function requireCompatible(on: Registering, subject: SubjectName, read: NewSchema, config: Config | undefined): void {
  const { index, work } = on;
  const live = index.rowsOf(qualified(subject)).filter((row) => !row.deleted);
  const rows = comparedWith(live, read.entity, config);
  const judgement = { index, work, context: subject.context, config };
  const messages = findMessages(judgement, read, { rows, previous: live.at(-1) });
  if (messages.length > 0) throw refuse.incompatible(qualified(subject), messages);
}

function nextId(index: SchemaIndex, context: string): number {
  const id = index.idMax(context) + 1;
  if (id > ID_MAX) throw refuse.notPermitted(`no id is left in context ${context}`);
  return id;
}

function versionOf({ index, limits }: Registering, name: string, imports: boolean, given: number | undefined): number {
  const rows = index.rowsOf(name);
  if (rows.length === 0 && index.subjectCount >= limits.subjects)
    throw refuse.notPermitted(`the registry holds ${index.subjectCount} subjects, which is the most`);
  if (rows.length >= limits.versionsPerSubject)
    throw refuse.notPermitted(`the subject has ${rows.length} versions, which is the most`);
  if (index.characters >= limits.characters)
    throw refuse.notPermitted(`the registry holds ${index.characters} characters of schemas, which is the most`);
  const next = (rows.at(-1)?.version ?? 0) + 1;
  if (given === undefined) {
    if (next > ID_MAX) throw refuse.notPermitted('no version is left in the subject');
    return next;
  }
  if (!imports && given !== next)
    throw refuse.invalidSchema('Invalid schema, details: Version is not one more than previous version');
  if (index.row(name, given) !== undefined)
    throw refuse.notPermitted(`Overwrite new schema with version ${given} is not permitted.`);
  return given;
}

/** A deleted version of the same schema goes when it comes back as a new one, unless something refers to it. */
function replaced(index: SchemaIndex, name: string, row: Row): StoredRecord[] {
  return index
    .rowsOf(name)
    .filter((old) => old.deleted && old.id === row.id && index.referrersOf(name, old.version).size === 0)
    .map(({ version }) => ({ kind: 'SCHEMA', subject: name, version, row: undefined }));
}
