/** ReleaseSource: a person frees a database whose node is gone for good. */
import type { SourceClaims } from '../core/source-claims.ts';
import type { RegistryHandlers } from './handlers.ts';

export function releaseSource(claims: SourceClaims): RegistryHandlers['releaseSource'] {
  return async ({ database, nodeId, force }) => {
    await claims.release(database, nodeId, force);
    return {};
  };
}
