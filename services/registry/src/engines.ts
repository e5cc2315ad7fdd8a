/** The kinds of schema that this registry takes, each with its engine. */
import { avroEngine } from '@freshet/schemas/avro/avro-engine.ts';
import { jsonEngine } from '@freshet/schemas/json/json-engine.ts';
import { protobufEngine } from '@freshet/schemas/protobuf/protobuf-engine.ts';
import type { SchemaEngine, SchemaType } from '@freshet/schemas/schema.ts';

// A parsed schema goes back to the engine that gave it, and to no other: subjects hold versions of one type.
const ENGINES = [jsonEngine, protobufEngine, avroEngine] as readonly unknown[] as readonly SchemaEngine[];

export const SCHEMA_ENGINES: ReadonlyMap<SchemaType, SchemaEngine> = new Map(
  ENGINES.map((engine) => [engine.type, engine]),
);
