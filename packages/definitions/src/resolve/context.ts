/** What the parts of resolving share: where problems and notes go. Owns nothing else. */
import type { Problems } from '../problems.ts';

export interface ResolveContext {
  readonly problems: Problems;
  /** What to know though it stops nothing, a sentence each. */
  readonly notes: string[];
}
