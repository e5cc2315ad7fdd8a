/** ListApplies: who applied what, and when. */
import { type ApplyHistory, listApplies as page } from '../core/history.ts';
import type { RegistryHandlers } from './handlers.ts';

export function listApplies(history: ApplyHistory): RegistryHandlers['listApplies'] {
  return async ({ limit, before }) => page(history, limit, before);
}
