/** ListSourceClaims: which node captures which database. */
import type { SourceClaims } from '../core/source-claims.ts';
import type { RegistryHandlers } from './handlers.ts';

export function listSourceClaims(claims: SourceClaims): RegistryHandlers['listSourceClaims'] {
  return async () => ({ claims: claims.list() });
}
