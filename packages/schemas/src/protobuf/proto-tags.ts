/**
 * Tags in .proto texts: `tags` of the options (confluent.message_meta) and (confluent.field_meta).
 *
 * Owns where they are and how these options are read and written, in texts and for descriptors; what else they say stays. A place is named without the
 * file's package: "Order.Line.id". Pure; depth is that of the text, which is bounded.
 */
import type { UnknownField } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { SchemaLimits } from '../schema.ts';
import { changedTags, PathBudget, type TagChange, TagChanges, type TaggedPlace } from '../tags.ts';
import { textOf } from './descriptor-options.ts';
import { parseProto } from './parse-proto.ts';
import { printProto } from './print-proto.ts';
import type { ProtoFile, ProtoMessage, ProtoOption } from './proto-file.ts';
import { isDescriptor, readDescriptor } from './read-descriptor.ts';

export const MESSAGE_META = 'confluent.message_meta';
export const FIELD_META = 'confluent.field_meta';
/** The number of both in the options of a descriptor, and of the tags in what they hold (confluent/meta.proto). */
const META_NUMBER = 1088;
const TAGS_NUMBER = 3;

/** All that has tags, in the order of the text. */
export function findProtoTags(file: ProtoFile): readonly TaggedPlace[] {
  const budget = new PathBudget();
  const found: TaggedPlace[] = [];
  const visit = (message: ProtoMessage, scope: string): void => {
    const path = budget.spend(`${scope}${message.name}`);
    const own = tagsOf(message.options, MESSAGE_META);
    if (own.length > 0) found.push({ path, kind: 'sr_record', tags: own });
    for (const field of message.fields) {
      const tags = tagsOf(field.options, FIELD_META);
      if (tags.length > 0) found.push({ path: budget.spend(`${path}.${field.name}`), kind: 'sr_field', tags });
    }
    for (const inner of message.messages) visit(inner, `${path}.`);
  };
  for (const message of file.messages) visit(message, '');
  return found;
}

/** The text with its tags changed. Throws InvalidSchema for a place that it does not have. */
export function changeProtoTags(text: string, changes: readonly TagChange[], limits: SchemaLimits): string {
  const file = isDescriptor(text) ? readDescriptor(text, limits) : parseProto(text, limits);
  const open = new TagChanges(changes);
  const budget = new PathBudget();
  const changed = (options: readonly ProtoOption[], path: string, kind: TagChange['kind']): readonly ProtoOption[] => {
    const change = open.take({ path: budget.spend(path), kind });
    if (change === undefined) return options;
    const meta = kind === 'sr_record' ? MESSAGE_META : FIELD_META;
    return withTags(options, meta, changedTags(tagsOf(options, meta), change));
  };
  const visit = (message: ProtoMessage, scope: string): ProtoMessage => {
    const path = `${scope}${message.name}`;
    return {
      ...message,
      options: changed(message.options, path, 'sr_record'),
      fields: message.fields.map((field) => ({
        ...field,
        options: changed(field.options, `${path}.${field.name}`, 'sr_field'),
      })),
      messages: message.messages.map((inner) => visit(inner, `${path}.`)),
    };
  };
  const tagged = { ...file, messages: file.messages.map((message) => visit(message, '')) };
  open.requireAllMet();
  return printProto(tagged, { sorted: false });
}

/** The tags of an option as a descriptor's options hold them; undefined when there are none. */
export function tagsField(options: readonly ProtoOption[], meta: string): UnknownField | undefined {
  const tags = tagsOf(options, meta);
  if (tags.length === 0) return undefined;
  const inner = new BinaryWriter();
  for (const tag of tags) inner.tag(TAGS_NUMBER, WireType.LengthDelimited).string(tag);
  const data = new BinaryWriter().bytes(inner.finish()).finish();
  return { no: META_NUMBER, wireType: WireType.LengthDelimited, data };
}

interface Member {
  readonly name: string;
  readonly value: string;
}

/** What the option says, however it is spelled: (m) = { a: 1 }, (m).a = 1; undefined: the option is another one. */
function membersOf({ name, value }: ProtoOption, meta: string): readonly Member[] | undefined {
  const [, own, part] = /^\(\.?([\w.]+)\)(?:\.(\w+))?$/.exec(name) ?? [];
  if (own !== meta) return undefined;
  if (part !== undefined) return [{ name: part, value }];
  return partsOf(value).map((text) => {
    const colon = text.indexOf(': ');
    return { name: text.slice(0, colon), value: text.slice(colon + 2) };
  });
}

function tagsOf(options: readonly ProtoOption[], meta: string): readonly string[] {
  const members = options.flatMap((option) => membersOf(option, meta) ?? []);
  const values = members
    .filter(({ name }) => name === 'tags')
    .flatMap(({ value }) => (value[0] === '[' ? partsOf(value) : [value]));
  return [...new Set(values.filter((value) => value[0] === '"').map((value) => textOf(value.slice(1, -1))))];
}

/** One option that says what those of its name said, with these tags; none when that is nothing. */
function withTags(options: readonly ProtoOption[], meta: string, tags: readonly string[]): readonly ProtoOption[] {
  const members = options
    .flatMap((option) => membersOf(option, meta) ?? [])
    .filter(({ name }) => name !== 'tags')
    .map(({ name, value }) => `${name}: ${value}`);
  if (tags.length > 0) members.push(`tags: [${tags.map((tag) => JSON.stringify(tag)).join(', ')}]`);
  const others = options.filter((option) => membersOf(option, meta) === undefined);
  return members.length === 0 ? others : [...others, { name: `(${meta})`, value: `{ ${members.join(', ')} }` }];
}

/** The parts of a list or of an aggregate, in the one spelling in which options are kept (parse-options.ts). */
function partsOf(value: string): readonly string[] {
  const inner = value.slice(1, -1).trim();
  const parts: string[] = [];
  let start = 0;
  let depth = 0;
  let isQuoted = false;
  for (let at = 0; at < inner.length; at++) {
    const sign = inner[at];
    if (isQuoted && sign === '\\') at++;
    else if (sign === '"') isQuoted = !isQuoted;
    else if (isQuoted) continue;
    else if (sign === '{' || sign === '[') depth++;
    else if (sign === '}' || sign === ']') depth--;
    else if (sign === ',' && depth === 0) {
      parts.push(inner.slice(start, at));
      start = at + 2;
    }
  }
  if (inner !== '') parts.push(inner.slice(start));
  return parts;
}
