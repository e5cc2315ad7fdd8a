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
import { avroPairs, type Json } from './random-pairs.testing.ts';

const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? 20260901);
const RUNS = Number(process.env['FRESHET_SCHEMA_PAIRS'] ?? 1500);
/** A long run takes longer than any test may by itself. */
const TIMEOUT_MS = Math.max(60_000, RUNS * 50);
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

describe('compatibility of random evolutions', () => {
  it('agrees with what avsc resolves, and what is compatible is read without loss of a value', {
    timeout: TIMEOUT_MS,
  }, () => {
    const seen = { compatible: 0, incompatible: 0, values: 0 };
    fc.assert(
      fc.property(avroPairs, (pair) => {
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
      fc.property(avroPairs, ({ old }) => {
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
      avroPairs,
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
