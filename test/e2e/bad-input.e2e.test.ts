/**
 * Goal: bad input gets a typed error that names the place and the remedy, and the mesh goes on. Method: the real
 * processes; malformed definitions through the command line, malformed requests through gRPC and HTTP, garbage on every
 * port; after each, a good request must still be answered.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fromGrpcError } from '@freshet/kit/grpc/error-mapping.ts';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
}, 120_000);
afterAll(() => under?.close(), 60_000);
afterEach(async () => {
  const { columns } = await under.client.getFeatures({ service: 'user_profile', keys: { user_id: [1n] } });
  expect(columns['user_clicks:click_count_total']?.values).toEqual([0n]);
});

/** Runs the command line as a user would; what it printed and how it ended. */
function freshet(...args: string[]): Promise<{ code: number; text: string }> {
  const launcher = join(import.meta.dirname, '../../scripts/freshet.mjs');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [launcher, ...args],
      { env: { ...process.env, NO_COLOR: '1' } },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, text: stdout + stderr });
      },
    );
  });
}

async function plan(yaml: string): Promise<{ code: number; text: string }> {
  const file = join(under.directory, 'bad.yaml');
  writeFileSync(file, yaml);
  return freshet('plan', file, '--registry', under.mesh.addresses.registry);
}

const GOOD = `kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: user_activity
mode: append
postgres: { table: public.user_activity }
event_time: occurred_at
---
kind: FeatureView
name: clicks
entity: user
source: user_activity
where: event_type == "click"
features:
  n: { count: {}, rolling: 5m }
`;

describe('definitions', () => {
  it.each([
    ['malformed YAML', GOOD.replace('{ user_id: int64 }', '{ user_id: int64'), /bad\.yaml:\d+:\d+/],
    [
      'an unknown column',
      GOOD.replace('event_type ==', 'event_tipe =='),
      /^(?=[\s\S]*bad\.yaml:15:\d+)(?=[\s\S]*event_type)/,
    ],
    [
      'a wrong type',
      GOOD.replace('{ count: {}, rolling: 5m }', '{ sum: event_type, rolling: 5m }'),
      /^(?=[\s\S]*bad\.yaml:17:\d+)(?=[\s\S]*sum)/,
    ],
    [
      'a window that is no multiple of its pane',
      GOOD.replace('rolling: 5m', 'rolling: 5m, pane: 7s'),
      /^(?=[\s\S]*bad\.yaml:17:\d+)(?=[\s\S]*pane)/,
    ],
    [
      'an unknown table',
      GOOD.replace('public.user_activity', 'public.nowhere'),
      /^(?=[\s\S]*bad\.yaml:\d+:\d+)(?=[\s\S]*nowhere)/,
    ],
    ['a mutable source', GOOD.replace('mode: append', 'mode: mutable'), /mode: append/],
  ])('refuse %s with place and remedy', async (_what, yaml, says) => {
    const { code, text } = await plan(yaml);
    expect(text).toMatch(says);
    expect(code).toBe(1);
  });
});

describe('requests', () => {
  it.each([
    ['an unknown service', { service: 'user_profil', keys: { user_id: [1n] } }, 'UNKNOWN_SERVICE', /user_profile/],
    ['an unknown feature', { features: ['user_clicks:nothing'], keys: { user_id: [1n] } }, 'UNKNOWN_FEATURE', /./],
    ['a wrong key type', { service: 'user_profile', keys: { user_id: ['one'] } }, 'WRONG_KEY', /./],
    ['a missing key', { service: 'user_profile', keys: {} }, 'WRONG_KEY', /./],
    [
      'too many entities',
      { service: 'user_profile', keys: { user_id: Array.from({ length: 1001 }, (_, i) => BigInt(i)) } },
      'REQUEST_TOO_LARGE',
      /./,
    ],
  ] as const)('refuse %s', async (_what, request, code, remedy) => {
    await expect(under.client.getFeatures(request)).rejects.toMatchObject({
      code,
      remedy: expect.stringMatching(remedy),
    });
  });

  it('refuse 10 MB and bytes that are no message', async () => {
    const client = new Client(under.mesh.addresses.serve, credentials.createInsecure(), {
      'grpc.max_send_message_length': -1,
    });
    const call = (bytes: Buffer): Promise<ServiceError | null> =>
      new Promise((resolve) => {
        client.makeUnaryRequest(
          '/freshet.serve.v1.ServeService/GetFeatures',
          (b: Buffer) => b,
          (b: Buffer) => b,
          bytes,
          (error) => resolve(error),
        );
      });
    const large = await call(Buffer.alloc(10 * 1024 * 1024, 0x0a));
    expect(large?.code).toBe(8);
    const garbage = fromGrpcError((await call(Buffer.from('ffffffffff', 'hex'))) as ServiceError, 'GetFeatures');
    expect(garbage.code).toBe('INVALID_REQUEST');
    client.close();
  });

  it('refuse bad JSON on the HTTP port', async () => {
    const post = (body: string): Promise<Response> =>
      fetch(`http://${under.mesh.addresses.serveHttp}/freshet.serve.v1.ServeService/GetFeatures`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
    expect((await post('{')).status).toBe(400);
    const unknown = await post('{"service":"nope","keys":[{"name":"user_id","int64s":{"values":["1"]}}]}');
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ code: 'not_found', message: expect.stringContaining('nope') });
  });

  it('survive garbage on every port', async () => {
    for (const address of Object.values(under.mesh.addresses)) {
      const at = address.lastIndexOf(':');
      const socket = connect(Number(address.slice(at + 1)), address.slice(0, at));
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 131) % 256)));
      socket.write('GET / HTTP/9.9\r\n\r\n');
      await new Promise((resolve) => setTimeout(resolve, 50));
      socket.destroy();
    }
    for (const role of ['registry', 'ingest', 'compute', 'serve'] as const) {
      expect(under.mesh.starts(role)).toBe(1);
      await under.mesh.untilHealthy(role, AbortSignal.timeout(5_000));
    }
  });
});
