/** LogService.RequestGenerations: whoever lacks the beginning of a route asks for it anew. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  GenerationVerdict,
  type RequestGenerationsRequest,
  type RequestGenerationsResponseSchema,
} from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { GenerationAnswered, GenerationWanted } from '@freshet/log/generation-requests.ts';

/** Takes requests, and resolves once what it accepted is durable: io/generation-requests.ts. */
export type AskGenerations = (
  node: string,
  wanted: readonly GenerationWanted[],
) => Promise<readonly GenerationAnswered[]>;

const VERDICTS: Readonly<Record<GenerationAnswered['verdict'], GenerationVerdict>> = {
  accepted: GenerationVerdict.ACCEPTED,
  begun: GenerationVerdict.BEGUN,
  unknown: GenerationVerdict.UNKNOWN_ROUTE,
};

/** The handler for a log. */
export function requestGenerations(
  log: { readonly logId: string },
  ask: AskGenerations,
): (request: RequestGenerationsRequest) => Promise<MessageInitShape<typeof RequestGenerationsResponseSchema>> {
  return async ({ nodeId, logId, routes }) => {
    const told = Buffer.from(logId).toString('hex');
    if (told !== log.logId) {
      throw new FreshetError('WRONG_LOG', `the routes are asked for in log ${told}; this is ${log.logId}`, {
        remedy: 'See that compute reads from the ingest node that it was set up with.',
      });
    }
    const answers = await ask(nodeId, routes);
    return {
      routes: answers.map(({ route, verdict, generation }) => ({ route, verdict: VERDICTS[verdict], generation })),
    };
  };
}
