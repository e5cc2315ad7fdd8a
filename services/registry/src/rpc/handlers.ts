/** The registry's rpcs, one file each, as the gRPC port and the HTTP port both host them. */
import type { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import type { ApplyHistory } from '../core/history.ts';
import { LineageBook } from '../core/lineage-book.ts';
import type { ReaderBook } from '../core/reader-book.ts';
import type { SourceClaims } from '../core/source-claims.ts';
import { announceNode } from './announce-node.ts';
import { applyDefinitions } from './apply-definitions.ts';
import { claimSources } from './claim-sources.ts';
import { getDefinitions } from './get-definitions.ts';
import { getDefinitionsAt } from './get-definitions-at.ts';
import { getLineage } from './get-lineage.ts';
import { getRegistryStatus, type StatusParts } from './get-registry-status.ts';
import { listApplies } from './list-applies.ts';
import { listSourceClaims } from './list-source-claims.ts';
import { planDefinitions } from './plan-definitions.ts';
import { releaseSource } from './release-source.ts';
import { search } from './search.ts';
import { watchDefinitions } from './watch-definitions.ts';
import { watchTopology } from './watch-topology.ts';

/** All of them: a registry leaves none out. */
export type RegistryHandlers = Required<Handlers<typeof RegistryService>>;

export interface RegistryParts extends StatusParts {
  readonly history: ApplyHistory;
  readonly claims: SourceClaims;
  readonly readers: ReaderBook;
}

export function registryHandlers(parts: RegistryParts): RegistryHandlers {
  const { keeper, topology, history, claims, readers } = parts;
  return {
    planDefinitions: planDefinitions(keeper),
    applyDefinitions: applyDefinitions(keeper),
    getDefinitions: getDefinitions(keeper),
    watchDefinitions: watchDefinitions(keeper),
    announceNode: announceNode(keeper, topology, readers),
    watchTopology: watchTopology(topology),
    listApplies: listApplies(history),
    getDefinitionsAt: getDefinitionsAt(keeper, history),
    search: search(keeper),
    getLineage: getLineage(new LineageBook(() => keeper.current, readers)),
    claimSources: claimSources(claims),
    listSourceClaims: listSourceClaims(claims),
    releaseSource: releaseSource(claims),
    getRegistryStatus: getRegistryStatus(parts),
  };
}
