/**
 * What names mean: the types of a file and of what it imports, and how a name is looked up from where it stands.
 *
 * Owns scopes, as protoc has them: from the inside out, and the first part of a dotted name decides. Pure.
 */
import { InvalidSchema } from '../schema.ts';
import type { ProtoFile, ProtoMessage, ProtoSymbol } from './proto-file.ts';

export class ProtoNames {
  readonly symbols = new Map<string, ProtoSymbol>();
  readonly #packages = new Set<string>();

  /** Adds the types that a file defines. Throws InvalidSchema when one is there already. */
  addFile(file: ProtoFile): void {
    this.addPackage(file.package);
    for (const message of file.messages) this.#addMessage(message, file.package);
    for (const { name } of file.enums)
      this.#add({ fullName: join(file.package, name), kind: 'enum', message: undefined });
  }

  addSymbols(symbols: Iterable<ProtoSymbol>): void {
    for (const symbol of symbols) {
      const known = this.symbols.get(symbol.fullName);
      if (known !== undefined && known.message !== symbol.message) throw twice(symbol.fullName);
      this.symbols.set(symbol.fullName, symbol);
      this.addPackage(symbol.fullName.slice(0, Math.max(0, symbol.fullName.lastIndexOf('.'))));
    }
  }

  addPackage(name: string): void {
    if (name === '' || this.symbols.has(name)) return;
    for (let end = name.length; end > 0; end = name.lastIndexOf('.', end - 1)) {
      const part = name.slice(0, end);
      if (this.#packages.has(part)) return;
      this.#packages.add(part);
    }
  }

  /** What `type` means in `scope` (the full name of a message, or a package). Linear in the depth of the scope. */
  resolve(type: string, scope: string): ProtoSymbol | undefined {
    if (type.startsWith('.')) return this.symbols.get(type.slice(1));
    const dot = type.indexOf('.');
    const first = dot < 0 ? type : type.slice(0, dot);
    for (let outer = scope; ; outer = outer.slice(0, Math.max(0, outer.lastIndexOf('.')))) {
      const found = this.symbols.get(join(outer, type));
      if (found !== undefined) return found;
      const start = join(outer, first);
      // Whatever the first part is there, protoc looks no further out.
      if (dot >= 0 && (this.symbols.get(start)?.kind === 'message' || this.#packages.has(start))) return undefined;
      if (outer === '') return undefined;
    }
  }

  #addMessage(message: ProtoMessage, scope: string): void {
    const fullName = join(scope, message.name);
    this.#add({ fullName, kind: 'message', message });
    for (const inner of message.messages) this.#addMessage(inner, fullName);
    for (const { name } of message.enums)
      this.#add({ fullName: join(fullName, name), kind: 'enum', message: undefined });
  }

  #add(symbol: ProtoSymbol): void {
    if (this.symbols.has(symbol.fullName)) throw twice(symbol.fullName);
    this.symbols.set(symbol.fullName, symbol);
  }
}

/** Full names may be 31 × 512 characters and more where the text has one: so many times the text they may be together. */
const NAMES_TIMES_TEXT = 4;

/** How many characters the full names may have together that are written out for one schema. */
export class NameBudget {
  #left: number;

  constructor(charactersMax: number) {
    this.#left = charactersMax * NAMES_TIMES_TEXT;
  }

  /** Throws InvalidSchema when it is used up. */
  spend(fullName: string): string {
    this.#left -= fullName.length;
    if (this.#left >= 0) return fullName;
    throw new InvalidSchema('The types of the schema, named in full, are longer than the limit.', { tooLarge: true });
  }
}

export function join(scope: string, name: string): string {
  return scope === '' ? name : `${scope}.${name}`;
}

function twice(name: string): InvalidSchema {
  return new InvalidSchema(`The type "${name.slice(0, 200)}" is defined twice.`);
}
