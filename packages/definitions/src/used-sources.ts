/** Which sources definitions use: the views' own, and the tables that views join. What nobody uses is not captured. */
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';

/** The names, as views write them; whether the sources exist is not looked at. */
export function usedSources(definitions: Definitions): Set<string> {
  return new Set(definitions.views.flatMap(({ source, joins }) => [source, ...joins.map(({ table }) => table)]));
}
