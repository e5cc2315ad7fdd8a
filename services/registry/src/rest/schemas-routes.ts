/** /schemas: schemas by id and by GUID, and lists over all subjects. */
import type { Row } from '../core/subjects/entity.ts';
import { isObject, type Json, type JsonObject } from '../core/subjects/entity.ts';
import { refuse } from '../core/subjects/errors.ts';
import { parseSubject, qualified } from '../core/subjects/names.ts';
import { lengthOfEntity } from '../core/subjects/schema-index.ts';
import { formatted, formattedText, shown } from './formats.ts';
import type { Profile } from './profiles.ts';
import { flag, page, parseId } from './request.ts';
import type { Call, Route } from './router.ts';
import { subjectsWith } from './subjects-routes.ts';
import { idView, versionView } from './views.ts';

/** Whole schemas are listed so many at a time; subjects and versions of an id, so many. */
const SCHEMAS_MAX = 1_000;
const LISTED_MAX = 20_000;

/** The context of `subject`, which may be a context alone (":.ctx:"), else that of the URL. */
function contextOf({ query, context }: Call): string {
  return parseSubject(query.get('subject') ?? '', context).context;
}

/** All rows of an id. Throws 40403. */
function rowsOf(call: Call): readonly Row[] {
  const id = parseId(call.params['id'] ?? '');
  const rows = call.registry.index.rowsById(contextOf(call), id);
  if (rows.size === 0) throw refuse.schemaNotFound(id);
  return [...rows];
}

/** The row that stands for an id: of the subject that was asked for, else one that is not deleted, else any. */
function rowOf(call: Call): Row {
  const rows = rowsOf(call);
  const asked = qualified(parseSubject(call.query.get('subject') ?? '', call.context));
  return rows.find((row) => row.subject === asked) ?? rows.find((row) => !row.deleted) ?? (rows[0] as Row);
}

/** The rows of an id, of one subject when it was asked for, deleted ones when they were. */
function listedRows(call: Call): readonly Row[] {
  const asked = parseSubject(call.query.get('subject') ?? '', call.context);
  const rows = rowsOf(call).filter((row) => flag(call.query, 'deleted') || !row.deleted);
  return asked.name === '' ? rows : rows.filter((row) => row.subject === qualified(asked));
}

function guidRows({ registry, params }: Call): readonly Row[] {
  const guid = params['guid'] ?? '';
  const rows = [...registry.index.rowsByGuid(guid.toLowerCase())];
  if (rows.length === 0) throw refuse.schemaNotFound(guid.slice(0, 100));
  return rows;
}

/** The aliases of subjects, by subject. */
type Aliases = ReadonlyMap<string, readonly string[]>;

function prefixOf({ query }: Call): string {
  return query.get('subjectPrefix') ?? ':*:';
}

/** The aliases that begin as asked, by the subject that each stands for; none when they were not asked for. */
function aliasesWith(call: Call): Aliases {
  const found = new Map<string, string[]>();
  if (!flag(call.query, 'aliases')) return found;
  const { index } = call.registry;
  for (const scope of subjectsWith(call, prefixOf(call), index.configScopes)) {
    const alias = index.configOf(scope)?.['alias'];
    const { context, name } = parseSubject(scope);
    if (name === '' || typeof alias !== 'string' || alias === '') continue;
    const subject = qualified(parseSubject(alias, context));
    const names = found.get(subject);
    if (names === undefined) found.set(subject, [scope]);
    else names.push(scope);
  }
  for (const names of found.values()) names.sort();
  return found;
}

/** Characters of the aliases that one answer tells: each version tells all those of its subject. */
const ALIAS_CHARACTERS_MAX = 16_000_000;
/** Characters of the schemas that one answer tells, with metadata and rule sets; a process has room for a few of such answers at a time. */
const TEXT_CHARACTERS_MAX = 64_000_000;

/** Throws 42209 when there is too much to tell. */
function listedViews(rows: readonly Row[], aliases: Aliases, profile: Profile): JsonObject[] {
  const lengths = new Map<string, number>();
  for (const [subject, names] of aliases)
    lengths.set(
      subject,
      names.reduce((sum, name) => sum + name.length + 3, 0),
    );
  const texts = rows.reduce((sum, { entity }) => sum + lengthOfEntity(entity), 0);
  if (texts > TEXT_CHARACTERS_MAX)
    throw refuse.tooLarge(
      'the schemas are too long in all; ask for fewer with limit, latestOnly or a longer subjectPrefix',
    );
  const characters = rows.reduce((sum, { subject }) => sum + (lengths.get(subject) ?? 0), 0);
  if (characters > ALIAS_CHARACTERS_MAX)
    throw refuse.tooLarge(
      'the versions have too many aliases in all; ask for fewer with limit, latestOnly or a longer subjectPrefix',
    );
  return rows.map((row) => {
    const names = aliases.get(row.subject);
    return { ...versionView(row, profile), ...(names === undefined ? {} : { aliases: names }) };
  });
}

function hasRule(row: Row, type: string): boolean {
  return ['migrationRules', 'domainRules', 'encodingRules'].some((kind) => {
    const rules = row.entity.ruleSet?.[kind];
    return Array.isArray(rules) && (rules as readonly Json[]).some((rule) => isObject(rule) && rule['type'] === type);
  });
}

function listSchemas(call: Call, aliases: Aliases): readonly Row[] {
  const { registry, query } = call;
  const { index } = registry;
  const withDeleted = flag(query, 'deleted');
  const ruleTypes = query.getAll('ruleType').filter((type) => type !== '');
  const rows: Row[] = [];
  const named = subjectsWith(call, prefixOf(call), index.subjects);
  const listed = aliases.size === 0 ? named : [...new Set([...named, ...aliases.keys()])].sort();
  for (const subject of listed) {
    const latest = index.latest(subject, withDeleted);
    if (latest === undefined) continue;
    rows.push(
      ...(flag(query, 'latestOnly') ? [latest] : index.rowsOf(subject).filter((row) => withDeleted || !row.deleted)),
    );
  }
  const wanted = ruleTypes.length === 0 ? rows : rows.filter((row) => ruleTypes.some((type) => hasRule(row, type)));
  return page(wanted, query, SCHEMAS_MAX);
}

const hasGuids: Route['isOffered'] = (profile) => profile.hasGuids;

export const SCHEMA_ROUTES: readonly Route[] = [
  { method: 'GET', path: '/schemas/types', answer: ({ registry }) => ({ json: registry.types }) },
  {
    method: 'GET',
    path: '/schemas',
    answer: (call) => {
      const aliases = aliasesWith(call);
      return { json: listedViews(listSchemas(call, aliases), aliases, call.profile) };
    },
  },
  {
    method: 'GET',
    path: '/schemas/ids/{id}',
    answer: async (call) => {
      const row = rowOf(call);
      const view = await shown(call, row, idView(row, call.profile));
      return {
        json: flag(call.query, 'fetchMaxId') ? { ...view, maxId: call.registry.index.idMax(contextOf(call)) } : view,
      };
    },
  },
  {
    method: 'GET',
    path: '/schemas/ids/{id}/schema',
    answer: async (call) => {
      const row = rowOf(call);
      return { text: await formattedText(call, row) };
    },
  },
  {
    method: 'GET',
    path: '/schemas/ids/{id}/subjects',
    answer: (call) => {
      const subjects = [...new Set(listedRows(call).map(({ subject }) => subject))].sort();
      return { json: page(subjects, call.query, LISTED_MAX) };
    },
  },
  {
    method: 'GET',
    path: '/schemas/ids/{id}/versions',
    answer: (call) => {
      const rows = listedRows(call).map(({ subject, version }) => ({ subject, version }));
      return { json: call.profile.pagesVersions ? page(rows, call.query, LISTED_MAX) : rows.slice(0, LISTED_MAX) };
    },
  },
  {
    method: 'GET',
    path: '/schemas/guids/{guid}',
    isOffered: hasGuids,
    answer: async (call) => {
      const rows = guidRows(call);
      const row = rows.find((each) => !each.deleted) ?? (rows[0] as Row);
      // A GUID is of a schema wherever it is registered, so no place is told.
      const { subject: _subject, version: _version, ...view } = idView(row, call.profile);
      return { json: await formatted(call, row, view) };
    },
  },
  {
    method: 'GET',
    path: '/schemas/guids/{guid}/ids',
    isOffered: hasGuids,
    answer: (call) => {
      const ids = guidRows(call).map(({ subject, id }) => `${parseSubject(subject).context}\0${id}`);
      return {
        json: [...new Set(ids)].sort().map((text) => {
          const [context, id] = text.split('\0');
          return { context, id: Number(id) };
        }),
      };
    },
  },
];
