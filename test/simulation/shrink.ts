/**
 * Makes a run that fails smaller: leaves actions out, in ever smaller pieces, as long as it still fails (delta
 * debugging). Owns the search; `fails` runs a plan.
 */
import type { Plan, TimedAction } from './plan.ts';

/** The smallest plan found within so many tries. */
export async function shrink(
  plan: Plan,
  fails: (plan: Plan) => Promise<boolean>,
  tries: number,
  onSmaller: (plan: Plan, tried: number) => void = () => undefined,
): Promise<Plan> {
  let best = plan;
  let tried = 0;
  for (let piece = Math.ceil(best.actions.length / 2); piece >= 1; piece = piece === 1 ? 0 : Math.ceil(piece / 2)) {
    for (let from = 0; from < best.actions.length && tried < tries; ) {
      const actions: readonly TimedAction[] = [...best.actions.slice(0, from), ...best.actions.slice(from + piece)];
      const smaller = { ...best, actions };
      tried += 1;
      if (actions.length < best.actions.length && (await fails(smaller))) {
        best = smaller;
        onSmaller(best, tried);
      } else from += piece;
    }
  }
  return best;
}
