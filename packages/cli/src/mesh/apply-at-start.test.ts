/**
 * Goal: definitions of an earlier run stay in force, and the start goes on, when new ones cannot be applied; first ones
 * are waited for. Method: a registry that answers as told over real gRPC, and a clock that leaps when somebody sleeps.
 */
import { create } from '@bufbuild/protobuf';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { createLogger } from '@freshet/kit/logger.ts';
import { afterEach, expect, it } from 'vitest';
import { applyAtStart } from './apply-at-start.ts';

let server: GrpcServer | undefined;
afterEach(() => server?.drain(50));

/** Applies against a registry with that generation in force, whose database answers after that many plans. */
async function applyWith(generation: bigint, answersAfter: number): Promise<{ plans: number; lines: string[] }> {
  let plans = 0;
  server = createGrpcServer({ log: createLogger({ name: '', write: () => {} }) }).add(RegistryService, {
    getDefinitions: async () => ({ resolved: { generation } }),
    planDefinitions: async () => {
      plans += 1;
      if (plans <= answersAfter) throw new FreshetError('SOURCE_UNREACHABLE', 'the database does not answer');
      return { planHash: new Uint8Array([1]) };
    },
    applyDefinitions: async () => ({ generation: generation + 1n }),
  });
  const { address } = await server.listen('127.0.0.1:0');
  let nowUs = 0;
  const clock: Clock = {
    ...systemClock,
    monotonicUs: () => nowUs,
    sleep: async (ms) => {
      nowUs += ms * 1000;
    },
  };
  const lines: string[] = [];
  await applyAtStart({
    registry: address,
    definitions: create(DefinitionsSchema, {}),
    clock,
    log: createLogger({ name: 'up', level: 'info', write: (line) => lines.push(JSON.parse(line).message) }),
    signal: new AbortController().signal,
  });
  return { plans, lines };
}

it('static stability: does not wait for ever for a database when definitions are in force', async () => {
  const { plans, lines } = await applyWith(3n, Infinity);
  expect(lines.slice(-2)).toEqual([
    'the database does not answer',
    'the definitions could not be applied; those of the last run stay in force',
  ]);
  expect(plans).toBeGreaterThan(3);
});

it('waits a little for the database, and as long as it takes when nothing is in force', async () => {
  expect((await applyWith(3n, 3)).lines.at(-1)).toBe('definitions are in force');
  expect((await applyWith(0n, 50)).lines.at(-1)).toBe('definitions are in force');
});
