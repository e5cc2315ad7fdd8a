/**
 * Goal: the status shows every node, one that does not answer and none at all. Method: the command in this process
 * against fake nodes over real gRPC.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type ConditionSchema, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
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

describe('status', () => {
  it('shows a table per node', async () => {
    const { registry } = await fakeMesh();
    const { code, out } = await freshet(['status', '--registry', registry]);
    expect(code).toBe(0);
    expect(out.replaceAll(/127\.0\.0\.1:\d+/g, 'HOST')).toMatchInlineSnapshot(`
      "registry HOST
      generation 3: 1 view, 0 features, 1 service

      ingest HOST  ingest-1
      DATABASE  STATE      ROUTES  COMMITS   ROWS  DURABLE LSN  BEHIND
      default   streaming       2    1,000  4,000  1/A0           96 B
      crm       halted          0        0      0  0/0             0 B
      problem crm: the slot is lost
        fix DROP the slot
      held orders (default/public.orders): 2 rows (1,234 B) under contract 3, since 90.0 s ago
      aside clicks (route 1): 3 rows were put aside alone (freshet quarantine list clicks)
      12,345 records (999,999 B) since start, 5 quarantined

      compute HOST  compute-1
      SHARD  FOLDED  BEHIND  LOG TIME     GEN  KEYS  EXPIRED  CEL ERRORS  JOIN MISSES  FOLLOWERS  BUILDING
          0     500      10  12.0 ms ago    3    42        0           0            0          1
          1     500      10  12.0 ms ago    3    42        0           0            0          1

      serve HOST  serve-1
      SHARD  POSITION  COMPLETE THROUGH  UPSTREAM       STATE
          0       500  3.0 ms ago        connected      live
          1         3  –                 not connected  catching up
      1,234 rows, serving generation 3 (4 is being built)
      on-demand feature ratio of checkout failed 12 times: division by zero
      "
    `);
  });

  it('as JSON has everything, and a node that does not answer is part of it', async () => {
    const { registry } = await fakeMesh({
      serve: {
        getServeStatus: async () => {
          throw new FreshetError('UNAVAILABLE', 'not yet');
        },
      },
    });
    const status = JSON.parse((await freshet(['status', '--json', '--registry', registry])).out);
    expect(status.compute[0]).toMatchObject({
      nodeId: 'compute-1',
      status: { shards: [{ shard: 0, position: '500' }, { shard: 1 }] },
    });
    expect(status.serve[0]).toMatchObject({ error: { code: 'UNAVAILABLE', message: 'not yet' } });
  });

  it('shows a shard whose rows the disk lost as one that cannot be read', async () => {
    const { registry } = await fakeMesh({
      serve: { getServeStatus: async () => ({ shards: [{ shard: 5, position: 7n, connected: true, healing: true }] }) },
    });
    const { out } = await freshet(['status', '--registry', registry]);
    expect(out).toMatch(/^ *5 +7 .* connected +healing$/m);
  });

  it('shows what a node says is not as it should be, whatever it is', async () => {
    const conditions: MessageInitShape<typeof ConditionSchema>[] = [
      {
        id: 'shard/0/damaged',
        code: 'DATA_DAMAGED',
        message: 'the shard is restored from its checkpoint',
        place: 'shard 0',
        sinceUs: BigInt(NOW_US - 90_000_000),
        severity: Severity.NOTE,
      },
      { id: 'x', code: 'NEW_CODE', message: 'something new', remedy: 'do this', sinceUs: BigInt(NOW_US) },
    ];
    const { registry } = await fakeMesh({ shards: () => ({ shards: [], conditions }) });
    const { out } = await freshet(['status', '--registry', registry]);
    expect(out).toContain('note shard 0: the shard is restored from its checkpoint (since 90.0 s ago)\n');
    expect(out).toContain('warning something new (since 0 µs ago)\n  fix do this\n');
    const status = JSON.parse((await freshet(['status', '--json', '--registry', registry])).out);
    expect(status.compute[0].status.conditions).toHaveLength(2);
  });

  it('says when nobody is there', async () => {
    const { registry } = await fakeMesh({ withoutNodes: true });
    expect((await freshet(['status', '--registry', registry])).out).toContain('serve\nno node has announced itself');
  });
});
