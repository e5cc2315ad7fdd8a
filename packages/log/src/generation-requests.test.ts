/**
 * Goal: a request for routes anew reaches the node that captures, and its answer comes back as it was. Method: a server that
 * answers by hand, over real gRPC.
 */
import { GenerationVerdict, LogService, type RequestGenerationsRequest } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, expect, it } from 'vitest';
import { requestGenerations } from './generation-requests.ts';

let server: GrpcServer | undefined;
afterEach(() => server?.drain(0));

it('asks with all that is told, and gives every verdict back', async () => {
  const asked: RequestGenerationsRequest[] = [];
  const { UNSPECIFIED, ACCEPTED, BEGUN, UNKNOWN_ROUTE } = GenerationVerdict;
  const unused = (): never => {
    throw new Error('not asked');
  };
  server = createGrpcServer({ log: silentLogger }).add(LogService, {
    describeLog: unused,
    readLog: unused,
    noteCheckpoints: unused,
    requestGenerations: (request) => {
      asked.push(request);
      const verdicts = [ACCEPTED, BEGUN, UNKNOWN_ROUTE, UNSPECIFIED];
      const routes = verdicts.map((verdict, i) => ({ route: i + 1, verdict, generation: i + 5 }));
      return Promise.resolve({ routes });
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const wanted = [1, 2, 3, 4].map((route) => ({ route, aboveGeneration: 4, reason: 'w'.repeat(600) }));
  const answers = await requestGenerations(address, 'node-1', 'ab'.repeat(16), wanted, AbortSignal.timeout(5_000));
  expect(answers).toEqual([
    { route: 1, verdict: 'accepted', generation: 5 },
    { route: 2, verdict: 'begun', generation: 6 },
    { route: 3, verdict: 'unknown', generation: 7 },
    { route: 4, verdict: 'unknown', generation: 8 },
  ]);
  expect(asked).toMatchObject([
    { nodeId: 'node-1', routes: [1, 2, 3, 4].map((route) => ({ route, aboveGeneration: 4, reason: 'w'.repeat(500) })) },
  ]);
  expect(Buffer.from(asked[0]?.logId ?? []).toString('hex')).toBe('ab'.repeat(16));
});
