/**
 * Goal: features are shown with every digit, keys are sent as their kind, and what cannot be is refused. Method: the
 * command in this process against fake nodes over real gRPC.
 */
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { type FakeMesh, runFreshet as freshet, NOW_US, startFakeMesh } from '../testing/fake-mesh.ts';

const meshes: FakeMesh[] = [];
afterEach(async () => {
  await Promise.all(meshes.splice(0).map((mesh) => mesh.close()));
});

async function fakeMesh(...options: Parameters<typeof startFakeMesh>): Promise<FakeMesh> {
  const mesh = await startFakeMesh(...options);
  meshes.push(mesh);
  return mesh;
}

describe('get', () => {
  it('shows a table per entity', async () => {
    const { serve, asked } = await fakeMesh();
    const { code, out } = await freshet([
      'get',
      'recommendations',
      '--key',
      'user_id=42',
      '-k',
      'user_id=-43',
      '--serve',
      serve,
    ]);
    expect(code).toBe(0);
    expect(asked[0]).toMatchObject({
      service: 'recommendations',
      features: [],
      rowInfo: true,
      keys: [{ name: 'user_id', values: { case: 'int64s', value: { values: [42n, -43n] } } }],
    });
    expect(out).toMatchInlineSnapshot(`
      "recommendations · user_id=42
      FEATURE                                 VALUE  STATUS   NEWEST EVENT
      user_clicks:n                9007199254740993  present  2023-11-14T22:13:20.000001Z
      user_clicks:last  2023-11-14T22:13:20.000001Z  present  2023-11-14T22:13:20.000001Z
      products:score                            NaN  present  –

      recommendations · user_id=-43
      FEATURE           VALUE  STATUS     NEWEST EVENT
      user_clicks:n         0  present    –
      user_clicks:last      –  absent     –
      products:score      0.5  defaulted  –

      as of 2027-01-15T08:00:00.000000Z, fresh to 4.2 ms before
      "
    `);
  });

  it('sends request data by its type, for all entities or each', async () => {
    const { serve, asked } = await fakeMesh();
    const get = (...fields: string[]) =>
      freshet([
        ...['get', 'recommendations', '-k', 'user_id=1', '-k', 'user_id=2', '--serve', serve],
        ...fields.flatMap((field) => ['--request', field]),
      ]);
    const { code } = await get('cart_total=12.5', 'country=DE', 'country', 'tags=["9007199254740993", null]');
    expect(code).toBe(0);
    expect(asked[0]?.request).toMatchObject([
      { name: 'cart_total', values: { doubles: [12.5], statuses: [] } },
      { name: 'country', values: { strings: ['DE', ''], statuses: [ValueStatus.PRESENT, ValueStatus.ABSENT] } },
      { name: 'tags', values: { lists: [{ elements: [{ kind: { value: 9007199254740993n } }, {}] }] } },
    ]);
    expect((await get('cart_total=much')).err).toContain('cart_total is of type double, which "much" is not');
    expect((await get('tags=1')).err).toContain('JSON array');
    expect((await get('cart_totl=1')).err).toContain('did you mean cart_total?');
    const features = await freshet(['get', '--features', 'a:b', '-k', 'user_id=1', '-r', 'x=1', '--serve', serve]);
    expect(features.err).toContain('request data is for a service');
  });

  it('as JSON keeps every digit', async () => {
    const { serve } = await fakeMesh();
    const { out } = await freshet(['get', 'recommendations', '--key', 'user_id=42', '--json'], {
      env: { FRESHET_SERVE: serve },
    });
    expect(JSON.parse(out)).toEqual({
      service: 'recommendations',
      asOfUs: String(NOW_US),
      completeThroughUs: String(NOW_US - 4_200),
      freshnessUs: 4_200,
      entities: [
        {
          keys: { user_id: '42' },
          features: {
            'user_clicks:n': { value: '9007199254740993', status: 'present' },
            'user_clicks:last': { value: '2023-11-14T22:13:20.000001Z', status: 'present' },
            'products:score': { value: 'NaN', status: 'present' },
          },
          rows: {
            user_clicks: { version: '7', eventTime: '2023-11-14T22:13:20.000001Z' },
            products: { version: '0', eventTime: null },
          },
        },
      ],
    });
  });

  it('finds the kind of a key by service, else in the registry, else by its looks', async () => {
    const { serve, registry, asked } = await fakeMesh({ serve: { listServices: async () => ({ services: [] }) } });
    await freshet([
      'get',
      '--features',
      'user_clicks:n',
      '--key',
      'user_id=42',
      '--serve',
      serve,
      '--registry',
      registry,
    ]);
    expect(asked[0]?.keys[0]?.values.case).toBe('strings');
    await freshet([
      'get',
      '--features',
      'user_clicks:n,x:*',
      '--key',
      'user_id=42',
      '--serve',
      serve,
      '--registry',
      '127.0.0.1:1',
    ]);
    expect(asked[1]?.keys[0]?.values.case).toBe('int64s');
    expect(asked[1]?.features).toEqual(['user_clicks:n', 'x:*']);
  });

  it('knows what a service needs', async () => {
    const { serve, asked } = await fakeMesh();
    const get = async (...args: string[]) => (await freshet(['get', ...args, '--serve', serve])).err;
    expect(await get('recomendations', '-k', 'user_id=1')).toContain('fix did you mean recommendations?');
    expect(await get('x', '-k', 'user_id=1')).toContain('fix there are recommendations');
    expect(await get('recommendations', '-k', 'userid=1')).toContain('recommendations has no key userid [WRONG_KEY]');
    expect(await get('recommendations', '-k', 'user_id=1', '-k', 'b=2')).toContain('fix give --key user_id=…');
    expect(asked).toEqual([]);
  });

  it('refuses keys that are none, and passes on what the node refuses', async () => {
    const { serve } = await fakeMesh({
      serve: {
        getFeatures: async () => {
          throw new FreshetError('UNKNOWN_FEATURE', 'no feature is called x:y', {
            remedy: 'did you mean x:z?',
            place: 'features[0]',
          });
        },
      },
    });
    const bad = await freshet(['get', 'recommendations', '--key', 'user_id=9223372036854775808', '--serve', serve]);
    expect([bad.code, bad.err]).toEqual([
      1,
      'error the key user_id cannot be "9223372036854775808" [WRONG_KEY]\n  at  --key user_id\n  fix give a whole number of 64 bits, such as 42\n',
    ]);
    const uneven = await freshet(['get', 'r', '--key', 'a=1', '--key', 'b=1', '--key', 'a=2', '--serve', serve]);
    expect(uneven.err).toContain('a is given for 2 entities but b for 1');
    const refused = await freshet(['get', 'recommendations', '--key', 'user_id=1', '--serve', serve]);
    expect([refused.code, refused.err]).toEqual([
      1,
      'error no feature is called x:y [UNKNOWN_FEATURE]\n  at  features[0]\n  fix did you mean x:z?\n',
    ]);
  });
});
