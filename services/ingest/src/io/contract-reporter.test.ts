/**
 * Goal: the registry hears of each shape once, also when it comes up later, and again when a source comes back to one; one
 * that it refuses holds up no other.
 * Method: a registry over real gRPC that is there, is down, or refuses.
 */
import { create } from '@bufbuild/protobuf';
import { ContractService } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { expect, it } from 'vitest';
import { ContractReporter } from './contract-reporter.ts';

const shape = (source: string, name = 'v'): Contract =>
  create(ContractSchema, { source, version: 1, columns: [{ name, sourceType: 'text' }] });

it('tells each shape once, later when the registry is down, and goes on behind one that is refused', async () => {
  const told: string[] = [];
  const start = () =>
    createGrpcServer({ log: silentLogger }).add(ContractService, {
      reportContract: async ({ contract, lsn }) => {
        told.push(`${contract?.source} ${contract?.columns[0]?.name} ${lsn}`);
        if (contract?.source === 'gone')
          throw new FreshetError('INVALID_REQUEST', 'there is no source gone', { place: 'source' });
        return { version: 1 };
      },
    });
  const first = start();
  const { address } = await first.listen('127.0.0.1:0');
  await first.drain(10);
  const ending = new AbortController();
  const reporter = new ContractReporter({ registry: address, clock: systemClock, logger: silentLogger });
  const running = reporter.run(ending.signal);
  reporter.note(shape('gone'), 1n);
  reporter.note(shape('orders'), 2n);
  reporter.note(shape('orders'), 3n);
  reporter.note(shape('orders', 'w'), 4n);
  reporter.note(shape('orders'), 5n);
  reporter.note(shape('orders'), 6n);
  expect(reporter.waiting).toBe(4);
  const second = start();
  try {
    await second.listen(address);
    await expect.poll(() => reporter.waiting, { timeout: 15_000 }).toBe(0);
    expect(told).toEqual(['gone v 1', 'orders v 2', 'orders w 4', 'orders v 5']);
    for (let i = 0; i < 1_000; i++) reporter.note(shape('many', `c${i}`), 7n);
    expect(reporter.waiting).toBeLessThanOrEqual(256);
  } finally {
    ending.abort();
    await running;
    await second.drain(10);
  }
}, 20_000);
