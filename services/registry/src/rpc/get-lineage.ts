/** GetLineage: what something is made of, and what is made of it. */
import type { LineageBook } from '../core/lineage-book.ts';
import type { RegistryHandlers } from './handlers.ts';

export function getLineage(lineage: LineageBook): RegistryHandlers['getLineage'] {
  return async ({ kind, name }) => lineage.around(kind, name);
}
