/**
 * Random Avro schemas and evolutions of them, for tests that compare verdicts: types of every kind, nested, recursive, with
 * defaults that are right; small names, so that pairs meet.
 */
import fc from 'fast-check';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const LETTERS = ['a', 'b', 'c', 'd'] as const;

/** Primitives with a default each. */
const DEFAULTS: Readonly<Record<string, Json>> = {
  null: null,
  boolean: false,
  int: 7,
  long: 8,
  float: 0.5,
  double: 1.5,
  bytes: 'ÿ',
  string: 's',
};

/** A generator of schemas with its own names, so that no name is defined twice. `next` draws from 0 to below `count`. */
class Maker {
  readonly #next: (count: number) => number;
  readonly #names: string;
  #records = 0;

  constructor(next: (count: number) => number, names: string) {
    this.#next = next;
    this.#names = names;
  }

  type(depth: number): Json {
    const kind = this.#next(depth > 2 ? 9 : 14);
    if (kind < 8) return Object.keys(DEFAULTS)[kind] ?? 'int';
    const name = `${this.#names}${this.#records++}`;
    switch (kind) {
      case 8:
        return {
          type: 'enum',
          name,
          symbols: ['A', 'B', 'C'].slice(0, 1 + this.#next(3)),
          ...this.#sometimes({ default: 'A' }),
        };
      case 9:
        return { type: 'fixed', name, size: 1 + this.#next(2) };
      case 10:
        return { type: 'array', items: this.type(depth + 1) };
      case 11:
        return { type: 'map', values: this.type(depth + 1) };
      case 12:
        return this.#union(depth);
      default:
        return this.record(depth, name);
    }
  }

  record(depth: number, name: string): Json {
    const fields = LETTERS.filter(() => this.#next(3) > 0).map((letter) => this.#field(letter, depth));
    if (this.#next(4) === 0) fields.push({ name: 'self', type: ['null', name], default: null });
    return { type: 'record', name, fields };
  }

  #field(name: string, depth: number): { readonly [key: string]: Json } {
    const type = this.type(depth + 1);
    if (typeof type !== 'string' || this.#next(2) === 0) return { name, type };
    return { name, type, default: DEFAULTS[type] ?? null };
  }

  #union(depth: number): Json {
    const branches = ['null', 'int', 'string', 'double', 'bytes', 'boolean'].filter(() => this.#next(3) === 0);
    if (this.#next(3) === 0) branches.push('long');
    const more: Json[] = this.#next(2) === 0 ? [this.record(depth + 1, `${this.#names}${this.#records++}`)] : [];
    return branches.length + more.length === 0 ? ['null'] : [...branches, ...more];
  }

  #sometimes(more: { readonly [key: string]: Json }): { readonly [key: string]: Json } {
    return this.#next(2) === 0 ? more : {};
  }

  /** Another schema near this one. */
  evolve(json: Json, depth = 0): Json {
    const changed = this.#next(6) === 0;
    if (typeof json === 'string') {
      if (!changed) return json;
      const wider: Readonly<Record<string, string>> = { int: 'long', long: 'double', float: 'double', string: 'bytes' };
      return this.#next(3) === 0 ? this.type(depth + 1) : (wider[json] ?? ['null', json === 'null' ? 'int' : json]);
    }
    if (Array.isArray(json)) {
      const list = json as readonly Json[];
      if (changed && list.length > 2) return list.slice(this.#next(2), list.length - this.#next(2));
      return list.map((each) => (typeof each === 'string' ? each : this.evolve(each, depth + 1)));
    }
    const object = json as { readonly [key: string]: Json };
    switch (object['type']) {
      case 'enum':
        return changed ? { ...object, symbols: ['A', 'B', 'C', 'D'].slice(0, 1 + this.#next(4)) } : object;
      case 'fixed':
        return changed ? { ...object, size: 1 + this.#next(2) } : object;
      case 'array':
        return { ...object, items: this.evolve(object['items'] ?? null, depth + 1) };
      case 'map':
        return { ...object, values: this.evolve(object['values'] ?? null, depth + 1) };
      default:
        return this.#evolveRecord(object, depth);
    }
  }

  #evolveRecord(record: { readonly [key: string]: Json }, depth: number): Json {
    const old = (record['fields'] ?? []) as readonly { readonly [key: string]: Json }[];
    const kept = old
      .filter(() => this.#next(8) > 0)
      .map((field) => {
        const type = this.evolve(field['type'] ?? null, depth + 1);
        const same = JSON.stringify(type) === JSON.stringify(field['type']);
        const { default: _dropped, ...rest } = field;
        return { ...(same ? field : rest), type };
      });
    const added = LETTERS.filter((letter) => !old.some(({ name }) => name === letter) && this.#next(3) === 0);
    const renamed = this.#next(12) === 0 ? { name: `${nameOf(record)}x` } : {};
    const fields = [...kept, ...added.map((letter) => this.#field(letter, depth))];
    // What refers to itself does so by the old name.
    return 'name' in renamed && JSON.stringify(old).includes(`"${nameOf(record)}"`)
      ? { ...record, fields }
      : { ...record, ...renamed, fields };
  }
}

function nameOf(type: { readonly [key: string]: Json }): string {
  return typeof type['name'] === 'string' ? type['name'] : '';
}

/** A stream of numbers that fast-check shrinks: what runs out is 0. */
function drawer(draws: readonly number[]): (count: number) => number {
  let at = 0;
  return (count) => (draws[at++] ?? 0) % count;
}

export const avroPairs = fc.array(fc.nat(5039), { minLength: 5, maxLength: 120 }).map((draws) => {
  const next = drawer(draws);
  const old = new Maker(next, 'O').record(0, 'Root');
  return { old, new: new Maker(next, 'N').evolve(old) };
});
