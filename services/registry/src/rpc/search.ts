/** Search: definitions in force by what people wrote about them. */
import { searchDefinitions } from '@freshet/definitions/search.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';

const HITS_DEFAULT = 100;

export function search(keeper: DefinitionKeeper): RegistryHandlers['search'] {
  return async ({ text, tags, owner, kinds, limit }) => {
    const { written } = keeper.current;
    const hits = written === undefined ? [] : searchDefinitions(written, { text, tags, owner, kinds });
    return { hits: hits.slice(0, limit || HITS_DEFAULT), total: hits.length };
  };
}
