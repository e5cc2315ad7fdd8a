/** ServeService.GetFeatures: the same handler for both ports, bytes to bytes on gRPC, by messages on HTTP. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type GetFeaturesRequest,
  GetFeaturesRequestSchema,
  type GetFeaturesResponse,
  GetFeaturesResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { CallContext } from '@freshet/kit/grpc/server.ts';
import type { FeatureHandler } from '../core/get-features.ts';

/** The handler for messages: what it costs to encode and decode once more is nothing against HTTP and JSON. */
export function getFeatures(
  handler: FeatureHandler,
): (request: GetFeaturesRequest, context: CallContext) => Promise<GetFeaturesResponse> {
  return async (request, context) => {
    const answer = await handler(Buffer.from(toBinary(GetFeaturesRequestSchema, request)), context);
    return fromBinary(GetFeaturesResponseSchema, answer);
  };
}
