/** /compatibility: whether a schema would be taken, and why not. */
import { comparedWith, findMessages } from '../core/subjects/compatibility.ts';
import type { Row } from '../core/subjects/entity.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import { qualified } from '../core/subjects/names.ts';
import { readGiven } from '../core/subjects/registration.ts';
import { flag, parseVersion, readSchemaRequest } from './request.ts';
import { type Answer, type Call, type Route, subjectOf } from './router.ts';

/** Checks against the versions that `choose` picks of those that are not deleted. */
function check(call: Call, choose: (live: readonly Row[]) => readonly Row[] | undefined): Answer {
  const { index, reader } = call.registry;
  const subject = subjectOf(call);
  const isVerbose = flag(call.query, 'verbose');
  const config = index.configInScope(subject);
  const live = index.rowsOf(qualified(subject)).filter((row) => !row.deleted);
  const chosen = choose(live);
  try {
    const request = readSchemaRequest(call.body, call.query);
    const { entity, parsed } = readGiven({ index, reader }, subject, request, config, false);
    const rows = chosen ?? comparedWith(live, entity, config);
    const judgement = { reader, index, context: subject.context, config, checkTime: call.registry.timeCheck() };
    const messages = findMessages(judgement, entity, parsed, rows);
    return { json: { is_compatible: messages.length === 0, ...(isVerbose ? { messages } : {}) } };
  } catch (error) {
    if (!isVerbose || !(error instanceof SchemaApiError) || error.code !== 42201) throw error;
    return { json: { is_compatible: false, messages: [error.message] } };
  }
}

export const COMPATIBILITY_ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/compatibility/subjects/{subject}/versions/{version}',
    answer: (call) => {
      const version = parseVersion(call.params['version'] ?? '');
      return check(call, (live) => {
        if (version === undefined) return live.slice(-1);
        const row = live.find((each) => each.version === version);
        if (row === undefined) throw refuse.versionNotFound(version);
        return [row];
      });
    },
  },
  {
    method: 'POST',
    path: '/compatibility/subjects/{subject}/versions',
    answer: (call) => check(call, () => undefined),
  },
];
