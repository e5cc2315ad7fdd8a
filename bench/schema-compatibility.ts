/**
 * What judging a pair of schemas of a thousand fields costs: Avro (nested records, unions, enums), Protobuf (messages, maps, a
 * oneof) and JSON Schema (every second property an object of two); parsing one text, and judging a pair that was parsed. The
 * pair differs by one added field, in JSON Schema by half of all limits, so that nothing ends early. There is no baseline: no other package judges a pair and says where it does not fit.
 */

import { avroEngine } from '@freshet/schemas/avro/avro-engine.ts';
import { jsonEngine } from '@freshet/schemas/json/json-engine.ts';
import { wideJsonSchemas } from '@freshet/schemas/json/wide-schemas.testing.ts';
import { protobufEngine } from '@freshet/schemas/protobuf/protobuf-engine.ts';
import type { ParsedSchema, SchemaEngine } from '@freshet/schemas/schema.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

const FIELDS = 1000;
/** Judgements a run; the first run also warms the code. */
const TIMES = 20;

export async function benchSchemaCompatibility(runs: number): Promise<BenchResult> {
  const avro = { old: avroText(false), now: avroText(true) };
  const protobuf = { old: protoText(false), now: protoText(true) };
  const json = wideJsonSchemas(FIELDS);
  return {
    fields: FIELDS,
    avro_characters: avro.now.length,
    avro_parse_ms: measure(runs, () => void avroEngine.parse(avro.now, [], { checkDefaults: true })),
    avro_judge_ms: measureJudging(avroEngine, avro, runs),
    protobuf_characters: protobuf.now.length,
    protobuf_parse_ms: measure(runs, () => void protobufEngine.parse(protobuf.now, [])),
    protobuf_judge_ms: measureJudging(protobufEngine, protobuf, runs),
    json_characters: json.now.length,
    json_parse_ms: measure(runs, () => void jsonEngine.parse(json.now, [])),
    json_judge_ms: measureJudging(jsonEngine, json, runs),
  };
}

function measureJudging<P extends ParsedSchema>(
  engine: SchemaEngine<P>,
  texts: { readonly old: string; readonly now: string },
  runs: number,
): number {
  const pair = { old: engine.parse(texts.old, []), now: engine.parse(texts.now, []) };
  return measure(runs, () => expectNone(engine, pair));
}

/** A figure for a wrong answer would be worth nothing. */
function expectNone<P extends ParsedSchema>(engine: SchemaEngine<P>, pair: { readonly old: P; readonly now: P }): void {
  if (engine.findIncompatibilities(pair.now, pair.old).length > 0) throw new Error('the pair is compatible');
}

function measure(runs: number, work: () => void): number {
  const values: number[] = [];
  for (let run = 0; run < runs; run++) values.push(time(work));
  return round(median(values), 3);
}

/** Milliseconds each. */
function time(work: () => void): number {
  const startedAt = performance.now();
  for (let turn = 0; turn < TIMES; turn++) work();
  return (performance.now() - startedAt) / TIMES;
}

function avroText(more: boolean): string {
  const types = [
    '"int"',
    '["null","string"]',
    '"Kind"',
    '{"type":"array","items":"double"}',
    '["null","Inner"]',
    '"Root"',
  ];
  const named = [
    '{"name":"k","type":{"type":"enum","name":"Kind","symbols":["A","B","C"]}}',
    '{"name":"i","type":{"type":"record","name":"Inner","fields":[{"name":"root","type":["null","Root"]}]}}',
  ];
  const fields = Array.from(
    { length: FIELDS - 2 },
    (_, index) => `{"name":"f${index}","type":${types[index % types.length]}}`,
  );
  const added = more ? ['{"name":"added","type":"int","default":0}'] : [];
  return `{"type":"record","name":"Root","fields":[${[...named, ...fields, ...added].join(',')}]}`;
}

function protoText(more: boolean): string {
  const types = ['int32', 'string', 'Kind', 'repeated double', 'Inner', 'map<string, Root>'];
  const fields = Array.from(
    { length: FIELDS - 2 },
    (_, index) => `${types[index % types.length]} f${index} = ${index + 1};`,
  );
  const oneof = `oneof o { int32 x = ${FIELDS - 1}; Inner y = ${FIELDS}; }`;
  const added = more ? 'int32 added = 5000;' : '';
  return `syntax = "proto3"; package p; enum Kind { A = 0; } message Inner { Root root = 1; } message Root { ${fields.join(' ')} ${oneof} ${added} }`;
}
