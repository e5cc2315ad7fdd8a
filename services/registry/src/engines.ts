/** The kinds of schema that this registry takes, each with its engine. */
import { avroEngine } from '@freshet/schemas/avro/avro-engine.ts';
import { jsonEngine } from '@freshet/schemas/json/json-engine.ts';
import type { OneofRule } from '@freshet/schemas/protobuf/compare-oneofs.ts';
import { createProtobufEngine } from '@freshet/schemas/protobuf/protobuf-engine.ts';
import type { SchemaEngine, SchemaType } from '@freshet/schemas/schema.ts';

/** `oneofRule`: how Protobuf's oneofs are judged, which depends on the release that is answered as (rest/profiles.ts). */
export function schemaEngines({ oneofRule }: { readonly oneofRule: OneofRule }): ReadonlyMap<SchemaType, SchemaEngine> {
  // A parsed schema goes back to the engine that gave it, and to no other: subjects hold versions of one type.
  const engines = [jsonEngine, createProtobufEngine(oneofRule), avroEngine] as readonly unknown[];
  return new Map((engines as readonly SchemaEngine[]).map((engine) => [engine.type, engine]));
}
