/** What one GetFeatures call may ask for. The numbers are part of the contract (proto/freshet/serve/v1/serve.proto). */
import { FreshetError } from '@freshet/kit/errors.ts';

export const ENTITIES_MAX = 1000;
export const FEATURES_MAX = 500;
export const VALUES_MAX = 50_000;
export const REQUEST_FIELDS_MAX = 100;
export const REQUEST_BYTES_MAX = 1024 * 1024;
/** What the gRPC port sends at most (packages/kit/src/grpc/server.ts). */
export const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** What all on-demand features of one call may cost together, in characters looked at; a call of CEL costs 16. */
export const REQUEST_COST_MAX = 2 ** 25;
/** After so much of that others may run, if it is their turn. */
export const PART_COST = 2 ** 13;
/** A call for more values than this is read in parts of about as many, and of so many rows. */
export const PART_VALUES = 1000;
export const PART_ROWS = 100;

/** Throws REQUEST_TOO_LARGE, with the limit and what to do instead, when there are too many. */
export function checkLimit(count: number, max: number, what: string, remedy: string): void {
  if (count <= max) return;
  throw new FreshetError('REQUEST_TOO_LARGE', `the request has ${count} ${what}; the limit is ${max}`, { remedy });
}
