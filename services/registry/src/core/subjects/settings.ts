/**
 * Levels, modes, and the settings of a subject, a context or all of them.
 *
 * Owns which levels and modes there are and how an update is read and merged: what an update leaves out stays, what it
 * sets to null goes. Properties that nobody here knows are kept. Pure.
 */

import { isObject, type Json, type JsonObject } from './entity.ts';
import { refuse } from './errors.ts';

export const LEVELS = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
] as const;
export type Level = (typeof LEVELS)[number];
export const DEFAULT_LEVEL: Level = 'BACKWARD';

export const MODES = ['READWRITE', 'READONLY', 'READONLY_OVERRIDE', 'IMPORT', 'FORWARD'] as const;
export type Mode = (typeof MODES)[number];
export const DEFAULT_MODE: Mode = 'READWRITE';

/** The settings of a scope, as they are kept: `compatibilityLevel` and what else was set. */
export type Config = JsonObject;

const BOOLEANS = ['normalize', 'validateFields', 'validateNewSchemas', 'validateRules'];
const TEXTS = ['alias', 'compatibilityGroup'];
const POLICIES = ['STRICT', 'LENIENT'];

export function levelOf(config: Config | undefined): Level {
  return (config?.['compatibilityLevel'] as Level | undefined) ?? DEFAULT_LEVEL;
}

/** Reads the body of PUT /config. Throws 42203 for a level that there is not and for the policy LOGICAL, 42210 for no rule set, 400 for another wrong value. */
export function readConfigUpdate(body: JsonObject): JsonObject {
  const update: Record<string, Json> = {};
  for (const [key, value] of Object.entries(body)) {
    if (value !== null) checkSetting(key, value);
    if (key !== 'compatibilityLevel') define(update, key, value);
  }
  const level = body['compatibility'] ?? body['compatibilityLevel'];
  if (level !== undefined && level !== null) {
    const name = typeof level === 'string' ? level.toUpperCase() : '';
    if (!LEVELS.includes(name as Level)) throw refuse.invalidLevel();
    update['compatibility'] = name;
  }
  return update;
}

function checkSetting(key: string, value: Json): void {
  if (BOOLEANS.includes(key) && typeof value !== 'boolean') throw refuse.badRequest(`${key} must be true or false`);
  if (TEXTS.includes(key) && typeof value !== 'string') throw refuse.badRequest(`${key} must be a string`);
  if (key === 'compatibilityPolicy' && value === 'LOGICAL') throw refuse.noLogicalPolicy();
  if (key === 'compatibilityPolicy' && !POLICIES.includes(value as string))
    throw refuse.badRequest(`compatibilityPolicy must be one of ${POLICIES.join(', ')}`);
  if (/^(default|override)(Metadata|RuleSet)$/.test(key) && !isObject(value))
    throw refuse.badRequest(`${key} must be an object`);
  if (/Metadata$/.test(key) && isObject(value)) checkMetadata(value);
  if (/^(default|override)RuleSet$/.test(key) && isObject(value)) checkRuleSet(value);
}

/** A config after an update. */
export function mergeConfig(before: Config | undefined, update: JsonObject): Config {
  const merged: Record<string, Json> = { ...before };
  for (const [given, value] of Object.entries(update)) {
    const key = given === 'compatibility' ? 'compatibilityLevel' : given;
    if (value === null) delete merged[key];
    else define(merged, key, value);
  }
  return merged;
}

/** Reads a mode. Throws 42204. */
export function readMode(value: Json | undefined, known: readonly Mode[]): Mode {
  const name = typeof value === 'string' ? value.toUpperCase() : '';
  if (!known.includes(name as Mode)) throw refuse.invalidMode(known);
  return name as Mode;
}

/** Throws 400 when it is no metadata: {tags: {path: [tag]}, properties: {name: text}, sensitive: [name]}. */
export function checkMetadata(metadata: JsonObject): void {
  const { tags, properties, sensitive } = metadata;
  const isTexts = (value: Json | undefined): boolean =>
    Array.isArray(value) && value.every((item) => typeof item === 'string');
  if (tags !== undefined && tags !== null && !(isObject(tags) && Object.values(tags).every(isTexts)))
    throw refuse.badRequest('metadata.tags must give lists of strings by path');
  const areTexts = isObject(properties) && Object.values(properties).every((value) => typeof value === 'string');
  if (properties !== undefined && properties !== null && !areTexts)
    throw refuse.badRequest('metadata.properties must give strings by name');
  if (sensitive !== undefined && sensitive !== null && !isTexts(sensitive))
    throw refuse.badRequest('metadata.sensitive must be a list of strings');
}

/** The lists of rules that a rule set has. */
export const RULE_KINDS = ['migrationRules', 'domainRules', 'encodingRules'] as const;

const MIGRATION_MODES = ['UPGRADE', 'DOWNGRADE', 'UPDOWN'];

/** Throws 42210 when it is no rule set. */
export function checkRuleSet(ruleSet: JsonObject): void {
  for (const kind of RULE_KINDS) {
    const rules = ruleSet[kind];
    if (rules === undefined || rules === null) continue;
    if (!Array.isArray(rules)) throw refuse.invalidRuleSet(`${kind} must be a list of rules`);
    const names = new Set<string>();
    for (const rule of rules as readonly Json[]) {
      const name = isObject(rule) ? rule['name'] : undefined;
      if (!isObject(rule) || typeof name !== 'string' || name === '')
        throw refuse.invalidRuleSet('Found rule without a name');
      if (names.has(name)) throw refuse.invalidRuleSet(`Found rule with duplicate name '${name}'`);
      names.add(name);
      checkRuleMode(kind, rule['mode']);
    }
  }
}

function checkRuleMode(kind: string, mode: Json | undefined): void {
  if (mode === undefined || mode === null) return;
  const isMigration = MIGRATION_MODES.includes(mode as string);
  if (kind === 'migrationRules' && !isMigration)
    throw refuse.invalidRuleSet('Migration rules can only be UPGRADE, DOWNGRADE, UPDOWN');
  if (kind !== 'migrationRules' && (isMigration || !['WRITE', 'READ', 'WRITEREAD'].includes(mode as string)))
    throw refuse.invalidRuleSet('Domain and encoding rules can only be WRITE, READ, WRITEREAD');
}

/** Metadata of two, the second winning by property; undefined when there is neither. */
export function mergeMetadata(first: Json | undefined, second: Json | undefined): JsonObject | undefined {
  if (!isObject(first)) return isObject(second) ? second : undefined;
  if (!isObject(second)) return first;
  const merged: Record<string, Json> = { ...first, ...second };
  for (const part of ['tags', 'properties']) {
    const [a, b] = [first[part], second[part]];
    if (isObject(a) && isObject(b)) merged[part] = { ...a, ...b };
  }
  const [a, b] = [first['sensitive'], second['sensitive']];
  if (Array.isArray(a) && Array.isArray(b)) merged['sensitive'] = [...new Set([...a, ...b])] as readonly Json[];
  return merged;
}

/** Rule sets of two: rules of one name are the second's. */
export function mergeRuleSets(first: Json | undefined, second: Json | undefined): JsonObject | undefined {
  if (!isObject(first)) return isObject(second) ? second : undefined;
  if (!isObject(second)) return first;
  const merged: Record<string, Json> = { ...first, ...second };
  for (const kind of RULE_KINDS) {
    const [a, b] = [first[kind], second[kind]];
    if (!Array.isArray(a) || !Array.isArray(b)) continue;
    const nameOf = (rule: Json): Json | undefined => (isObject(rule) ? rule['name'] : undefined);
    const names = new Set((b as readonly Json[]).map(nameOf));
    merged[kind] = [...(a as readonly Json[]).filter((rule) => !names.has(nameOf(rule))), ...(b as readonly Json[])];
  }
  return merged;
}

/** A rule set without the rules of these names. */
export function withoutRules(ruleSet: JsonObject | undefined, names: readonly string[]): JsonObject | undefined {
  if (ruleSet === undefined) return undefined;
  const left: Record<string, Json> = { ...ruleSet };
  const gone = new Set<Json | undefined>(names);
  for (const kind of RULE_KINDS) {
    const rules = ruleSet[kind];
    if (!Array.isArray(rules)) continue;
    left[kind] = (rules as readonly Json[]).filter((rule) => !(isObject(rule) && gone.has(rule['name'])));
  }
  return left;
}

/** Sets a property of any name, "__proto__" included, and only that. */
export function define(target: Record<string, Json>, key: string, value: Json): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}
