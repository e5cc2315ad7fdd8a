/** ClaimSources: a node says which databases it is about to capture, and hears who holds them. */
import type { SourceClaims } from '../core/source-claims.ts';
import type { RegistryHandlers } from './handlers.ts';

export function claimSources(claims: SourceClaims): RegistryHandlers['claimSources'] {
  return async ({ nodeId, databases, takeOver }) => ({
    claims: await claims.claim(nodeId, databases, takeOver),
  });
}
