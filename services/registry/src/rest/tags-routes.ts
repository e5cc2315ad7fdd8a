/**
 * /subjects/{subject}/versions/{version}/tags: a new version of a schema, with the tags in its text changed.
 *
 * Owns reading what is asked for: {newVersion, tagsToAdd, tagsToRemove, metadata, ruleSet, rulesToMerge, rulesToRemove}.
 * Does not own where tags stand in a text (@freshet/schemas) nor what a new version must be (registration.ts): it is
 * judged as any other. What was asked for is what the subject has last, also when an older version was the same.
 */
import { isObject, type JsonObject } from '../core/subjects/entity.ts';
import { refuse } from '../core/subjects/errors.ts';
import { parseSubject } from '../core/subjects/names.ts';
import type { RegistrationRequest } from '../core/subjects/registration.ts';
import { checkRuleSet, mergeRuleSets, withoutRules } from '../core/subjects/settings.ts';
import { parseVersion, readSchemaRequest } from './request.ts';
import type { Call, Route } from './router.ts';
import { versionOf } from './subjects-routes.ts';
import { isTexts, readTagChanges } from './tag-changes.ts';
import { versionView } from './views.ts';

async function changeTags(call: Call): Promise<JsonObject> {
  const row = versionOf(call, false);
  const { registry, body, params } = call;
  const changes = readTagChanges(body['tagsToAdd'], body['tagsToRemove']);
  const { schema, schemaType, references } = row.entity;
  // The latest is what is that in its turn: of two that change tags of it, the second changes what the first made.
  const isLatest = parseVersion(params['version'] ?? '') === undefined;
  const given = {
    metadata: body['metadata'] ?? (isLatest ? null : (row.entity.metadata ?? null)),
    ruleSet: body['ruleSet'] ?? null,
    version: body['newVersion'] ?? null,
  };
  const made = await registry.register(parseSubject(row.subject), {
    ...readSchemaRequest(given, new URLSearchParams()),
    schema: isLatest ? undefined : schema,
    schemaType,
    references,
    extra: row.extra,
    tagging: { changes, propagates: false },
    changeRules: readRuleChanges(body),
    isNext: true,
  });
  const { subject: _subject, ...view } = versionView(made, call.profile) as { subject: string };
  return view as JsonObject;
}

/** How the rule set is made of that of the version before; undefined: not of it. Throws 400, 42210. */
function readRuleChanges({ ruleSet, rulesToMerge, rulesToRemove }: JsonObject): RegistrationRequest['changeRules'] {
  const merges = rulesToMerge !== undefined && rulesToMerge !== null;
  const removes = rulesToRemove !== undefined && rulesToRemove !== null;
  if (!merges && !removes) return undefined;
  if (ruleSet !== undefined && ruleSet !== null)
    throw refuse.invalidRuleSet('ruleSet should be omitted if specifying rulesToMerge or rulesToRemove');
  if (merges && !isObject(rulesToMerge)) throw refuse.invalidRuleSet('rulesToMerge must be an object');
  if (isObject(rulesToMerge)) checkRuleSet(rulesToMerge);
  if (removes && !isTexts(rulesToRemove)) throw refuse.badRequest('rulesToRemove must be a list of names');
  return (before) => {
    const merged = merges ? mergeRuleSets(before, rulesToMerge) : before;
    return removes && isTexts(rulesToRemove) ? withoutRules(merged, rulesToRemove) : merged;
  };
}

export const TAG_ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/subjects/{subject}/versions/{version}/tags',
    answer: async (call) => ({ json: await changeTags(call) }),
  },
];
