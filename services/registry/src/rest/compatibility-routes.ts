/** /compatibility: whether a schema would be taken, and why not. */
import { comparedWith, findMessages } from '../core/subjects/compatibility.ts';
import type { Row } from '../core/subjects/entity.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import { qualified } from '../core/subjects/names.ts';
import { readGiven } from '../core/subjects/registration.ts';
import type { RequestWork } from '../core/subjects/request-work.ts';
import { flag, parseVersion, readSchemaRequest } from './request.ts';
import { type Answer, type Call, type Route, subjectOf } from './router.ts';

type Choose = (live: readonly Row[]) => readonly Row[] | undefined;

/** Checks against the versions that `choose` picks of those that are not deleted. */
function check(call: Call, work: RequestWork, choose: Choose): Answer {
  const { index } = call.registry;
  const subject = subjectOf(call);
  const isVerbose = flag(call.query, 'verbose');
  const config = index.configInScope(subject);
  const live = index.rowsOf(qualified(subject)).filter((row) => !row.deleted);
  const chosen = choose(live);
  try {
    const request = readSchemaRequest(call.body, call.query);
    const now = readGiven({ index, work }, subject, request, config, false);
    const rows = chosen ?? comparedWith(live, now.entity, config);
    const previous = chosen === undefined ? live.at(-1) : chosen[0];
    const messages = findMessages({ work, index, context: subject.context, config }, now, { rows, previous });
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
      const choose: Choose = (live) => {
        if (version === undefined) return live.slice(-1);
        const row = live.find((each) => each.version === version);
        if (row === undefined) throw refuse.versionNotFound(version);
        return [row];
      };
      return call.registry.look((work) => check(call, work, choose));
    },
  },
  {
    method: 'POST',
    path: '/compatibility/subjects/{subject}/versions',
    answer: (call) => call.registry.look((work) => check(call, work, () => undefined)),
  },
];
