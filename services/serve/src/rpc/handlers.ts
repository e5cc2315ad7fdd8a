/** The handlers of ServeService, by method. */
import type { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import type { FeatureHandler } from '../core/get-features.ts';
import type { OnDemandErrorCounts } from '../core/on-demand-errors.ts';
import { type Asides, confirmErased } from './confirm-erased.ts';
import { getFeatures } from './get-features.ts';
import { getServeStatus } from './get-serve-status.ts';
import { listServices } from './list-services.ts';

export function serveHandlers(
  replica: Replica,
  features: FeatureHandler,
  errors: OnDemandErrorCounts,
  asides: Asides,
  clock: Clock,
): Handlers<typeof ServeService> {
  return {
    getFeatures: getFeatures(features),
    listServices: listServices(() => replica.catalog),
    getServeStatus: getServeStatus(replica, errors, clock),
    confirmErased: confirmErased(replica, asides),
  };
}
