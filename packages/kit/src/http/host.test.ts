/** Goal: the HTTP port speaks JSON as curl sends it, with the handlers and errors of the gRPC port. Method: fetch. */

import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../errors.ts';
import type { Handlers } from '../grpc/server.ts';
import { silentLogger } from '../logger.ts';
import { connectHandlers, createHttpHost, type HttpHost } from './host.ts';

let open: HttpHost | undefined;
afterEach(() => open?.close());

async function post(
  handler: () => Promise<{ partitions: { end: bigint }[] }>,
  body: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  open = createHttpHost({
    log: silentLogger,
    routes: (router) => connectHandlers(router, LogService, { describeLog: handler }, silentLogger),
    extra: (request, response) => request.url === '/metrics' && response.end('up 1\n') !== undefined,
  });
  const { address } = await open.listen('127.0.0.1:0');
  expect(await (await fetch(`http://${address}/metrics`)).text()).toBe('up 1\n');
  const response = await fetch(`http://${address}/freshet.log.v1.LogService/DescribeLog`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('the HTTP port', () => {
  it('answers JSON, 64-bit integers as text', async () => {
    expect(await post(async () => ({ partitions: [{ end: 2n ** 60n }] }), '{}')).toEqual({
      status: 200,
      body: { partitions: [{ end: '1152921504606846976' }] },
    });
  });

  it('answers typed errors', async () => {
    const answer = await post(async () => {
      throw new FreshetError('UNKNOWN_SERVICE', 'no service "x"', { remedy: 'apply one' });
    }, '{}');
    expect(answer).toMatchObject({
      status: 404,
      body: {
        code: 'not_found',
        message: 'no service "x". apply one',
        details: [{ type: 'freshet.type.v1.ErrorDetail' }],
      },
    });
  });

  it('refuses what is not JSON', async () => {
    expect(await post(async () => ({ partitions: [] }), '{')).toMatchObject({
      status: 400,
      body: { code: 'invalid_argument' },
    });
  });

  it('refuses what the gRPC port refuses: the same rules of the contract', async () => {
    let asked = 0;
    const announceNode = async (): Promise<{ leaseUs: bigint }> => {
      asked += 1;
      return { leaseUs: 1n };
    };
    open = createHttpHost({
      log: silentLogger,
      routes: (router) => connectHandlers(router, RegistryService, { announceNode }, silentLogger),
    });
    const { address } = await open.listen('127.0.0.1:0');
    const announce = async (body: object): Promise<Response> =>
      fetch(`http://${address}/freshet.registry.v1.RegistryService/AnnounceNode`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    for (const bad of [{}, { node: {} }, { node: { nodeId: 'n', role: 'ROLE_UNSPECIFIED', address: 'a:1' } }]) {
      const answer = await announce(bad);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ code: 'invalid_argument' });
    }
    expect(asked).toBe(0);
    expect((await announce({ node: { nodeId: 'n', role: 'ROLE_SERVE', address: 'a:1' } })).status).toBe(200);
  });
});

describe('close', () => {
  it('lets requests finish, ends streams by UNAVAILABLE, and cuts off what hangs when its grace is over', async () => {
    let taken = 0;
    const handlers: Handlers<typeof RegistryService> = {
      announceNode: async ({ node }) => {
        taken += 1;
        await new Promise((resolve) => setTimeout(resolve, node?.nodeId === 'slow' ? 150 : 60_000).unref());
        return { leaseUs: 7n };
      },
      async *watchTopology() {
        taken += 1;
        yield { nodes: [] };
        await new Promise(() => {});
      },
    };
    const log = silentLogger;
    const host = createHttpHost({
      log,
      routes: (router, stopping) => connectHandlers(router, RegistryService, handlers, log, stopping),
    });
    const { address } = await host.listen('127.0.0.1:0');
    const post = (method: string, type: string, body: string | Uint8Array<ArrayBuffer>): Promise<Response> =>
      fetch(`http://${address}/freshet.registry.v1.RegistryService/${method}`, {
        method: 'POST',
        headers: { 'content-type': type },
        body,
      });
    const announce = (nodeId: string): Promise<Response> =>
      post(
        'AnnounceNode',
        'application/json',
        JSON.stringify({ node: { nodeId, role: 'ROLE_SERVE', address: 'a:1' } }),
      );
    const slow = announce('slow');
    const hung = announce('hung').catch((error: unknown) => error);
    const envelope = new Uint8Array([0, 0, 0, 0, 2, ...new TextEncoder().encode('{}')]);
    const stream = await post('WatchTopology', 'application/connect+json', envelope);
    await expect.poll(() => taken).toBe(3);
    const closed = host.close(400);
    expect((await slow).status).toBe(200);
    expect(await stream.text()).toContain('"code":"unavailable"');
    expect(await hung).toBeInstanceOf(TypeError);
    await closed;
  });
});
