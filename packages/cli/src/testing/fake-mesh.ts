/**
 * For tests: fake nodes over real gRPC that answer with stated messages, and the command run in this process against
 * them with everything it writes kept.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { ComputeService, type GetComputeStatusResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { IngestService, type SnapshotProgressSchema, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import {
  ChangeKind,
  type PlanDefinitionsResponseSchema,
  RegistryService,
  Role,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type GetFeaturesRequest, ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { createGrpcServer, type GrpcServer, type Handlers } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VERSION } from '@freshet/kit/version.ts';
import type { Terminal } from '../output/terminal.ts';
import { runCli } from '../program.ts';

export const NOW_US = 1_800_000_000_000_000;
const stoppedClock: Clock = { ...systemClock, nowUs: () => NOW_US };

export interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command as if nobody sat at a terminal, unless told otherwise. */
export async function runFreshet(args: readonly string[], over: Partial<Terminal> = {}): Promise<Run> {
  let out = '';
  let err = '';
  const code = await runCli(args, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    interactive: false,
    colours: false,
    env: {},
    signal: new AbortController().signal,
    clock: stoppedClock,
    confirm: undefined,
    onImpatience: () => {},
    ...over,
  });
  return { code, out, err };
}

export interface FakeMesh {
  readonly registry: string;
  readonly serve: string;
  /** The plan hashes that were applied. */
  readonly applied: Uint8Array[];
  /** The requests for features. */
  readonly asked: GetFeaturesRequest[];
  close(): Promise<void>;
}

export const PLAN: MessageInitShape<typeof PlanDefinitionsResponseSchema> = {
  planHash: new Uint8Array([1, 2, 3]),
  changes: [
    {
      kind: ChangeKind.ADDED,
      subject: 'view user_clicks',
      effect: 'is built from a first snapshot of its source',
      services: ['recommendations'],
    },
    { kind: ChangeKind.DROPPED, subject: 'view old', effect: 'is no longer folded' },
  ],
  resolved: {
    generation: 3n,
    views: [{ name: 'user_clicks', features: [{ name: 'n' }] }],
    services: [{ name: 'recommendations' }],
  },
  notes: ['Source clicks has no event time.'],
};

const CLICKS = { database: 'crm', schema: 'public', table: 'clicks' };
/** What ingest says of a table that it may not read. */
const BARRED = { message: 'user app may not read public.clicks', remedy: 'GRANT SELECT ON public.clicks TO app;' };
/** A server that is well, less a role that may replicate. */
const DIAGNOSED = {
  version: 180_004,
  walLevel: 'logical',
  replicationSlotsMax: 10,
  walSendersMax: 10,
  slotWalKeepBytes: 1n,
  mayCreate: true,
  user: 'app',
};

export interface FakeMeshOptions {
  plan?: MessageInitShape<typeof PlanDefinitionsResponseSchema>;
  serve?: Handlers<typeof ServeService>;
  shards?: () => MessageInitShape<typeof GetComputeStatusResponseSchema>;
  /** How far the first source's initial rows are. */
  snapshot?: () => MessageInitShape<typeof SnapshotProgressSchema>;
  withoutNodes?: boolean;
  /** What ingest's clock shows; 0: it does not tell. */
  ingestNowUs?: bigint;
}

/** Nodes that answer with stated messages, on free ports, known to a registry of their own. */
export async function startFakeMesh(over: FakeMeshOptions = {}): Promise<FakeMesh> {
  const servers: GrpcServer[] = [];
  const host = async (add: (server: GrpcServer) => GrpcServer): Promise<string> => {
    const server = add(createGrpcServer({ log: silentLogger }));
    servers.push(server);
    return (await server.listen('127.0.0.1:0')).address;
  };
  const applied: Uint8Array[] = [];
  const asked: GetFeaturesRequest[] = [];
  const ingest = await host((server) =>
    server.add(IngestService, {
      getIngestStatus: async () => ({
        nowUs: over.ingestNowUs ?? 0n,
        definitionsGeneration: 3n,
        records: 12_345n,
        bytes: 999_999n,
        quarantined: 5n,
        alone: [{ source: 'clicks', route: 1, rows: 3n }],
        held: [
          {
            source: 'orders',
            table: 'default/public.orders',
            route: 2,
            rows: 2n,
            bytes: 1_234n,
            reason: 'column amount is called total now',
            contractVersion: 3,
            sinceUs: BigInt(NOW_US - 90_000_000),
          },
        ],
        sources: [
          {
            database: 'default',
            state: SourceState.STREAMING,
            routes: [1, 2],
            durableLsn: 0x1_0000_00a0n,
            serverLsn: 0x1_0000_0100n,
            commits: 1000n,
            rows: 4000n,
            ...(over.snapshot === undefined ? {} : { snapshot: over.snapshot() }),
          },
          {
            database: 'crm',
            state: SourceState.HALTED,
            problem: { code: 'SLOT_LOST', message: 'the slot is lost', remedy: 'DROP the slot' },
          },
        ],
      }),
      diagnoseSources: async ({ tables }) => ({
        databases: [
          {
            database: 'crm',
            slotName: 'freshet_crm',
            server: DIAGNOSED,
            named: tables.map(({ schema, table }) => ({ schema, table, problems: [BARRED] })),
          },
          { database: 'default', target: 'app@db:5432/shop', failure: { message: 'nobody answers' } },
        ],
      }),
    }),
  );
  const shards =
    over.shards ??
    (() => ({
      shards: [0, 1].map((shard) => ({
        shard,
        position: 500n,
        logEnd: 510n,
        logTimeUs: BigInt(NOW_US - 12_000),
        definitionsGeneration: 3n,
        keys: 42n,
        followers: 1,
      })),
    }));
  const compute = await host((server) => server.add(ComputeService, { getComputeStatus: async () => shards() }));
  const serve = await host((server) =>
    server.add(ServeService, {
      getServeStatus: async () => ({
        servingGeneration: 3n,
        knownGeneration: 4n,
        rows: 1234n,
        onDemand: [{ service: 'checkout', feature: 'ratio', errors: 12n, lastError: 'division by zero' }],
        shards: [
          { shard: 0, position: 500n, completeThroughUs: BigInt(NOW_US - 3_000), connected: true },
          { shard: 1, position: 3n, catchingUp: true },
        ],
      }),
      listServices: async () => ({
        services: [
          {
            name: 'recommendations',
            keys: [{ name: 'user_id', kind: Kind.INT64 }],
            request: [
              { name: 'cart_total', type: { kind: Kind.DOUBLE } },
              { name: 'country', type: { kind: Kind.STRING } },
              { name: 'tags', type: { kind: Kind.LIST, element: Kind.INT64 } },
            ],
          },
        ],
      }),
      getFeatures: async (request) => {
        asked.push(request);
        return {
          asOfUs: BigInt(NOW_US),
          completeThroughUs: BigInt(NOW_US - 4_200),
          columns: [
            { name: 'user_clicks:n', values: { int64s: [9007199254740993n, 0n] } },
            {
              name: 'user_clicks:last',
              values: { timestamps: [1_700_000_000_000_001n, 0n], statuses: [ValueStatus.PRESENT, ValueStatus.ABSENT] },
            },
            {
              name: 'products:score',
              values: { doubles: [Number.NaN, 0.5], statuses: [ValueStatus.PRESENT, ValueStatus.DEFAULTED] },
            },
          ],
          rows: [
            { view: 'user_clicks', versionsPlusOne: [8n, 0n], eventTimesUs: [1_700_000_000_000_001n, 0n] },
            { view: 'products', versionsPlusOne: [1n, 1n], eventTimesUs: [0n, 0n] },
          ],
        };
      },
      ...over.serve,
    }),
  );
  const registry = await host((server) =>
    server.add(RegistryService, {
      planDefinitions: async () => over.plan ?? PLAN,
      applyDefinitions: async ({ planHash }) => {
        applied.push(planHash);
        return { generation: 3n };
      },
      getDefinitions: async () => ({
        definitions: {
          sources: ['clicks', 'views'].map((name) => ({ name, origin: { case: 'postgres' as const, value: CLICKS } })),
        },
        resolved: {
          generation: 3n,
          services: [{ name: 'recommendations' }],
          views: [{ name: 'user_clicks', entity: { name: 'user', key: [{ name: 'user_id', kind: Kind.STRING }] } }],
        },
      }),
      getRegistryStatus: async () => ({ version: VERSION, generation: 3n, nowUs: BigInt(NOW_US) }),
      async *watchTopology() {
        yield over.withoutNodes === true
          ? { nodes: [] }
          : {
              nodes: [
                { nodeId: 'compute-1', role: Role.COMPUTE, address: compute, shards: [0, 1] },
                { nodeId: 'ingest-1', role: Role.INGEST, address: ingest },
                { nodeId: 'serve-1', role: Role.SERVE, address: serve },
              ],
            };
      },
    }),
  );
  return {
    registry,
    serve,
    applied,
    asked,
    close: async () => {
      await Promise.all(servers.map((server) => server.drain(50)));
    },
  };
}
