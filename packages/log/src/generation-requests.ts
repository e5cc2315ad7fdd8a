/**
 * Asks the node that captures for routes anew (LogService.RequestGenerations): for whoever must fold a route from its
 * beginning, when the log no longer has it.
 *
 * One attempt each: the caller asks again, and may, because asking again changes nothing. Owns the call and its form in
 * memory; what becomes of it is ingest's.
 */
import { GenerationVerdict, LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { fromHex } from '@freshet/kit/hex.ts';

/** The most routes that one call may name. */
export const ROUTES_PER_REQUEST = 1_024;

/** A route that is to begin anew. */
export interface GenerationWanted {
  readonly route: number;
  /** The newest generation of it that does not serve; a higher one is wanted. */
  readonly aboveGeneration: number;
  /** Why, in a sentence for people; at most 500 characters are sent. */
  readonly reason: string;
}

/** What becomes of it. */
export interface GenerationAnswered {
  readonly route: number;
  /** `accepted`: it will begin; `begun`: a higher generation is in the log; `unknown`: ask again later. */
  readonly verdict: 'accepted' | 'begun' | 'unknown';
  /** The newest generation that has begun, as far as is known; 0: none. */
  readonly generation: number;
}

/** Who can be asked for routes anew. */
export interface GenerationAsker {
  /** Throws UNAVAILABLE and its like; UNIMPLEMENTED when nothing begins anew there; WRONG_LOG. */
  requestGenerations(
    node: string,
    logId: string,
    wanted: readonly GenerationWanted[],
    signal: AbortSignal,
  ): Promise<readonly GenerationAnswered[]>;
}

const REASON_MAX = 500;

/** Asks the node at an address ("host:port"). `logId` in hex; at most ROUTES_PER_REQUEST routes, each once. */
export async function requestGenerations(
  address: string,
  node: string,
  logId: string,
  wanted: readonly GenerationWanted[],
  signal: AbortSignal,
): Promise<readonly GenerationAnswered[]> {
  const client = createGrpcClient(LogService, address);
  try {
    const routes = wanted.map(({ reason, ...rest }) => ({ ...rest, reason: reason.slice(0, REASON_MAX) }));
    const answer = await client.requestGenerations({ nodeId: node, logId: fromHex(logId), routes }, { signal });
    return answer.routes.map(({ route, verdict, generation }) => ({
      route,
      generation,
      verdict: VERDICTS[verdict] ?? 'unknown',
    }));
  } finally {
    client.close();
  }
}

const VERDICTS: Readonly<Partial<Record<GenerationVerdict, GenerationAnswered['verdict']>>> = {
  [GenerationVerdict.ACCEPTED]: 'accepted',
  [GenerationVerdict.BEGUN]: 'begun',
};
