/** GetDefinitions: the definitions in force, as written and as resolved. */

import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';

export function getDefinitions(keeper: DefinitionKeeper): RegistryHandlers['getDefinitions'] {
  return async () => {
    const { written, resolved } = keeper.current;
    return { ...(written && { definitions: written }), ...(resolved && { resolved }) };
  };
}
