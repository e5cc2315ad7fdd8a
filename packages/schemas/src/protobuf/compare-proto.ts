/**
 * Whether a reader's Protobuf schema reads what was written with another: Confluent's rules (fields by number, types by
 * the group that shares an encoding), with their names, and all findings rather than the first.
 *
 * Owns the rules, whose table is in docs/schema-compatibility.md. Messages are compared by full name, each once, from a
 * queue: those of the file, and those of imported files that a field leads to. Steps and findings are bounded. Pure.
 */
import { type Incompatibility, InvalidSchema, type SchemaLimits } from '../schema.ts';
import { findOneofIncompatibilities, type OneofRule } from './compare-oneofs.ts';
import { type ProtoField, type ProtoMessage, type ProtoSchema, type ProtoSymbol, SCALARS } from './proto-file.ts';
import { join } from './proto-names.ts';

export interface ProtoComparisonOptions {
  readonly limits: SchemaLimits;
  /** Which of Confluent's rules for oneofs: until June 2026 "before", since then "latest". */
  readonly oneofRule: OneofRule;
}

const FINDINGS_MAX = 1000;

/** Scalars of one group have one encoding. Enums are in "varint". */
const GROUPS: ReadonlyMap<string, string> = new Map([
  ...['int32', 'int64', 'uint32', 'uint64', 'bool'].map((type) => [type, 'varint'] as const),
  ...['sint32', 'sint64'].map((type) => [type, 'zigzag'] as const),
  ...['string', 'bytes'].map((type) => [type, 'bytes'] as const),
  ...['fixed32', 'sfixed32'].map((type) => [type, 'fixed32'] as const),
  ...['fixed64', 'sfixed64'].map((type) => [type, 'fixed64'] as const),
  ['float', 'float'],
  ['double', 'double'],
]);

export function findProtoIncompatibilities(
  reader: ProtoSchema,
  writer: ProtoSchema,
  options: ProtoComparisonOptions,
): readonly Incompatibility[] {
  return new ProtoComparison(reader, writer, options).compare();
}

/** What a field's value is, once its names are resolved. */
interface FieldKind {
  readonly kind: 'scalar' | 'enum' | 'message' | 'group';
  /** A scalar's name, or a type's full name. */
  readonly type: string;
}

type Resolve = (type: string, scope: string) => ProtoSymbol | undefined;

class ProtoComparison {
  readonly #reader: ProtoSchema;
  readonly #writer: ProtoSchema;
  readonly #options: ProtoComparisonOptions;
  readonly #findings: Incompatibility[] = [];
  readonly #queue: { readonly fullName: string; readonly path: string }[] = [];
  readonly #queued = new Set<string>();
  #steps = 0;

  constructor(reader: ProtoSchema, writer: ProtoSchema, options: ProtoComparisonOptions) {
    this.#reader = reader;
    this.#writer = writer;
    this.#options = options;
  }

  compare(): readonly Incompatibility[] {
    const before = this.#writer.file.package;
    if (this.#reader.file.package !== before) {
      // Every full name differs then, so there is nothing more to say.
      this.#find('PACKAGE_CHANGED', '#/', `The package is "${this.#reader.file.package}", and was "${before}".`);
      return this.#findings;
    }
    for (const message of this.#writer.file.messages) this.#enqueueAll(message, join(before, message.name), '#');
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) {
      if (this.#findings.length >= FINDINGS_MAX) break;
      const now = this.#reader.symbols.get(next.fullName)?.message;
      const old = this.#writer.symbols.get(next.fullName)?.message;
      if (old === undefined) continue;
      if (now !== undefined) this.#compareMessages(now, old, next);
      else if (this.#reader.symbols.get(next.fullName)?.kind !== 'message')
        this.#find('MESSAGE_REMOVED', next.path, `The message ${next.fullName} is gone.`);
    }
    return this.#findings.reverse();
  }

  #enqueueAll(message: ProtoMessage, fullName: string, above: string): void {
    const path = `${above}/${message.name}`;
    // The last in is the first out; the findings are turned round at the end.
    this.#enqueue(fullName, path);
    if (!this.#reader.symbols.has(fullName)) return;
    for (const inner of message.messages) this.#enqueueAll(inner, join(fullName, inner.name), path);
  }

  #enqueue(fullName: string, path: string): void {
    this.#step(1);
    if (this.#queued.has(fullName)) return;
    this.#queued.add(fullName);
    this.#queue.push({ fullName, path });
  }

  #compareMessages(
    now: ProtoMessage,
    old: ProtoMessage,
    { fullName, path }: { readonly fullName: string; readonly path: string },
  ): void {
    this.#step(now.fields.length + old.fields.length);
    const nowByNumber = new Map(now.fields.map((field) => [field.number, field]));
    const oldByNumber = new Map(old.fields.map((field) => [field.number, field]));
    const resolveNow = this.#reader.resolverOf(fullName) ?? this.#reader.resolve;
    const resolveOld = this.#writer.resolverOf(fullName) ?? this.#writer.resolve;
    for (const field of old.fields) {
      const other = nowByNumber.get(field.number);
      const at = `${path}/${field.number}`;
      if (other !== undefined) {
        const kinds = {
          now: kindOf(other, resolveNow, fullName),
          old: kindOf(field, resolveOld, fullName),
        };
        this.#compareFields(other, field, { ...kinds, path: at });
      } else if (field.label === 'required')
        this.#find('REQUIRED_FIELD_REMOVED', at, `The required field "${field.name}" is gone.`);
    }
    for (const field of now.fields)
      if (field.label === 'required' && oldByNumber.get(field.number)?.label !== 'required')
        this.#find(
          'REQUIRED_FIELD_ADDED',
          `${path}/${field.number}`,
          `The field "${field.name}" is required, and was not.`,
        );
    for (const finding of findOneofIncompatibilities(now, old, { path, rule: this.#options.oneofRule }))
      this.#find(finding.type, finding.path, finding.message);
  }

  #compareFields(
    now: ProtoField,
    old: ProtoField,
    kinds: { readonly now: FieldKind; readonly old: FieldKind; readonly path: string },
  ): void {
    const { path } = kinds;
    if ((now.mapKey === undefined) !== (old.mapKey === undefined)) {
      const [is, was] = now.mapKey === undefined ? ['no map', 'a map'] : ['a map', 'no map'];
      this.#find('FIELD_KIND_CHANGED', path, `The field "${now.name}" is ${is}, and was ${was}.`);
      return;
    }
    if (now.mapKey !== undefined && old.mapKey !== undefined && GROUPS.get(now.mapKey) !== GROUPS.get(old.mapKey))
      this.#find(
        'FIELD_SCALAR_KIND_CHANGED',
        path,
        `The keys of the map "${now.name}" are ${now.mapKey}, and were ${old.mapKey}.`,
      );
    const isNumeric =
      kinds.old.kind === 'enum' || (kinds.old.kind === 'scalar' && GROUPS.get(kinds.old.type) !== 'bytes');
    if (isNumeric && (now.label === 'repeated') !== (old.label === 'repeated'))
      this.#find(
        'FIELD_NUMERIC_LABEL_CHANGED',
        path,
        `The field "${now.name}" of a number is ${now.label === 'repeated' ? '' : 'not '}repeated, and was ${old.label === 'repeated' ? '' : 'not'}.`.replace(
          ' .',
          '.',
        ),
      );
    this.#compareKinds(now.name, kinds);
  }

  #compareKinds(
    name: string,
    { now, old, path }: { readonly now: FieldKind; readonly old: FieldKind; readonly path: string },
  ): void {
    const nowGroup = groupOf(now);
    const oldGroup = groupOf(old);
    const said = `The field "${name}" is of type ${now.type}, and was ${old.type}.`;
    if (nowGroup !== undefined && oldGroup !== undefined) {
      if (nowGroup !== oldGroup) this.#find('FIELD_SCALAR_KIND_CHANGED', path, said);
      else if (now.kind === 'enum' && old.kind === 'enum' && now.type !== old.type)
        this.#find('FIELD_NAMED_TYPE_CHANGED', path, said);
    } else if (now.kind !== old.kind) this.#find('FIELD_KIND_CHANGED', path, said);
    else if (now.type !== old.type) this.#find('FIELD_NAMED_TYPE_CHANGED', path, said);
    else this.#enqueue(old.type, `#/${old.type.replaceAll('.', '/')}`);
  }

  #find(type: string, path: string, message: string): void {
    if (this.#findings.length < FINDINGS_MAX) this.#findings.push({ type, path, message });
  }

  #step(count: number): void {
    this.#steps += count;
    if (this.#steps > this.#options.limits.stepsMax)
      throw new InvalidSchema(`The pair of schemas takes more than ${this.#options.limits.stepsMax} steps to judge.`, {
        tooLarge: true,
      });
  }
}

function kindOf(field: ProtoField, resolve: Resolve, scope: string): FieldKind {
  if (SCALARS.has(field.type)) return { kind: 'scalar', type: field.type };
  const symbol = resolve(field.type, scope);
  const kind = symbol?.kind ?? 'message';
  const isGroup =
    field.isGroup ||
    field.options.some(({ name, value }) => name === 'features.message_encoding' && value === 'DELIMITED');
  return { kind: isGroup ? 'group' : kind, type: symbol?.fullName ?? field.type };
}

function groupOf({ kind, type }: FieldKind): string | undefined {
  if (kind === 'enum') return 'varint';
  return kind === 'scalar' ? GROUPS.get(type) : undefined;
}
