/**
 * Tags in Avro texts: the attribute "confluent:tags" of a record or a field.
 *
 * Owns where they are. A place is named by the record's full name. What is referenced is looked into for tags, and not
 * changed: it is another schema's text. Pure; a walk of the tree keeps its own stack, because references make chains of
 * names that are longer than any text is deep.
 */
import type { SchemaLimits } from '../schema.ts';
import { changedTags, PathBudget, TAGS_KEY, type TagChange, TagChanges, type TaggedPlace } from '../tags.ts';
import type { AvroAttributes, AvroField, AvroSchema, AvroType } from './avro-schema.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue, parseJsonText, printJson } from './json-text.ts';

type Step = AvroType | { readonly kind: 'field'; readonly of: string; readonly field: AvroField };

/** All that has tags, in the order of the text. */
export function findAvroTags({ root }: AvroSchema): readonly TaggedPlace[] {
  const budget = new PathBudget();
  const found: TaggedPlace[] = [];
  const tell = (path: string, kind: TaggedPlace['kind'], attributes: AvroAttributes): void => {
    const tags = tagsOf(attributes);
    if (tags.length > 0) found.push({ path: budget.spend(path), kind, tags });
  };
  const seen = new Set<AvroType>();
  const steps: Step[] = [root];
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    if (step.kind === 'field') {
      tell(`${step.of}.${step.field.name}`, 'sr_field', step.field.attributes);
      steps.push(step.field.type);
    } else if (step.kind === 'union') steps.push(...step.branches.toReversed());
    else if (step.kind === 'array') steps.push(step.items);
    else if (step.kind === 'map') steps.push(step.values);
    else if (step.kind === 'record' && !seen.has(step)) {
      seen.add(step);
      const of = step.fullName;
      tell(of, 'sr_record', step.attributes);
      for (const field of step.fields.toReversed()) steps.push({ kind: 'field', of, field });
    }
  }
  return found;
}

/** The text with its tags changed. Throws InvalidSchema for a place that it does not define. */
export function changeAvroTags(text: string, changes: readonly TagChange[], limits: SchemaLimits): string {
  const json = parseJsonText(text, limits.depthMax);
  const open = new TagChanges(changes);
  new AvroTagger(open).walk(json, '');
  open.requireAllMet();
  return printJson(json);
}

class AvroTagger {
  readonly #changes: TagChanges;
  readonly #budget = new PathBudget();

  constructor(changes: TagChanges) {
    this.#changes = changes;
  }

  walk(json: JsonValue | undefined, namespace: string): void {
    if (isJsonArray(json)) for (const branch of json) this.walk(branch, namespace);
    if (!isJsonObject(json)) return;
    const type = json.get('type');
    if (type === 'array') this.walk(json.get('items'), namespace);
    else if (type === 'map') this.walk(json.get('values'), namespace);
    else if (type === 'record' || type === 'error') this.#walkRecord(json, namespace);
  }

  #walkRecord(json: JsonObject, outer: string): void {
    const name = textAt(json, 'name') ?? '';
    const own = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : textAt(json, 'namespace');
    const namespace = own ?? outer;
    const fullName = name.includes('.') || namespace === '' ? name : `${namespace}.${name}`;
    this.#change(json, fullName, 'sr_record');
    const fields = json.get('fields');
    for (const field of isJsonArray(fields) ? fields : []) {
      if (!isJsonObject(field)) continue;
      this.#change(field, `${fullName}.${textAt(field, 'name') ?? ''}`, 'sr_field');
      this.walk(field.get('type'), namespace);
    }
  }

  #change(json: JsonObject, path: string, kind: TagChange['kind']): void {
    const change = this.#changes.take({ path: this.#budget.spend(path), kind });
    if (change === undefined) return;
    // This tree was read for this change, and nobody else has it.
    const own = json as Map<string, JsonValue>;
    const tags = changedTags(tagsOf(json), change);
    if (tags.length === 0) own.delete(TAGS_KEY);
    else own.set(TAGS_KEY, tags);
  }
}

function textAt(json: JsonObject, key: string): string | undefined {
  const value = json.get(key);
  return typeof value === 'string' ? value : undefined;
}

function tagsOf(attributes: ReadonlyMap<string, JsonValue>): readonly string[] {
  const tags = attributes.get(TAGS_KEY);
  return isJsonArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : [];
}
