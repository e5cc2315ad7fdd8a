/** A view's plan, ready to be folded, if this build knows how to. Pure. */
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type RunnableView, runnableView } from '../state/view-plan.ts';
import { newestEngineVersion } from '../windows.ts';

/** Throws INVALID_DEFINITION when the plan needs a newer engine. */
export function checkedView(plan: ViewPlan): RunnableView {
  if (plan.engineVersion > newestEngineVersion) {
    throw new FreshetError(
      'INVALID_DEFINITION',
      `View ${plan.name} needs engine version ${plan.engineVersion}; this is version ${newestEngineVersion}.`,
      { remedy: 'Upgrade every compute node before the registry, then apply again.' },
    );
  }
  return runnableView(plan);
}
