/** Goal: how old reads are is told of shards of which it is known, and of no other. Method: a status, as text read back. */
import { create } from '@bufbuild/protobuf';
import { GetServeStatusResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { expositionOf } from '@freshet/kit/metrics/exposition.ts';
import { readExposition } from '@freshet/kit/metrics/read-exposition.testing.ts';
import { expect, it } from 'vitest';
import { serveMetrics } from './metrics.ts';

it('tells of shards, heals and on-demand features', () => {
  const status = create(GetServeStatusResponseSchema, {
    shards: [
      { shard: 0, completeThroughUs: 4_000_000n, connected: true },
      { shard: 1, healing: true, standstillUs: 2_500_000n, building: [new Uint8Array(16)] },
    ],
    onDemand: [{ service: 'shop "a"', feature: 'ratio', errors: 5n, lastError: 'division by zero' }],
  });
  const text = expositionOf(serveMetrics(status, { damages: 1, heals: 2, bootstraps: 3 }, 5_250_000));
  const samples = readExposition(text);
  const of = (metric: string): unknown[] =>
    samples.filter(({ name }) => name === metric).map(({ labels, value }) => [...Object.values(labels), value]);
  expect(of('freshet_replica_completeness_age_seconds')).toEqual([['0', 1.25]]);
  expect(of('freshet_replica_standstill_seconds')).toEqual([
    ['0', 0],
    ['1', 2.5],
  ]);
  expect(of('freshet_replica_connected')).toEqual([
    ['0', 1],
    ['1', 0],
  ]);
  expect(of('freshet_replica_healing')).toEqual([
    ['0', 0],
    ['1', 1],
  ]);
  expect(of('freshet_replica_incomplete_views')).toEqual([
    ['0', 0],
    ['1', 1],
  ]);
  expect(['damages', 'heals', 'bootstraps'].flatMap((name) => of(`freshet_replica_${name}_total`))).toEqual([
    [1],
    [2],
    [3],
  ]);
  expect(of('freshet_on_demand_errors_total')).toEqual([['shop "a"', 'ratio', 5]]);
  expect(text).not.toContain('division');
});
