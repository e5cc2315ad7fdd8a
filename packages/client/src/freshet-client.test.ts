/**
 * Goal: the client's keys and columns are the contract's, and calls go on while any node answers.
 * Method: real gRPC servers that answer what the test says, some of them gone.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type GetFeaturesRequest,
  type GetFeaturesResponseSchema,
  ServeService,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { createFreshetClient, type FreshetClient } from './freshet-client.ts';

const servers: GrpcServer[] = [];
const clients: FreshetClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(servers.splice(0).map((server) => server.drain(100)));
});

type Answer = MessageInitShape<typeof GetFeaturesResponseSchema>;

async function node(answer: (request: GetFeaturesRequest) => Answer | Promise<Answer>): Promise<string> {
  const server = createGrpcServer({ log: silentLogger }).add(ServeService, {
    getFeatures: async (request) => answer(request),
  });
  servers.push(server);
  return (await server.listen('127.0.0.1:0')).address;
}

function clientOf(...addresses: string[]): FreshetClient {
  const client = createFreshetClient({ addresses, deadlineMs: 5000 });
  clients.push(client);
  return client;
}

describe('FreshetClient', () => {
  it('sends keys by their type and returns typed values with statuses', async () => {
    let seen: GetFeaturesRequest | undefined;
    const address = await node((request) => {
      seen = request;
      return {
        columns: [
          {
            name: 'v:n',
            values: { int64s: [2n ** 63n - 1n, 0n], statuses: [ValueStatus.PRESENT, ValueStatus.ABSENT] },
          },
          { name: 'v:t', values: { strings: ['a', 'b'], statuses: [ValueStatus.PRESENT, ValueStatus.DEFAULTED] } },
          { name: 'v:e', values: { vectors: [{ components: [1, 2] }, { components: [] }] } },
          { name: 'v:l', values: { lists: [{ elements: [{ kind: { case: 'double', value: 1.5 } }, {}] }, {}] } },
        ],
        asOfUs: 7n,
        completeThroughUs: 5n,
        rows: [{ view: 'v', versionsPlusOne: [1n, 0n], eventTimesUs: [9n, 0n] }],
      };
    });
    const keys = { id: [1n, 2], name: ['a', 'b'], raw: [Uint8Array.of(1), Uint8Array.of()], on: [true, false] };
    const answer = await clientOf(address).getFeatures({ service: 's', keys, rowInfo: true });
    expect(seen).toMatchObject({
      service: 's',
      rowInfo: true,
      keys: [
        { name: 'id', values: { case: 'int64s', value: { values: [1n, 2n] } } },
        { name: 'name', values: { case: 'strings', value: { values: ['a', 'b'] } } },
        { name: 'raw', values: { case: 'bytes' } },
        { name: 'on', values: { case: 'bools', value: { values: [true, false] } } },
      ],
    });
    expect(answer).toEqual({
      columns: {
        'v:n': { values: [2n ** 63n - 1n, null], statuses: ['PRESENT', 'ABSENT'] },
        'v:t': { values: ['a', 'b'], statuses: ['PRESENT', 'DEFAULTED'] },
        'v:e': { values: [Float32Array.of(1, 2), Float32Array.of()], statuses: ['PRESENT', 'PRESENT'] },
        'v:l': { values: [[1.5, null], []], statuses: ['PRESENT', 'PRESENT'] },
      },
      asOfUs: 7,
      completeThroughUs: 5,
      rows: { v: { versions: [0, undefined], eventTimesUs: [9, undefined] } },
    });
  });

  it('sends request data by its type, one value for all or each, nulls among them', async () => {
    let seen: GetFeaturesRequest | undefined;
    const address = await node((request) => {
      seen = request;
      return {};
    });
    const request = {
      cart: 12.5,
      country: { each: ['DE', null] },
      big: 2n ** 60n,
      on: true,
      raw: Uint8Array.of(1),
      none: null,
      tags: { all: ['a', null] },
      lists: { each: [[1n], null] },
    };
    await clientOf(address).getFeatures({ service: 's', keys: { id: [1n, 2n] }, request });
    const { ABSENT, PRESENT } = ValueStatus;
    expect(seen?.request).toMatchObject([
      { name: 'cart', values: { doubles: [12.5], statuses: [] } },
      { name: 'country', values: { strings: ['DE', ''], statuses: [PRESENT, ABSENT] } },
      { name: 'big', values: { int64s: [2n ** 60n] } },
      { name: 'on', values: { bools: [true] } },
      { name: 'raw', values: { bytes: [Buffer.of(1)] } },
      { name: 'none', values: { statuses: [ABSENT] } },
      { name: 'tags', values: { lists: [{ elements: [{ kind: { case: 'string', value: 'a' } }, {}] }] } },
      { name: 'lists', values: { lists: [{ elements: [{ kind: { value: 1n } }] }, {}], statuses: [PRESENT, ABSENT] } },
    ]);
    for (const wrong of [{ each: [1, 'x'] }, { all: [1, 'x'] }]) {
      await expect(clientOf(address).getFeatures({ keys: {}, request: { wrong } })).rejects.toMatchObject({
        code: 'WRONG_REQUEST_DATA',
        place: 'request.wrong',
      });
    }
  });

  it('takes turns among nodes, and goes on when one is gone', async () => {
    const counts = [0, 0];
    const addresses = await Promise.all(
      counts.map((_, i) =>
        node(() => {
          counts[i] = (counts[i] ?? 0) + 1;
          return {};
        }),
      ),
    );
    const client = clientOf(...addresses);
    for (let i = 0; i < 6; i++) await client.getFeatures({ service: 's', keys: {} });
    expect(counts).toEqual([3, 3]);
    await servers.shift()?.drain(10);
    for (let i = 0; i < 6; i++) await client.getFeatures({ service: 's', keys: {} });
    expect(counts).toEqual([3, 9]);
  });

  it('goes to another node after one that hung, as long as that is not the only one', async () => {
    let hung = 0;
    const hanging = await node(() => {
      hung += 1;
      return new Promise(() => {});
    });
    const client = clientOf(hanging, await node(() => ({})));
    const call = { service: 's', keys: {} };
    await expect(client.getFeatures({ ...call, deadlineMs: 200 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    for (let i = 0; i < 4; i++) await client.getFeatures(call);
    expect(hung).toBe(1);
    const alone = clientOf(hanging);
    for (let i = 0; i < 2; i++)
      await expect(alone.getFeatures({ ...call, deadlineMs: 50 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(hung).toBe(3);
  });

  it('says what the program calls itself, and refuses a name that would not be counted', async () => {
    const names: string[] = [];
    const server = createGrpcServer({ log: silentLogger }).add(ServeService, {
      getFeatures: async (_request, context) => {
        names.push(context.header?.('freshet-reader') ?? '');
        return {};
      },
    });
    servers.push(server);
    const { address } = await server.listen('127.0.0.1:0');
    const named = createFreshetClient({ addresses: [address], name: 'checkout-model' });
    clients.push(named);
    await named.getFeatures({ service: 's', keys: {} });
    await clientOf(address).getFeatures({ service: 's', keys: {} });
    expect(names).toEqual(['checkout-model', '']);
    expect(() => createFreshetClient({ addresses: [address], name: 'a b' })).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', place: 'name' }),
    );
  });

  it('passes on what a node refuses, and asks nobody else', async () => {
    let asked = 0;
    const refuse = () =>
      node(() => {
        asked += 1;
        throw new FreshetError('UNKNOWN_SERVICE', 'there is no feature service "s"', { remedy: 'did you mean "t"?' });
      });
    const call = clientOf(await refuse(), await refuse()).getFeatures({ service: 's', keys: {} });
    await expect(call).rejects.toMatchObject({ code: 'UNKNOWN_SERVICE', remedy: 'did you mean "t"?' });
    expect(asked).toBe(1);
  });

  it('refuses keys of mixed types before it calls', async () => {
    const client = clientOf('127.0.0.1:1');
    await expect(client.getFeatures({ keys: { id: [1n, 'x'] } })).rejects.toMatchObject({
      code: 'WRONG_KEY',
      place: 'keys.id',
    });
    await expect(client.getFeatures({ keys: { id: [1.5] } })).rejects.toMatchObject({ code: 'WRONG_KEY' });
    await expect(client.getFeatures({ keys: { id: [2 ** 60] } })).rejects.toMatchObject({ code: 'WRONG_KEY' });
  });

  it('UNAVAILABLE when no node can be reached; INVALID_CONFIG without addresses', async () => {
    await expect(clientOf('127.0.0.1:1').getFeatures({ service: 's', keys: {} })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
    expect(() => createFreshetClient({ addresses: [] })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });
});
