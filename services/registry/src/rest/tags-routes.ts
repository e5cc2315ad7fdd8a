/**
 * /subjects/{subject}/versions/{version}/tags: a new version of a schema, with the tags in its text changed.
 *
 * Owns reading what is asked for: {newVersion, tagsToAdd, tagsToRemove, metadata, ruleSet, rulesToMerge, rulesToRemove}.
 * Does not own where tags stand in a text (@freshet/schemas) nor what a new version must be (registration.ts): it is
 * judged as any other.
 */
import { isObject, type Json, type JsonObject, type Row } from '../core/subjects/entity.ts';
import { refuse } from '../core/subjects/errors.ts';
import { parseSubject } from '../core/subjects/names.ts';
import { sourceOf } from '../core/subjects/schema-reader.ts';
import { mergeRuleSets, withoutRules } from '../core/subjects/settings.ts';
import { readSchemaRequest } from './request.ts';
import type { Call, Route } from './router.ts';
import { versionOf } from './subjects-routes.ts';
import { isTexts, readTagChanges } from './tag-changes.ts';
import { versionView } from './views.ts';

async function changeTags(call: Call): Promise<JsonObject> {
  const row = versionOf(call, false);
  const { registry, body } = call;
  const changes = readTagChanges(body['tagsToAdd'], body['tagsToRemove']);
  const { newVersion, metadata = null } = body;
  const { context } = parseSubject(row.subject);
  const ruleSet = ruleSetOf(call, row);
  const given = {
    metadata: metadata ?? row.entity.metadata ?? null,
    ruleSet: ruleSet ?? null,
    version: newVersion ?? null,
  };
  const request = readSchemaRequest(given, new URLSearchParams());
  const source = sourceOf(registry.index, context, row.entity);
  const schema =
    changes.length === 0 ? row.entity.schema : await registry.look((work) => work.changeTags(source, changes));
  const { schemaType, references } = row.entity;
  const made = await registry.register(parseSubject(row.subject), {
    ...request,
    schema,
    schemaType,
    references,
    extra: row.extra,
  });
  const { subject: _subject, ...view } = versionView(made, call.profile) as { subject: string };
  return view as JsonObject;
}

/** The rule set that is asked for; undefined: that of the version before. Throws 42210. */
function ruleSetOf({ registry, body }: Call, { subject }: Row): Json | undefined {
  const { ruleSet, rulesToMerge, rulesToRemove } = body;
  const merges = rulesToMerge !== undefined && rulesToMerge !== null;
  const removes = rulesToRemove !== undefined && rulesToRemove !== null;
  if (!merges && !removes) return ruleSet;
  if (ruleSet !== undefined && ruleSet !== null)
    throw refuse.invalidRuleSet('ruleSet should be omitted if specifying rulesToMerge or rulesToRemove');
  if (merges && !isObject(rulesToMerge)) throw refuse.invalidRuleSet('rulesToMerge must be an object');
  if (removes && !isTexts(rulesToRemove)) throw refuse.badRequest('rulesToRemove must be a list of names');
  const before = registry.index.latest(subject)?.entity.ruleSet;
  const merged = merges ? mergeRuleSets(before, rulesToMerge) : before;
  return removes && isTexts(rulesToRemove) ? withoutRules(merged, rulesToRemove) : merged;
}

export const TAG_ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/subjects/{subject}/versions/{version}/tags',
    answer: async (call) => ({ json: await changeTags(call) }),
  },
];
