/**
 * Goal: calls over both ports are counted once each, by what became of them, and /metrics is answered whatever is asked how often.
 * Method: a real gRPC server and HTTP port with the same handlers and counts; what /metrics says of them, read back.
 */
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { afterEach, expect, it } from 'vitest';
import { FreshetError } from '../errors.ts';
import { createGrpcClient } from '../grpc/client.ts';
import { createGrpcServer, type Handlers } from '../grpc/server.ts';
import { connectHandlers, createHttpHost } from '../http/host.ts';
import { silentLogger } from '../logger.ts';
import { CallCounts } from './call-counts.ts';
import { gauge, type MetricFamily } from './exposition.ts';
import { metricsPath } from './metrics-path.ts';
import { type ReadSample, readExposition } from './read-exposition.testing.ts';

/** Requests that came to the port. */
let arrived = 0;
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const LOG = { log: silentLogger };

/** An HTTP port with /metrics; the process is measured until the test is over. */
async function port(
  own: () => Promise<readonly MetricFamily[]>,
  handlers: Handlers<typeof LogService> = {},
  calls = new CallCounts(),
): Promise<string> {
  const stop = new AbortController();
  const path = metricsPath({ own, calls }, { ...LOG, signal: stop.signal });
  const host = createHttpHost({
    ...LOG,
    routes: (router, stopping) => connectHandlers(router, LogService, handlers, silentLogger, stopping, calls),
    extra: (request, response) => {
      const isOurs = path(request, response);
      arrived += 1;
      return isOurs;
    },
  });
  const { address } = await host.listen('127.0.0.1:0');
  closers.push(() => {
    stop.abort();
    return host.close();
  });
  return `http://${address}`;
}

async function scrape(url: string): Promise<ReadSample[]> {
  return readExposition(await (await fetch(`${url}/metrics`)).text());
}

it('counts calls of both ports by method and code', async () => {
  let fails = false;
  const handlers: Handlers<typeof LogService> = {
    describeLog: async () => {
      if (fails) throw new FreshetError('WRONG_LOG', 'another log');
      return {};
    },
    async *readLog({ partition }, { signal }) {
      yield {};
      if (partition === 1)
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
  };
  const calls = new CallCounts();
  const url = await port(async () => [], handlers, calls);
  const server = createGrpcServer({ ...LOG, calls }).add(LogService, handlers);
  const client = createGrpcClient(LogService, (await server.listen('127.0.0.1:0')).address);
  closers.push(
    () => server.drain(100),
    () => client.close(),
  );
  const post = (body: string): Promise<Response> =>
    fetch(`${url}/freshet.log.v1.LogService/DescribeLog`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });

  await client.describeLog({});
  await post('{}');
  fails = true;
  await expect(client.describeLog({})).rejects.toMatchObject({ code: 'WRONG_LOG' });
  expect((await post('{}')).status).toBeGreaterThanOrEqual(400);
  for await (const _ of client.readLog({ partition: 0 })) void _;
  // What is refused before it comes to its handler is a call as well.
  const tooLong = new Uint8Array(17);
  await expect(client.readLog({ logId: tooLong })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });
  for await (const _ of client.readLog({ partition: 1 })) break;

  const counted = async (): Promise<unknown[]> =>
    (await scrape(url))
      .filter(({ name }) => name === 'freshet_calls_total')
      .map(({ labels, value }) => `${labels['service']} ${labels['method']} ${labels['code']} ${value}`)
      .sort();
  await expect
    .poll(counted)
    .toEqual([
      'freshet.log.v1.LogService DescribeLog OK 2',
      'freshet.log.v1.LogService DescribeLog WRONG_LOG 2',
      'freshet.log.v1.LogService ReadLog CANCELLED 1',
      'freshet.log.v1.LogService ReadLog INVALID_REQUEST 1',
      'freshet.log.v1.LogService ReadLog OK 1',
    ]);
});

it('R4: gathers once for all who ask at a time, anew for the next, and is not ended by what fails', async () => {
  let gathered = 0;
  let go: () => void = () => undefined;
  let fails = false;
  const url = await port(async () => {
    gathered += 1;
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    if (fails) throw new TypeError('a fault of ours');
    return [gauge('some', 'Something', gathered)];
  });
  const before = arrived;
  const ask = async (): Promise<number | undefined> => {
    const response = await fetch(`${url}/metrics`);
    if (response.status !== 200) return -response.status;
    return readExposition(await response.text()).find(({ name }) => name === 'some')?.value;
  };
  const together = Promise.all([ask(), ask(), ask()]);
  await expect.poll(() => arrived).toBe(before + 3);
  go();
  expect(await together).toEqual([1, 1, 1]);
  for (const [failing, answer] of [
    [true, -500],
    [false, 3],
  ] as const) {
    fails = failing;
    const asked = ask();
    const nth = failing ? 2 : 3;
    await expect.poll(() => gathered).toBe(nth);
    go();
    expect(await asked).toBe(answer);
  }
});
