/**
 * Goal: what is declared compatible can be read, and what is kept is text that buf reads. Method: random schemas and
 * random evolutions of them; the texts as the engine prints them go through one `buf build`; random messages are written
 * with the old descriptors and read with the new ones, and every field that both have must have its value. And mutated
 * texts meet nothing but a schema or InvalidSchema. FRESHET_FUZZ_SEED repeats a run.
 *
 * Known differences, each with its reason (Confluent's rules allow what loses in part):
 * - Numbers of one group may narrow (int64 → int32, int32 → bool, int32 → an open enum): the values here fit all.
 * - string and bytes, and messages, may go from repeated to singular, where the last or a merger is read: lists here have
 *   one element.
 * - A removed field's number may come again with another meaning of the same group: fields here are told by number.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, createFileRegistry, type DescField, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { protobufEngine } from './protobuf-engine.ts';

const BUF = join(import.meta.dirname, '../../../../node_modules/.bin/buf');
const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? 20260902);
/** FRESHET_SCHEMA_PAIRS makes a run long; buf builds so many pairs at once. */
const BATCH = 300;
const PAIRS = Number(process.env['FRESHET_SCHEMA_PAIRS'] ?? BATCH);

const TYPES =
  'int32 int64 uint32 uint64 bool E sint32 sint64 string bytes fixed32 sfixed32 fixed64 sfixed64 float double F M0 M1 M2'.split(
    ' ',
  );
const KEYS = ['int32', 'int64', 'string', 'fixed32', 'bool'];

interface Field {
  readonly number: number;
  readonly type: string;
  readonly key: string | undefined;
  readonly label: '' | 'optional' | 'repeated';
  readonly oneof: string | undefined;
}
type Messages = readonly (readonly Field[])[];
type Draw = (count: number) => number;

function drawer(draws: readonly number[]): Draw {
  let at = 0;
  return (count) => (draws[at++] ?? 0) % count;
}

function randomField(number: number, next: Draw): Field {
  const type = TYPES[next(TYPES.length)] ?? 'int32';
  const shape = next(8);
  return {
    number,
    type,
    key: shape === 0 ? KEYS[next(KEYS.length)] : undefined,
    label: shape === 1 ? 'repeated' : shape === 2 ? 'optional' : '',
    oneof: shape === 3 || shape === 4 ? ['x', 'y'][next(2)] : undefined,
  };
}

function randomMessages(next: Draw): Messages {
  return [0, 1, 2].map(() => [1, 2, 3, 4, 5].filter(() => next(3) > 0).map((number) => randomField(number, next)));
}

/** Half of the types that a field may turn into are near it. */
function evolveField(field: Field, next: Draw): Field {
  const at = TYPES.indexOf(field.type);
  switch (next(14)) {
    case 0:
      return { ...field, type: TYPES[Math.max(0, at - 1)] ?? field.type };
    case 1:
      return { ...field, type: TYPES[Math.min(TYPES.length - 1, at + 1)] ?? field.type };
    case 2:
      return randomField(field.number, next);
    case 3:
      return field.key === undefined && field.oneof === undefined ? { ...field, label: 'repeated' } : field;
    case 4:
      return { ...field, label: '' };
    case 5:
      return { ...field, oneof: undefined };
    case 6:
      return field.key === undefined && field.label === '' ? { ...field, oneof: 'x' } : field;
    default:
      return field;
  }
}

/** What no random walk does often: all fields that may move into one oneof do. */
function intoOneof(moves: boolean, fields: readonly Field[]): readonly Field[] {
  return fields.map((field) =>
    moves && field.key === undefined && field.label === '' ? { ...field, oneof: 'x' } : field,
  );
}

function evolve(messages: Messages, next: Draw): Messages {
  return messages.map((fields) => [
    ...intoOneof(
      next(6) === 0,
      fields.filter(() => next(10) > 0).map((field) => evolveField(field, next)),
    ),
    ...[6, 7].filter(() => next(4) === 0).map((number) => randomField(number, next)),
  ]);
}

function print(messages: Messages): string {
  const printField = ({ number, type, key, label }: Field) =>
    key === undefined ? `${label} ${type} f${number} = ${number};` : `map<${key}, ${type}> f${number} = ${number};`;
  const bodies = messages.map((fields, index) => {
    const oneofs = ['x', 'y'].map((oneof) => {
      const inside = fields.filter((field) => field.oneof === oneof).map(printField);
      return inside.length === 0 ? '' : `oneof ${oneof} { ${inside.join(' ')} }`;
    });
    const outside = fields.filter((field) => field.oneof === undefined).map(printField);
    return `message M${index} { ${[...outside, ...oneofs].join(' ')} }`;
  });
  return `syntax = "proto3"; package p; enum E { E0 = 0; E1 = 1; } enum F { F0 = 0; F1 = 1; } ${bodies.join(' ')}`;
}

const pairs = fc.array(fc.nat(720_719), { minLength: 60, maxLength: 200 }).map((draws) => {
  const next = drawer(draws);
  const old = randomMessages(next);
  return { old: print(old), now: print(evolve(old, next)), draws };
});

/** Sets fields at random: what is true in every type of a group, 1. */
function fill(message: ReflectMessage, next: Draw, depth: number): void {
  for (const field of message.desc.fields) {
    if (next(4) === 0) continue;
    if (field.fieldKind === 'list') message.get(field).add(sample(field, next, depth));
    else if (field.fieldKind === 'map')
      message
        .get(field)
        .set(
          field.mapKey === 9 ? '1' : field.mapKey === 8 ? true : field.mapKey === 3 ? 1n : 1,
          sample(field, next, depth),
        );
    else message.set(field, sample(field, next, depth));
  }
}

function sample(field: DescField, next: Draw, depth: number): unknown {
  if (field.message !== undefined) {
    const inner = reflect(field.message, create(field.message));
    if (depth < 3) fill(inner, next, depth + 1);
    return inner;
  }
  if (field.enum !== undefined) return 1;
  const name = ['', 'd', 'f', 'L', 'L', 'i', 'L', 'i', 'b', 's', '', '', 'B', 'i', '', 'i', 'L', 'i', 'L'][
    field.scalar ?? 0
  ];
  return { L: 1n, b: true, s: '1', B: new Uint8Array([0x31]), f: 1, d: 1, i: 1 }[name ?? 'i'];
}

/** Values as one form for all types of a group. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  return typeof value === 'bigint' || typeof value === 'boolean' ? Number(value) : value;
}

function compare(now: ReflectMessage, old: ReflectMessage, place: string): number {
  let compared = 0;
  for (const field of old.desc.fields) {
    const other = now.desc.fields.find(({ number }) => number === field.number);
    if (other === undefined || !old.isSet(field)) continue;
    const [was, is] = [valuesOf(old, field), valuesOf(now, other)];
    expect(is.length, `${place}.${field.name}`).toBe(was.length);
    for (const [index, value] of was.entries()) {
      if (field.message !== undefined || (field.fieldKind === 'map' && typeof value === 'object' && isReflected(value)))
        compared += compare(is[index] as ReflectMessage, value as ReflectMessage, `${place}.${field.name}`);
      else expect(plain(is[index]), `${place}.${field.name}`).toEqual(plain(value));
      compared++;
    }
  }
  return compared;
}

function isReflected(value: unknown): boolean {
  return value !== null && typeof value === 'object' && 'desc' in value;
}

function valuesOf(message: ReflectMessage, field: DescField): unknown[] {
  if (field.fieldKind === 'list') return [...message.get(field)];
  if (field.fieldKind === 'map') return [...message.get(field).values()];
  return message.isSet(field) ? [message.get(field)] : [];
}

interface Seen {
  compatible: number;
  incompatible: number;
  compared: number;
}

/** Has buf build the texts of some pairs, and reads with each new one what was written with the old one. */
function readBatch(batchSeed: number, count: number, seen: Seen): void {
  const all = fc.sample(pairs, { seed: batchSeed, numRuns: count }).map((pair) => {
    const writer = protobufEngine.parse(pair.old, []);
    const reader = protobufEngine.parse(pair.now, []);
    return { ...pair, writer, reader, findings: protobufEngine.findIncompatibilities(reader, writer) };
  });
  const directory = mkdtempSync(join(tmpdir(), 'freshet-buf-'));
  let image: Uint8Array;
  try {
    for (const [index, { writer, reader, findings }] of all.entries()) {
      // That buf takes all kept texts, the first batch shows; the others are for the reading.
      if (batchSeed !== seed && findings.length > 0) continue;
      writeFileSync(
        join(directory, `old${index}.proto`),
        writer.canonical.replace('package p;', `package old${index};`),
      );
      // The other text of the two, in which names are full.
      const text = reader.normalized.replace('package p;', `package now${index};`).replaceAll('.p.', `.now${index}.`);
      writeFileSync(join(directory, `now${index}.proto`), text);
    }
    image = execFileSync(BUF, ['build', directory, '--as-file-descriptor-set', '-o', '-#format=binpb'], {
      maxBuffer: 100_000_000,
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
  const messageOf = (name: string): DescMessage => {
    const found = registry.getMessage(name);
    if (found === undefined) throw new Error(`buf built no ${name}`);
    return found;
  };
  for (const [index, { findings, draws, old, now }] of all.entries()) {
    if (findings.length > 0) {
      seen.incompatible++;
      continue;
    }
    seen.compatible++;
    const next = drawer([...draws].reverse());
    for (const name of ['M0', 'M1', 'M2']) {
      const oldDesc = messageOf(`old${index}.${name}`);
      const nowDesc = messageOf(`now${index}.${name}`);
      const written = reflect(oldDesc, create(oldDesc));
      fill(written, next, 0);
      const bytes = toBinary(oldDesc, written.message);
      const read = reflect(nowDesc, fromBinary(nowDesc, bytes));
      seen.compared += compare(read, written, `${old}\n${now}\n${name}`);
    }
  }
}

describe('compatibility of random evolutions', () => {
  it(
    'lets what is compatible be read by descriptors that buf built of the kept texts',
    () => {
      const seen = { compatible: 0, incompatible: 0, compared: 0 };
      for (let from = 0; from < PAIRS; from += BATCH) readBatch(seed + from, Math.min(BATCH, PAIRS - from), seen);
      if (PAIRS > BATCH) process.stderr.write(`Protobuf, seed ${seed}: ${JSON.stringify(seen)}\n`);
      // The test would prove nothing if nearly all pairs were of one kind.
      expect(seen.compatible).toBeGreaterThan(PAIRS / 10);
      expect(seen.incompatible).toBeGreaterThan(PAIRS / 10);
      expect(seen.compared).toBeGreaterThan(PAIRS / 3);
    },
    Math.max(60_000, PAIRS * 50),
  );

  it('finds every schema compatible with itself, and its texts fixed points', () => {
    fc.assert(
      fc.property(pairs, ({ old }) => {
        const schema = protobufEngine.parse(old, []);
        const again = protobufEngine.parse(schema.canonical, []);
        expect(protobufEngine.findIncompatibilities(schema, again)).toEqual([]);
        expect(again.canonical).toBe(schema.canonical);
        expect(protobufEngine.parse(schema.normalized, []).normalized).toBe(schema.normalized);
      }),
      { seed, numRuns: 300 },
    );
  });
});

describe('mutated and random texts', () => {
  const pieces = fc.constantFrom(
    ...'{ } [ ] ( ) < > ; = , . - " \' // /* */ message enum oneof map<int32,int32> option reserved extensions to max group extend stream rpc service import public repeated 1 0x1 1e9 __proto__ constructor \\x "a"'.split(
      ' ',
    ),
  );

  it('meet with a schema or InvalidSchema, and nothing else', () => {
    const mutated = fc
      .tuple(pairs, fc.array(fc.tuple(fc.nat(), fc.nat(3), pieces), { maxLength: 2 }))
      .map(([{ old }, edits]) =>
        edits.reduce((text, [at, cut, put]) => {
          const from = at % text.length;
          return `${text.slice(0, from)} ${put} ${text.slice(from + cut)}`;
        }, old),
      );
    const random = fc.array(pieces, { maxLength: 60 }).map((words) => words.join(' '));
    const base64 = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes).toString('base64'));
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof({ weight: 4, arbitrary: mutated }, random, base64), (text) => {
        try {
          const schema = protobufEngine.parse(text, []);
          accepted++;
          fromBinary(FileDescriptorProtoSchema, Buffer.from(schema.serialized, 'base64'));
          expect(protobufEngine.parse(schema.canonical, []).canonical).toBe(schema.canonical);
          expect(protobufEngine.parse(schema.normalized, []).normalized).toBe(schema.normalized);
        } catch (error) {
          expect(error, text).toHaveProperty('name', 'InvalidSchema');
        }
      }),
      { seed, numRuns: 4000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });
});
