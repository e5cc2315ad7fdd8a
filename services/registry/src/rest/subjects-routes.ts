/** /subjects: versions of subjects, registering, finding, deleting. */
import { isObject, type Row } from '../core/subjects/entity.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import { DEFAULT_CONTEXT, parseSubject, qualified, type SubjectName } from '../core/subjects/names.ts';
import { findPresent, readGiven } from '../core/subjects/registration.ts';
import type { RequestWork } from '../core/subjects/request-work.ts';
import { formatted, formattedText, shown } from './formats.ts';
import { flag, page, parseVersion, readSchemaRequest } from './request.ts';
import { type Call, type Route, subjectOf } from './router.ts';
import { readRegistration } from './tag-changes.ts';
import { registeredView, versionView } from './views.ts';

const SUBJECTS_MAX = 100_000;
const VERSIONS_MAX = 20_000;

/** The version that a path names. Throws 40401, 40402, 42202. */
export function versionOf(call: Call, withDeleted = flag(call.query, 'deleted')): Row {
  const subject = subjectOf(call);
  const version = parseVersion(call.params['version'] ?? '');
  const name = qualified(subject);
  const { index } = call.registry;
  const row = version === undefined ? index.latest(name, withDeleted) : index.row(name, version);
  if (row !== undefined && (withDeleted || !row.deleted)) return row;
  requireSubjectThere(call, subject, withDeleted);
  throw refuse.versionNotFound(version ?? -1);
}

function requireSubjectThere(call: Call, subject: SubjectName, withDeleted: boolean): readonly Row[] {
  const rows = call.registry.index.rowsOf(qualified(subject));
  const there = withDeleted ? rows : rows.filter((row) => !row.deleted);
  if (there.length === 0) throw refuse.subjectNotFound(qualified(subject));
  return there;
}

/** Those of the subjects whose name begins so: ":*:" asks all contexts, ":.ctx:a" one of them. */
export function subjectsWith(call: Call, prefix: string, subjects: readonly string[]): readonly string[] {
  const ofContext = call.context === DEFAULT_CONTEXT ? undefined : call.context;
  if (prefix.startsWith(':*:')) {
    const rest = prefix.slice(3);
    return subjects.filter((subject) => {
      const { context, name } = parseSubject(subject);
      return name.startsWith(rest) && (ofContext === undefined || context === ofContext);
    });
  }
  const wanted = parseSubject(prefix, call.context);
  return subjects.filter((subject) => {
    const { context, name } = parseSubject(subject);
    return context === wanted.context && name.startsWith(wanted.name);
  });
}

/** Rows by `deleted` and `deletedOnly`. */
function wanted(rows: readonly Row[], query: URLSearchParams): readonly Row[] {
  if (flag(query, 'deletedOnly')) return rows.filter((row) => row.deleted);
  return flag(query, 'deleted') ? rows : rows.filter((row) => !row.deleted);
}

function listSubjects(call: Call): readonly string[] {
  const { registry, query } = call;
  const named = subjectsWith(call, query.get('subjectPrefix') ?? ':*:', registry.index.subjects);
  const isDeletedOnly = flag(query, 'deletedOnly');
  return page(
    named.filter((subject) => {
      const isLive = registry.index.latest(subject) !== undefined;
      return isDeletedOnly ? !isLive : isLive || flag(query, 'deleted');
    }),
    query,
    SUBJECTS_MAX,
  );
}

function listVersions(call: Call): readonly number[] {
  const { query } = call;
  const subject = subjectOf(call);
  const isNegative = flag(query, 'deletedAsNegative');
  const rows = wanted(requireSubjectThere(call, subject, true), query);
  if (rows.length === 0) throw refuse.subjectNotFound(qualified(subject));
  const versions = rows.map((row) => (isNegative && row.deleted ? -row.version : row.version));
  return call.profile.pagesVersions ? page(versions, query, VERSIONS_MAX) : versions;
}

function withMetadata(call: Call): Row {
  const { query } = call;
  const rows = requireSubjectThere(call, subjectOf(call), flag(query, 'deleted'));
  const keys = query.getAll('key');
  const values = query.getAll('value');
  const found = rows.findLast((row) => {
    const properties = row.entity.metadata?.['properties'];
    return (
      isObject(properties) && keys.every((key, at) => Object.hasOwn(properties, key) && properties[key] === values[at])
    );
  });
  if (found === undefined) throw refuse.schemaNotFound();
  return found;
}

/** Finds the version of a schema. Throws 40401, 40403, 42201. */
function findSchema(call: Call, work: RequestWork): Row {
  const subject = subjectOf(call);
  const withDeleted = flag(call.query, 'deleted');
  requireSubjectThere(call, subject, withDeleted);
  const request = readSchemaRequest(call.body, call.query);
  const { index } = call.registry;
  const { entity } = readGiven({ index, work }, subject, request, index.configInScope(subject), false);
  const found = findPresent(index, qualified(subject), entity, request, withDeleted);
  if (found === undefined) throw refuse.schemaNotFound();
  return found;
}

const VERSION = '/subjects/{subject}/versions/{version}';

export const SUBJECT_ROUTES: readonly Route[] = [
  { method: 'GET', path: '/subjects', answer: (call) => ({ json: listSubjects(call) }) },
  { method: 'GET', path: '/subjects/{subject}/versions', answer: (call) => ({ json: listVersions(call) }) },
  {
    method: 'POST',
    path: '/subjects/{subject}/versions',
    answer: async (call) => {
      if (call.profile.hasForce && flag(call.query, 'force'))
        throw new SchemaApiError(
          422,
          'force of a registration is not offered; set the compatibility or the mode of the subject instead',
        );
      const row = await call.registry.register(subjectOf(call), readRegistration(call));
      return { json: await formatted(call, row, registeredView(row, call.profile)) };
    },
  },
  {
    method: 'POST',
    path: '/subjects/{subject}',
    answer: async (call) => {
      const row = await call.registry.look((work) => findSchema(call, work));
      return { json: await formatted(call, row, versionView(row, call.profile)) };
    },
  },
  {
    method: 'DELETE',
    path: '/subjects/{subject}',
    answer: async (call) => ({
      json: await call.registry.deleteSubject(subjectOf(call), flag(call.query, 'permanent')),
    }),
  },
  {
    method: 'GET',
    path: VERSION,
    answer: async (call) => {
      const row = versionOf(call);
      return { json: await shown(call, row, versionView(row, call.profile)) };
    },
  },
  {
    method: 'DELETE',
    path: VERSION,
    answer: async (call) => {
      const version = parseVersion(call.params['version'] ?? '');
      return { json: await call.registry.deleteVersion(subjectOf(call), version, flag(call.query, 'permanent')) };
    },
  },
  {
    method: 'GET',
    path: `${VERSION}/schema`,
    answer: async (call) => {
      const row = versionOf(call);
      return { text: await formattedText(call, row) };
    },
  },
  {
    method: 'GET',
    path: `${VERSION}/referencedby`,
    answer: (call) => {
      // Whether the version itself is deleted does not matter to who refers to it.
      const { subject, version } = versionOf(call, true);
      const referrers = wanted([...call.registry.index.referrersOf(subject, version)], call.query);
      const ids = [...new Set(referrers.map(({ id }) => id))].sort((a, b) => a - b);
      return { json: page(ids, call.query, VERSIONS_MAX) };
    },
  },
  {
    method: 'GET',
    path: '/subjects/{subject}/metadata',
    answer: async (call) => {
      const row = withMetadata(call);
      return { json: await formatted(call, row, versionView(row, call.profile)) };
    },
  },
];
