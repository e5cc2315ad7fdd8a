/** Goal: a shard that does not run keeps its counts, and no lag is below nothing. Method: a status and what is kept, as text read back. */
import { create } from '@bufbuild/protobuf';
import { GetComputeStatusResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { expositionOf } from '@freshet/kit/metrics/exposition.ts';
import { readExposition } from '@freshet/kit/metrics/read-exposition.testing.ts';
import { expect, it } from 'vitest';
import { computeMetrics, type KeptShards } from './metrics.ts';

it('tells of shards that run, and of those that are to run', () => {
  const status = create(GetComputeStatusResponseSchema, {
    partitions: 3,
    shards: [
      { shard: 0, position: 7n, logEnd: 10n, logTimeUs: 1_500_000n, joinMisses: 2n, expiredEvents: 3n },
      // What was heard of the log's end is older than what was folded since.
      { shard: 2, position: 9n, logEnd: 8n },
    ],
  });
  const kept: KeptShards = {
    numbers: [0, 1, 2],
    repairs: (shard) => (shard === 1 ? 4 : 0),
    restores: (shard) => (shard === 1 ? 3 : 0),
    checkpoints: () => [],
    scrubbedAtUs: () => 0,
  };
  const samples = readExposition(expositionOf(computeMetrics(status, kept)));
  const of = (metric: string): unknown[] =>
    samples.filter(({ name }) => name === metric).map(({ labels, value }) => [labels['shard'], value]);
  expect(of('freshet_shard_running')).toEqual([
    ['0', 1],
    ['1', 0],
    ['2', 1],
  ]);
  expect(of('freshet_shard_repairs_total')).toEqual([
    ['0', 0],
    ['1', 4],
    ['2', 0],
  ]);
  expect(of('freshet_shard_restores_total')).toEqual([
    ['0', 0],
    ['1', 3],
    ['2', 0],
  ]);
  expect(of('freshet_shard_lag_records')).toEqual([
    ['0', 3],
    ['2', 0],
  ]);
  expect(of('freshet_shard_log_time_seconds')).toEqual([
    ['0', 1.5],
    ['2', 0],
  ]);
  expect(of('freshet_join_misses_total')).toEqual([
    ['0', 2],
    ['2', 0],
  ]);
  expect(of('freshet_expired_events_total')).toEqual([
    ['0', 3],
    ['2', 0],
  ]);
});
