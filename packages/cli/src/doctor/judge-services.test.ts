/**
 * Goal: whatever a mesh says that is not well is told, conditions without knowing any by name, and a mesh that is well
 * is told to be so. Method: the answers of a mesh of three nodes, one fact changed at a time.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { GetComputeStatusResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { GetIngestStatusResponseSchema, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { GetRegistryStatusResponseSchema, NodeSchema, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { GetServeStatusResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { expect, it } from 'vitest';
import { judgeServices, type MeshFacts, type NodeFacts } from './judge-services.ts';

const NOW_US = 1_800_000_000_000_000;
const RUNS = { version: '0.1.0', runtime: 'node v24.1.0' };
const just = BigInt(NOW_US - 20_000);

interface Change {
  readonly ingest?: MessageInitShape<typeof GetIngestStatusResponseSchema>;
  readonly compute?: MessageInitShape<typeof GetComputeStatusResponseSchema>;
  readonly serve?: MessageInitShape<typeof GetServeStatusResponseSchema>;
  readonly registry?: MessageInitShape<typeof GetRegistryStatusResponseSchema>;
  readonly nodes?: (nodes: NodeFacts[]) => NodeFacts[];
}

function mesh({ ingest, compute, serve, registry, nodes = (all) => all }: Change): MeshFacts {
  const node = (role: Role, port: number) =>
    create(NodeSchema, { role, address: `n:${port}`, partitions: 2, ...RUNS, nodeId: `n${port}` });
  const well = { healthy: true, ready: true };
  return {
    registryAddress: 'r:7404',
    registry: create(GetRegistryStatusResponseSchema, { ...RUNS, generation: 3n, nodes: 3, ...registry }),
    nodes: nodes([
      {
        ...well,
        node: node(Role.INGEST, 1),
        answer: {
          role: 'ingest',
          status: create(GetIngestStatusResponseSchema, {
            definitionsGeneration: 3n,
            sources: [{ database: 'shop', state: SourceState.STREAMING, routes: [1] }],
            ...ingest,
          }),
        },
      },
      {
        ...well,
        node: node(Role.COMPUTE, 2),
        answer: {
          role: 'compute',
          status: create(GetComputeStatusResponseSchema, {
            shards: [0, 1].map((shard) => ({ shard, logTimeUs: just, definitionsGeneration: 3n })),
            ...compute,
          }),
        },
      },
      {
        ...well,
        node: node(Role.SERVE, 3),
        answer: {
          role: 'serve',
          status: create(GetServeStatusResponseSchema, {
            knownGeneration: 3n,
            servingGeneration: 3n,
            shards: [0, 1].map((shard) => ({ shard, completeThroughUs: just, connected: true })),
            ...serve,
          }),
        },
      },
    ]),
  };
}

function judged(change: Change): string[] {
  return judgeServices(mesh(change), { nowUs: NOW_US, ...RUNS })
    .filter(({ level }) => level !== 'ok')
    .map(({ level, place, message, remedy }) => `${level} ${place}: ${message} → ${remedy}`);
}

const CONDITION = {
  id: 'whatever/7',
  code: 'DISK_FULL',
  message: 'the disk is full',
  remedy: 'make room',
  place: '/data',
  sinceUs: BigInt(NOW_US - 60_000_000),
};

it('a mesh that keeps up has nothing wrong', () => {
  expect(judged({})).toEqual([]);
});

it.each([
  ['ingest n:1', (conditions: (typeof CONDITION)[]) => ({ ingest: { conditions } })],
  ['compute n:2', (conditions: (typeof CONDITION)[]) => ({ compute: { conditions, shards: [] } })],
  ['serve n:3', (conditions: (typeof CONDITION)[]) => ({ serve: { conditions } })],
  ['registry r:7404', (conditions: (typeof CONDITION)[]) => ({ registry: { conditions } })],
])('shows every condition of %s by its severity', (place, change) => {
  const text = `${place}: the disk is full (/data), for 60.0 s [DISK_FULL] → make room`;
  const conditions = (severity: Severity) => change([{ ...CONDITION, severity } as typeof CONDITION]);
  expect(judged(conditions(Severity.PROBLEM))).toContain(`problem ${text}`);
  expect(judged(conditions(Severity.WARNING))).toContain(`warning ${text}`);
  expect(judged(conditions(Severity.UNSPECIFIED))).toContain(`warning ${text}`);
  expect(judged(conditions(Severity.NOTE))).toContain(`note ${text}`);
});

it('finds nodes that are missing, do not answer, are not well, or are of another version', () => {
  expect(judged({ nodes: (all) => all.slice(0, 2) })).toEqual([expect.stringMatching(/^problem .*no serve node/)]);
  const error = new FreshetError('UNAVAILABLE', 'refused');
  const silent = (all: NodeFacts[]): NodeFacts[] => all.with(2, { ...all[2]!, answer: { role: 'serve', error } });
  expect(judged({ nodes: silent })).toEqual([expect.stringMatching(/^problem serve n:3: it does not answer: refused/)]);
  expect(judged({ nodes: (all) => all.with(0, { ...all[0]!, healthy: false }) })).toEqual([
    expect.stringMatching(/^problem ingest n:1: it is not healthy/),
  ]);
  expect(judged({ nodes: (all) => all.with(0, { ...all[0]!, ready: false }) })).toEqual([
    expect.stringMatching(/^warning ingest n:1: it is not ready/),
  ]);
  const of = (version: string, runtime: string) => (all: NodeFacts[]) =>
    all.with(1, { ...all[1]!, node: { ...all[1]!.node, version, runtime } });
  expect(judged({ nodes: of('0.2.0', RUNS.runtime) })).toEqual([
    expect.stringMatching(/^warning compute n:2: it runs Freshet 0\.2\.0/),
  ]);
  expect(judged({ nodes: of('', '') })).toEqual([expect.stringMatching(/unknown, older version/)]);
  expect(judged({ nodes: of('0.1.0', 'node v22.1.0') })).toEqual([
    expect.stringMatching(/^warning .*it runs on node v22/),
  ]);
  expect(judged({ nodes: of('0.1.0', 'node v24.9.9') })).toEqual([]);
});

it('finds sources that stand still, quarantined records, and a log that cannot keep its limits', () => {
  const source = (change: object) => judged({ ingest: { sources: [{ database: 'shop', ...change }] } });
  const problem = { code: 'SLOT_LOST', message: 'the slot is lost', remedy: 'resync' };
  expect(source({ state: SourceState.HALTED, problem })).toEqual([
    'problem ingest n:1: database shop is not captured: the slot is lost → resync',
  ]);
  expect(source({ state: SourceState.CONNECTING, routes: [] })).toEqual([
    expect.stringMatching(/^note .*no definitions/),
  ]);
  expect(source({ state: SourceState.CONNECTING, routes: [1] })).toEqual([expect.stringMatching(/^warning/)]);
  expect(source({ state: SourceState.CONNECTING, problem })).toEqual([expect.stringMatching(/^warning/)]);
  expect(source({ state: SourceState.SNAPSHOT })).toEqual([expect.stringMatching(/^note/)]);
  expect(judged({ ingest: { quarantined: 1_234n } })).toEqual([
    expect.stringMatching(/^warning .*1,234 records are in quarantine/),
  ]);
  expect(judged({ ingest: { partitions: [{ partition: 5, overrun: 'no checkpoint' }] } })).toEqual([
    expect.stringMatching(/^warning .*partition 5 of the log: no checkpoint/),
  ]);
});

it('finds shards without a checkpoint, with an old one, and such as were repaired', () => {
  const shard = (change: object) => ({
    compute: {
      shards: [0, 1].map((n) => ({
        shard: n,
        logTimeUs: just,
        definitionsGeneration: 3n,
        committed: 9n,
        position: 9n,
        ...change,
      })),
    },
  });
  const checkpoints = (position: bigint, ageUs: number) => [{ position, takenAtUs: BigInt(NOW_US - ageUs) }];
  expect(judged(shard({ checkpoints: [] }))).toEqual([
    expect.stringMatching(/^note .*shards 0, 1 have no checkpoint yet/),
  ]);
  expect(judged(shard({ checkpoints: checkpoints(5n, 60_000_000) }))).toEqual([]);
  expect(judged(shard({ checkpoints: checkpoints(5n, 7_200_000_000) }))).toEqual([
    expect.stringMatching(/^warning .*no new checkpoint for more than 60 min/),
  ]);
  // Nothing was folded since: there is nothing to checkpoint.
  expect(judged(shard({ checkpoints: checkpoints(9n, 7_200_000_000) }))).toEqual([]);
  expect(judged(shard({ checkpoints: checkpoints(9n, 0), repairs: 1 }))).toEqual([
    expect.stringMatching(/^note .*shards 0, 1 were damaged and made anew/),
  ]);
});

it('finds shards that nobody folds, that are behind, and replicas that are stale or cut off', () => {
  const shard = (logTimeUs: bigint) => ({ shard: 0, logTimeUs, definitionsGeneration: 3n });
  expect(judged({ compute: { shards: [shard(just)] } })).toEqual([
    expect.stringMatching(/^problem .*nobody folds shards 1 /),
  ]);
  const both = (ageUs: number) => ({
    compute: { shards: [{ ...shard(BigInt(NOW_US - ageUs)), shard: 1 }, shard(just)] },
  });
  expect(judged(both(30_000_000))).toEqual([
    expect.stringMatching(/^warning compute n:2: its shards are folded through 30\.0 s ago/),
  ]);
  expect(judged(both(300_000_000))).toEqual([expect.stringMatching(/^problem compute n:2/)]);
  const replica = (change: object) =>
    judged({ serve: { shards: [{ shard: 0, completeThroughUs: just, connected: true, ...change }] } });
  expect(replica({ connected: false })).toEqual([
    expect.stringMatching(/^warning serve n:3: it has no upstream for shards 0;/),
  ]);
  expect(replica({ completeThroughUs: BigInt(NOW_US - 20_000_000) })).toEqual([
    expect.stringMatching(/^warning serve n:3: it is complete through 20\.0 s ago/),
  ]);
  expect(replica({ catchingUp: true })).toEqual([expect.stringMatching(/^note .*1 shards are catching up/)]);
  expect(judged({ serve: { servingGeneration: 2n, knownGeneration: 3n } })).toEqual([
    expect.stringMatching(/^note .*serves generation 2/),
  ]);
  expect(judged({ registry: { generation: 4n } })).toEqual([
    expect.stringMatching(/^note ingest n:1: it has the definitions of generation 3; 4 is in force/),
    expect.stringMatching(/^note compute n:2/),
  ]);
});
