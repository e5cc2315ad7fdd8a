/**
 * Prints a .proto tree as text: without comments, in one lay-out, so that what differs in blanks only is kept as one.
 *
 * Owns the canonical and the normalized text. Fields, messages, values and methods keep their order (message indexes
 * count it); normalized also puts imports and options in order and names types in full. What is printed is read back as
 * the same tree. Pure.
 */
import {
  FIELD_NUMBER_MAX,
  type ProtoEnum,
  type ProtoExtend,
  type ProtoField,
  type ProtoFile,
  type ProtoMessage,
  type ProtoOption,
  type ProtoRange,
  type ProtoReserved,
  type ProtoService,
} from './proto-file.ts';

const ENUM_NUMBER_MAX = 2 ** 31 - 1;

export interface PrintProtoOptions {
  /** What a type's text is replaced with where it stands; absent: it stays. */
  readonly qualify?: ((type: string, scope: string) => string) | undefined;
  readonly sorted: boolean;
}

export function printProto(file: ProtoFile, options: PrintProtoOptions): string {
  return new ProtoPrinter(file, options).print();
}

class ProtoPrinter {
  readonly #file: ProtoFile;
  readonly #qualify: (type: string, scope: string) => string;
  readonly #sorted: boolean;
  readonly #lines: string[] = [];

  constructor(file: ProtoFile, { qualify, sorted }: PrintProtoOptions) {
    this.#file = file;
    this.#qualify = qualify ?? ((type) => type);
    this.#sorted = sorted;
  }

  print(): string {
    const file = this.#file;
    const key = file.syntax.startsWith('proto') ? 'syntax' : 'edition';
    this.#lines.push(`${key} = "${file.syntax}";`);
    if (file.package !== '') this.#lines.push(`package ${file.package};`);
    if (file.imports.length > 0) this.#lines.push('');
    const imports = this.#sorted ? [...file.imports].sort((a, b) => (a.path < b.path ? -1 : 1)) : file.imports;
    for (const { path, kind } of imports) this.#lines.push(`import ${kind === '' ? '' : `${kind} `}"${path}";`);
    if (file.options.length > 0) this.#lines.push('');
    this.#printOptions(file.options, '');
    const groups = groupsOf(file.extends.flatMap((each) => each.fields));
    const byName = new Map(file.messages.map((message) => [message.name, message]));
    for (const message of file.messages)
      if (!groups.has(message.name)) this.#block(() => this.#printMessage(message, '', file.package));
    for (const each of file.enums) this.#block(() => this.#printEnum(each, ''));
    for (const each of file.extends) this.#block(() => this.#printExtend(each, '', { scope: file.package, byName }));
    for (const each of file.services) this.#block(() => this.#printService(each));
    return `${this.#lines.join('\n')}\n`;
  }

  #block(print: () => void): void {
    this.#lines.push('');
    print();
  }

  #printMessage(message: ProtoMessage, indent: string, outer: string): void {
    this.#lines.push(`${indent}message ${message.name} {`);
    this.#printMembers(message, `${indent}  `, outer === '' ? message.name : `${outer}.${message.name}`);
    this.#lines.push(`${indent}}`);
  }

  #printMembers(message: ProtoMessage, indent: string, scope: string): void {
    this.#printOptions(message.options, indent);
    this.#printReserved(message.reserved, indent, FIELD_NUMBER_MAX);
    const byName = new Map(message.messages.map((each) => [each.name, each]));
    for (const field of message.fields)
      if (field.oneof === undefined) this.#printField(field, indent, { scope, byName });
    for (const oneof of message.oneofs) {
      this.#lines.push(`${indent}oneof ${oneof.name} {`);
      this.#printOptions(oneof.options, `${indent}  `);
      for (const field of message.fields)
        if (field.oneof === oneof.name) this.#printField(field, `${indent}  `, { scope, byName });
      this.#lines.push(`${indent}}`);
    }
    for (const { ranges, options } of message.extensions)
      this.#lines.push(
        `${indent}extensions ${ranges.map((range) => printRange(range, FIELD_NUMBER_MAX)).join(', ')}${this.#list(options)};`,
      );
    for (const each of message.extends) this.#printExtend(each, indent, { scope, byName });
    const groups = groupsOf([...message.fields, ...message.extends.flatMap((each) => each.fields)]);
    for (const each of message.messages) if (!groups.has(each.name)) this.#printMessage(each, indent, scope);
    for (const each of message.enums) this.#printEnum(each, indent);
  }

  #printField(
    field: ProtoField,
    indent: string,
    { scope, byName }: { readonly scope: string; readonly byName: ReadonlyMap<string, ProtoMessage> },
  ): void {
    const label = field.label === '' ? '' : `${field.label} `;
    const head = `${indent}${label}`;
    const tail = `= ${field.number}${this.#list(field.options)}`;
    const group = field.isGroup ? byName.get(field.type) : undefined;
    if (group !== undefined) {
      this.#lines.push(`${head}group ${group.name} ${tail} {`);
      this.#printMembers(group, `${indent}  `, scope === '' ? group.name : `${scope}.${group.name}`);
      this.#lines.push(`${indent}}`);
      return;
    }
    const type = this.#qualify(field.type, scope);
    const whole = field.mapKey === undefined ? type : `map<${field.mapKey}, ${type}>`;
    this.#lines.push(`${head}${whole} ${field.name} ${tail};`);
  }

  #printExtend(
    extend: ProtoExtend,
    indent: string,
    place: { readonly scope: string; readonly byName: ReadonlyMap<string, ProtoMessage> },
  ): void {
    this.#lines.push(`${indent}extend ${this.#qualify(extend.extendee, place.scope)} {`);
    for (const field of extend.fields) this.#printField(field, `${indent}  `, place);
    this.#lines.push(`${indent}}`);
  }

  #printEnum(each: ProtoEnum, indent: string): void {
    this.#lines.push(`${indent}enum ${each.name} {`);
    this.#printOptions(each.options, `${indent}  `);
    this.#printReserved(each.reserved, `${indent}  `, ENUM_NUMBER_MAX);
    for (const { name, number, options } of each.values)
      this.#lines.push(`${indent}  ${name} = ${number}${this.#list(options)};`);
    this.#lines.push(`${indent}}`);
  }

  #printService(service: ProtoService): void {
    this.#lines.push(`service ${service.name} {`);
    this.#printOptions(service.options, '  ');
    const scope = this.#file.package === '' ? service.name : `${this.#file.package}.${service.name}`;
    for (const method of service.methods) {
      const input = `${method.inputStreams ? 'stream ' : ''}${this.#qualify(method.input, scope)}`;
      const output = `${method.outputStreams ? 'stream ' : ''}${this.#qualify(method.output, scope)}`;
      const head = `  rpc ${method.name}(${input}) returns (${output})`;
      if (method.options.length === 0) this.#lines.push(`${head};`);
      else {
        this.#lines.push(`${head} {`);
        this.#printOptions(method.options, '    ');
        this.#lines.push('  }');
      }
    }
    this.#lines.push('}');
  }

  #printOptions(options: readonly ProtoOption[], indent: string): void {
    for (const { name, value } of this.#inOrder(options)) this.#lines.push(`${indent}option ${name} = ${value};`);
  }

  #printReserved({ ranges, names }: ProtoReserved, indent: string, max: number): void {
    if (ranges.length > 0)
      this.#lines.push(`${indent}reserved ${ranges.map((range) => printRange(range, max)).join(', ')};`);
    const quote = this.#file.syntax.startsWith('proto') ? '"' : '';
    if (names.length > 0)
      this.#lines.push(`${indent}reserved ${names.map((name) => quote + name + quote).join(', ')};`);
  }

  #list(options: readonly ProtoOption[]): string {
    if (options.length === 0) return '';
    return ` [${this.#inOrder(options)
      .map(({ name, value }) => `${name} = ${value}`)
      .join(', ')}]`;
  }

  /** One option may come several times, of which the order counts; sorting keeps it. */
  #inOrder(options: readonly ProtoOption[]): readonly ProtoOption[] {
    if (!this.#sorted) return options;
    return [...options].sort((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1));
  }
}

function groupsOf(fields: readonly ProtoField[]): ReadonlySet<string> {
  return new Set(fields.filter((field) => field.isGroup).map((field) => field.type));
}

function printRange({ from, to }: ProtoRange, max: number): string {
  if (from === to) return String(from);
  return `${from} to ${to === max ? 'max' : to}`;
}
