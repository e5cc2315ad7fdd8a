/**
 * GetFeatures of 10 features for 1, 10 and 100 entities, in calls per second, against a bare grpc-js server that returns
 * a fixed buffer of the same size. The serve node is the real process of a real mesh, with 10,000 entities. And the same
 * calls with five on-demand features more, against those without, turn by turn in the same run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { clone, create, toBinary } from '@bufbuild/protobuf';
import {
  type GetFeaturesRequest,
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
  RequestColumnSchema,
  ServeService,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { untilServed } from '../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../test/support/mesh-under-test.ts';
import { callsPerSecond, requireH2load, writeGrpcFrame } from './h2load.ts';
import type { BenchResult } from './main.ts';
import { interleave, round } from './statistics.ts';

const ENTITIES = 10_000;
const SECONDS = 4;
// What the inserts left to do (commits, flushes, compaction) would count against the first measurement.
const SETTLE_MS = 5000;
const SCHEMA = `CREATE TABLE activity (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL, kind text NOT NULL,
  amount double precision, quantity bigint, at timestamptz NOT NULL)`;
const DEFINITIONS = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: activity
mode: append
postgres: { table: public.activity }
event_time: at
---
kind: FeatureView
name: stats
entity: user
source: activity
features:
  n_5m: { count: {}, rolling: 5m }
  n_1h: { count: {}, rolling: 1h }
  n_24h: { count: {}, rolling: 24h }
  n: { count: {} }
  spend_1h: { sum: amount, rolling: 1h }
  spend_24h: { sum: amount, rolling: 24h }
  mean_24h: { mean: amount, rolling: 24h }
  most_24h: { max: amount, rolling: 24h }
  items_24h: { sum: quantity, rolling: 24h }
  last_at: { last: at }
---
kind: FeatureService
name: bench
features: ["stats:*"]
---
kind: FeatureService
name: on_demand
features: ["stats:*"]
request: { cart_total: double, country: string }
on_demand:
  cart_vs_hour: cart_total / (spend_1h + 1.0)
  share: { expression: spend_1h / spend_24h, default: 0.0 }
  is_much: cart_vs_hour > 3.0 && country != "DE"
  minutes: int(now - last_at) / 60
  per_item: double(items_24h) / double(n_24h)
`;

export async function benchServe(runs: number): Promise<BenchResult> {
  requireH2load();
  const under = await startMeshUnderTest({ schema: SCHEMA, definitions: DEFINITIONS });
  const serve = createGrpcClient(ServeService, under.mesh.addresses.serve);
  try {
    await under.sql`
      INSERT INTO activity (user_id, kind, amount, quantity, at)
      SELECT u, 'buy', (u % 97) * 1.37 + e, e, now() - make_interval(mins => e * 7)
      FROM generate_series(1, ${ENTITIES}) u, generate_series(1, 5) e`;
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    await sleep(SETTLE_MS);
    const result: Record<string, number> = {};
    for (const entities of [1, 10, 100]) {
      const ids = Array.from({ length: entities }, (_, i) => BigInt(1 + ((i * 7919) % ENTITIES)));
      const request = create(GetFeaturesRequestSchema, {
        service: 'bench',
        keys: [{ name: 'user_id', values: { case: 'int64s', value: { values: ids } } }],
      });
      const answer = await serve.getFeatures(request);
      const file = join(under.directory, `request-${entities}`);
      writeGrpcFrame(file, toBinary(GetFeaturesRequestSchema, request));
      const bare = await startBareServer(toBinary(GetFeaturesResponseSchema, answer).length);
      const measured = await interleave(
        runs,
        () => callsPerSecond(under.mesh.addresses.serve, '/freshet.serve.v1.ServeService/GetFeatures', file, SECONDS),
        () => callsPerSecond(bare.address, '/bare.Bare/Get', file, SECONDS),
      );
      bare.stop();
      result[`calls_${entities}`] = Math.round(measured.subject);
      result[`bare_${entities}`] = Math.round(measured.baseline);
      result[`ratio_${entities}`] = round(measured.ratio, 3);
      Object.assign(result, await withOnDemand(under, request, file, entities, runs));
    }
    return result;
  } finally {
    serve.close();
    await under.close();
  }
}

/** Calls a second with on-demand features, and what part that is of the same calls without. */
async function withOnDemand(
  under: MeshUnderTest,
  request: GetFeaturesRequest,
  without: string,
  entities: number,
  runs: number,
): Promise<Record<string, number>> {
  const more = clone(GetFeaturesRequestSchema, request);
  more.service = 'on_demand';
  more.request = [
    create(RequestColumnSchema, { name: 'cart_total', values: { doubles: [120.5] } }),
    create(RequestColumnSchema, { name: 'country', values: { strings: ['FR'] } }),
  ];
  const file = join(under.directory, `request-on-demand-${entities}`);
  writeGrpcFrame(file, toBinary(GetFeaturesRequestSchema, more));
  const call = (path: string) => (): Promise<number> =>
    callsPerSecond(under.mesh.addresses.serve, '/freshet.serve.v1.ServeService/GetFeatures', path, SECONDS);
  const measured = await interleave(runs, call(file), call(without));
  return {
    [`on_demand_${entities}`]: Math.round(measured.subject),
    [`on_demand_ratio_${entities}`]: round(measured.ratio, 3),
  };
}

async function startBareServer(bytes: number): Promise<{ address: string; stop(): void }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'bare-server.ts'), String(bytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { address: line.toString().trim(), stop: () => void child.kill() };
}
