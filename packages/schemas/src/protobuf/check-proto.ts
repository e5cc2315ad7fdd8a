/**
 * Whether names and numbers of a .proto tree fit together: what protoc refuses after parsing.
 *
 * Owns: names once in their scope, field numbers once and in range, reserved and extension ranges apart, labels by
 * syntax, keys of maps, values of enums, and that every named type exists. Does not own options: whether one exists and
 * takes its value needs their definitions, and Confluent's registry does not ask either. Pure.
 */
import { InvalidSchema } from '../schema.ts';
import {
  type ProtoEnum,
  type ProtoField,
  type ProtoFile,
  type ProtoMessage,
  type ProtoRange,
  SCALARS,
} from './proto-file.ts';
import { join, type ProtoNames } from './proto-names.ts';

const KEYS: ReadonlySet<string> = new Set(
  'int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string'.split(' '),
);
/** Kept for Protobuf itself. */
const OWN_NUMBERS: ProtoRange = { from: 19_000, to: 19_999 };

/** Throws InvalidSchema for the first thing that does not fit. */
export function checkProto(file: ProtoFile, names: ProtoNames): void {
  new ProtoChecker(file, names).check();
}

class ProtoChecker {
  readonly #file: ProtoFile;
  readonly #names: ProtoNames;

  constructor(file: ProtoFile, names: ProtoNames) {
    this.#file = file;
    this.#names = names;
  }

  check(): void {
    const file = this.#file;
    const scope = file.package;
    once('the file', [
      ...file.messages.map(({ name }) => name),
      ...file.enums.flatMap((each) => [each.name, ...each.values.map(({ name }) => name)]),
      ...file.extends.flatMap(({ fields }) => fields.map(({ name }) => name)),
      ...file.services.map(({ name }) => name),
    ]);
    for (const message of file.messages) this.#checkMessage(message, join(scope, message.name));
    for (const each of file.enums) this.#checkEnum(each, join(scope, each.name));
    for (const { extendee, fields } of file.extends) this.#checkExtend(extendee, fields, scope);
    for (const service of file.services) {
      const fullName = join(scope, service.name);
      once(
        fullName,
        service.methods.map(({ name }) => name),
      );
      for (const { name, input, output } of service.methods)
        for (const type of [input, output])
          if (this.#names.resolve(type, fullName)?.kind !== 'message')
            throw invalid(
              `${fullName}.${name}`,
              `names the message "${short(type)}", which is not defined or imported`,
            );
    }
  }

  #checkMessage(message: ProtoMessage, fullName: string): void {
    once(fullName, [
      ...message.fields.map(({ name }) => name),
      ...message.oneofs.map(({ name }) => name),
      ...message.messages.map(({ name }) => name),
      ...message.enums.flatMap((each) => [each.name, ...each.values.map(({ name }) => name)]),
      ...message.extends.flatMap(({ fields }) => fields.map(({ name }) => name)),
      ...message.fields.filter((field) => field.mapKey !== undefined).map(({ name }) => entryName(name)),
    ]);
    once(fullName, message.reserved.names, 'reserves the name');
    const extensions = message.extensions.flatMap(({ ranges }) => ranges);
    if (this.#file.syntax === 'proto3' && extensions.length > 0)
      throw invalid(fullName, 'has extensions, which proto3 does not know');
    const ranges = [...message.reserved.ranges, ...extensions].sort((a, b) => a.from - b.from);
    for (const [index, range] of ranges.entries())
      if (index > 0 && range.from <= (ranges[index - 1]?.to ?? 0))
        throw invalid(fullName, `has overlapping ranges at ${range.from}`);
    const reserved = new Set(message.reserved.names);
    const numbers = new Map<number, string>();
    for (const field of message.fields) {
      const other = numbers.get(field.number);
      if (other !== undefined)
        throw invalid(fullName, `gives the number ${field.number} to ${other} and ${field.name}`);
      numbers.set(field.number, field.name);
      if (reserved.has(field.name)) throw invalid(fullName, `has a field with the reserved name "${field.name}"`);
      if (within(field.number, ranges) || (field.number >= OWN_NUMBERS.from && field.number <= OWN_NUMBERS.to))
        throw invalid(fullName, `has the field "${field.name}" with the reserved number ${field.number}`);
      this.#checkField(field, fullName);
    }
    for (const { extendee, fields } of message.extends) this.#checkExtend(extendee, fields, fullName);
    for (const inner of message.messages) this.#checkMessage(inner, join(fullName, inner.name));
    for (const inner of message.enums) this.#checkEnum(inner, join(fullName, inner.name));
  }

  #checkField(field: ProtoField, scope: string, isExtension = false): void {
    const { syntax } = this.#file;
    const place = `${scope}.${field.name}`;
    if (syntax === 'proto3' && field.label === 'required')
      throw invalid(place, 'is required, which proto3 does not know');
    if (syntax === 'proto3' && field.options.some(({ name }) => name === 'default'))
      throw invalid(place, 'has a default, which proto3 does not know');
    if (syntax === 'proto2' && field.label === '' && field.oneof === undefined && field.mapKey === undefined)
      throw invalid(place, 'needs one of optional, required, repeated in proto2');
    if (!syntax.startsWith('proto') && (field.label === 'optional' || field.label === 'required'))
      throw invalid(place, 'has a label that editions do not know; use features.field_presence');
    if (isExtension && (field.label === 'required' || field.mapKey !== undefined))
      throw invalid(place, 'is an extension, which is neither required nor a map');
    if (field.mapKey !== undefined && !KEYS.has(field.mapKey))
      throw invalid(
        place,
        `is a map with keys of type "${short(field.mapKey)}"; only whole numbers, bool and string are`,
      );
    // protoc takes the name of a scalar for the scalar, whatever else is called so.
    if (!SCALARS.has(field.type) && this.#names.resolve(field.type, scope) === undefined)
      throw invalid(place, `has the type "${short(field.type)}", which is not defined or imported`);
  }

  #checkExtend(extendee: string, fields: readonly ProtoField[], scope: string): void {
    if (this.#names.resolve(extendee, scope)?.kind !== 'message')
      throw invalid(
        scope === '' ? 'the file' : scope,
        `extends "${short(extendee)}", which is not defined or imported`,
      );
    if (fields.length === 0)
      throw invalid(scope === '' ? 'the file' : scope, `extends "${short(extendee)}" by nothing`);
    for (const field of fields) this.#checkField(field, scope, true);
  }

  #checkEnum(each: ProtoEnum, fullName: string): void {
    const first = each.values[0];
    if (first === undefined) throw invalid(fullName, 'has no value');
    if (this.#file.syntax === 'proto3' && first.number !== 0) throw invalid(fullName, 'must start with the value 0');
    const aliased = each.options.some(({ name, value }) => name === 'allow_alias' && value === 'true');
    const numbers = new Set<number>();
    const ranges = [...each.reserved.ranges].sort((a, b) => a.from - b.from);
    const reserved = new Set(each.reserved.names);
    for (const { name, number } of each.values) {
      if (numbers.has(number) && !aliased)
        throw invalid(fullName, `has the number ${number} twice without allow_alias`);
      numbers.add(number);
      if (within(number, ranges) || reserved.has(name)) throw invalid(fullName, `has the reserved value ${name}`);
    }
  }
}

/** What protoc calls the message that a map becomes. */
export function entryName(field: string): string {
  return `${field.replace(/(?:^|_+)([A-Za-z0-9])/g, (_, letter: string) => letter.toUpperCase()).replaceAll('_', '')}Entry`;
}

function once(place: string, names: readonly string[], what = 'has the name'): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw invalid(place, `${what} "${short(name)}" twice`);
    seen.add(name);
  }
}

/** Whether one of the ranges, which are in order, has the number. */
function within(number: number, ranges: readonly ProtoRange[]): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle]?.to ?? 0) < number) low = middle + 1;
    else high = middle;
  }
  const range = ranges[low];
  return range !== undefined && range.from <= number;
}

function invalid(place: string, what: string): InvalidSchema {
  return new InvalidSchema(`${short(place)} ${what}.`);
}

function short(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
