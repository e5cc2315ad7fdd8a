/** What a commit keeps of a fold beside the key states, in one canonical order. */
import { create, toBinary } from '@bufbuild/protobuf';
import { type FoldMeta, FoldMetaSchema, RouteStateSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Force } from './force.ts';

export interface FoldPlace {
  readonly position: number;
  readonly logTimeUs: number;
  readonly recordCrc: number;
}

/** Definitions change rarely and may be long; they are encoded once. */
const encodedDefinitions = new WeakMap<DefinitionSet, Uint8Array>();

function bytesOf(definitions: DefinitionSet | undefined): Uint8Array {
  if (definitions === undefined) return new Uint8Array(0);
  let bytes = encodedDefinitions.get(definitions);
  if (bytes === undefined) {
    bytes = toBinary(DefinitionSetSchema, definitions);
    encodedDefinitions.set(definitions, bytes);
  }
  return bytes;
}

export function encodeMeta(place: FoldPlace, force: Force): FoldMeta {
  const numbers = [...new Set([...force.routes.keys(), ...force.contracts.routes()])].sort((a, b) => a - b);
  const viewIds = [...force.views.keys()].sort();
  return create(FoldMetaSchema, {
    position: BigInt(place.position),
    logTimeUs: BigInt(place.logTimeUs),
    recordCrc: place.recordCrc,
    definitions: bytesOf(force.definitions),
    routes: numbers.map((route) => {
      const state = force.routes.get(route)?.toProto() ?? create(RouteStateSchema, { route });
      state.contracts = [...force.contracts.of(route)];
      return state;
    }),
    views: viewIds.flatMap((viewId) =>
      [force.views.get(viewId)?.toProto(false) ?? [], force.successors.get(viewId)?.toProto(true) ?? []].flat(),
    ),
    origin: BigInt(force.origin),
    nextInstance: force.nextInstance,
    expiredEvents: BigInt(force.counters.expiredEvents),
    expressionErrors: BigInt(force.counters.expressionErrors),
    unknownContracts: BigInt(force.counters.unknownContracts),
    joinMisses: BigInt(force.counters.joinMisses),
    tables: force.tables.toProto(),
  });
}
