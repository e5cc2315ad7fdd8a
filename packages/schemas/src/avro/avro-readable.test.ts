/**
 * Goal: what is declared compatible can be read. Method: random schemas, random evolutions of them and random values;
 * the verdict is compared with what avsc (which shares no code with it) can resolve, and when the verdict is "yes",
 * values written with the old schema are read with the new one. FRESHET_FUZZ_SEED repeats a run,
 * FRESHET_SCHEMA_PAIRS makes it long.
 *
 * Known differences, each with its reason:
 * - avsc needs ignoreNamespaces, for Java compares the names of types without their namespaces.
 * - avsc matches an alias only by the full name with namespaces (mtth/avsc#361), so the schemas here have none.
 * - avsc checks defaults always; the schemas here have right ones.
 */

import { Type } from 'avsc';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { avroEngine } from './avro-engine.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? 20260901);
const RUNS = Number(process.env['FRESHET_SCHEMA_PAIRS'] ?? 1500);
/** A long run takes longer than any test may by itself. */
const TIMEOUT_MS = Math.max(60_000, RUNS * 50);
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

function avscType(text: string): Type {
  return Type.forSchema(JSON.parse(text), { wrapUnions: true });
}

function resolves(reader: Type, writer: Type): boolean {
  try {
    reader.createResolver(writer, { ignoreNamespaces: true } as never);
    return true;
  } catch {
    return false;
  }
}

/** The fields of the root that are in both with one and the same plain type. */
function unchanged(old: Json, now: Json): readonly string[] {
  const fieldsOf = (json: Json) =>
    (json as { readonly fields: readonly { readonly name: string; readonly type: Json }[] }).fields;
  return fieldsOf(old)
    .filter(({ name, type }) => fieldsOf(now).some((each) => each.name === name && each.type === type))
    .map(({ name }) => name);
}

const pairs = fc.array(fc.nat(5039), { minLength: 5, maxLength: 120 }).map((draws) => {
  const next = drawer(draws);
  const old = new Maker(next, 'O').record(0, 'Root');
  return { old, new: new Maker(next, 'N').evolve(old) };
});

describe('compatibility of random evolutions', () => {
  it('agrees with what avsc resolves, and what is compatible is read without loss of a value', {
    timeout: TIMEOUT_MS,
  }, () => {
    const seen = { compatible: 0, incompatible: 0, values: 0 };
    fc.assert(
      fc.property(pairs, (pair) => {
        const writer = avroEngine.parse(JSON.stringify(pair.old), [], { checkDefaults: true });
        const reader = avroEngine.parse(JSON.stringify(pair.new), [], { checkDefaults: true });
        const found = avroEngine.findIncompatibilities(reader, writer);
        const written = avscType(writer.canonical);
        const read = avscType(reader.canonical);
        expect(resolves(read, written), JSON.stringify({ pair, found })).toBe(found.length === 0);
        if (found.length > 0) {
          seen.incompatible++;
          return;
        }
        seen.compatible++;
        const resolver = read.createResolver(written, { ignoreNamespaces: true } as never);
        for (let time = 0; time < 3; time++) {
          const bytes = written.toBuffer((written as unknown as { random(): unknown }).random());
          // As the old schema reads it: a float has lost what it does not hold.
          const value = written.fromBuffer(bytes) as Readonly<Record<string, unknown>>;
          const decoded = read.fromBuffer(bytes, resolver) as Readonly<Record<string, unknown>>;
          expect(read.isValid(decoded)).toBe(true);
          for (const name of unchanged(pair.old, pair.new))
            expect(JSON.stringify(decoded[name])).toBe(JSON.stringify(value[name]));
          seen.values++;
        }
      }),
      { seed, numRuns: RUNS },
    );
    if (RUNS > 1500) process.stderr.write(`Avro, seed ${seed}: ${JSON.stringify(seen)}\n`);
    // The test would prove nothing if nearly all pairs were of one kind.
    expect(seen.compatible).toBeGreaterThan(RUNS / 10);
    expect(seen.incompatible).toBeGreaterThan(RUNS / 10);
  });

  it('finds every schema compatible with itself, and its text a fixed point', () => {
    fc.assert(
      fc.property(pairs, ({ old }) => {
        const schema = avroEngine.parse(JSON.stringify(old), []);
        expect(avroEngine.findIncompatibilities(schema, avroEngine.parse(schema.canonical, []))).toEqual([]);
        expect(avroEngine.parse(schema.canonical, []).canonical).toBe(schema.canonical);
        expect(avroEngine.parse(schema.normalized, []).normalized).toBe(schema.normalized);
      }),
      { seed, numRuns: 500 },
    );
  });

  it('meets mutated texts with a schema or InvalidSchema, and nothing else', () => {
    const broken = fc.tuple(
      pairs,
      fc.array(fc.tuple(fc.nat(), fc.constantFrom(...'{ } [ ] " , : \\ 1 e - n / *'.split(' '))), { maxLength: 4 }),
    );
    fc.assert(
      fc.property(broken, ([{ old }, edits]) => {
        let text = JSON.stringify(old);
        for (const [at, put] of edits)
          text = text.slice(0, at % text.length) + put + text.slice((at % text.length) + 1);
        try {
          const schema = avroEngine.parse(text, [], { checkDefaults: true });
          expect(avroEngine.parse(schema.canonical, []).canonical).toBe(schema.canonical);
        } catch (error) {
          expect(error, text).toHaveProperty('name', 'InvalidSchema');
        }
      }),
      { seed, numRuns: 3000 },
    );
  });
});
