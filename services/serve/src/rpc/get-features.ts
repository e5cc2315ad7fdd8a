/** ServeService.GetFeatures: the same handler for both ports, bytes to bytes on gRPC, by messages on HTTP. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type GetFeaturesRequest,
  GetFeaturesRequestSchema,
  type GetFeaturesResponse,
  GetFeaturesResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { FeatureHandler } from '../core/get-features.ts';

/** The handler for messages: what it costs to encode and decode once more is nothing against HTTP and JSON. */
export function getFeatures(handler: FeatureHandler): (request: GetFeaturesRequest) => Promise<GetFeaturesResponse> {
  return async (request) =>
    fromBinary(GetFeaturesResponseSchema, handler(Buffer.from(toBinary(GetFeaturesRequestSchema, request))));
}
