/** What a compute node tells at /metrics, made of its status and its upkeep. Pure. */
import type { GetComputeStatusResponse, ShardStatus } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { conditionMetrics } from '@freshet/kit/metrics/condition-metrics.ts';
import { counter, gauge, type MetricFamily, type Sample } from '@freshet/kit/metrics/exposition.ts';
import type { NodeUpkeep } from './node-upkeep.ts';

/** What is told also of a shard that does not run now. */
export type KeptShards = Pick<NodeUpkeep, 'numbers' | 'repairs' | 'restores' | 'checkpoints' | 'scrubbedAtUs'>;

export function computeMetrics(status: GetComputeStatusResponse, kept: KeptShards): MetricFamily[] {
  const running = new Set(status.shards.map(({ shard }) => shard));
  const each = (value: (shard: ShardStatus) => number | bigint): Sample[] =>
    status.shards.map((shard) => ({ labels: { shard: shard.shard }, value: value(shard) }));
  const all = (value: (shard: number) => number): Sample[] =>
    kept.numbers.map((shard) => ({ labels: { shard }, value: value(shard) }));
  return [
    ...conditionMetrics(status.conditions),
    gauge(
      'freshet_shard_running',
      'Whether a shard runs; one that does not is halted, being restored, or tried again',
      all((shard) => Number(running.has(shard))),
    ),
    counter(
      'freshet_shard_repairs_total',
      "How often a shard's store was put aside and made anew since the process started",
      all((shard) => kept.repairs(shard)),
    ),
    counter(
      'freshet_shard_restores_total',
      'How often a shard was restored from a checkpoint since the process started',
      all((shard) => kept.restores(shard)),
    ),
    gauge(
      'freshet_shard_checkpoints',
      'Verified checkpoints of a shard that are kept',
      all((shard) => kept.checkpoints(shard).length),
    ),
    gauge(
      'freshet_shard_checkpoint_position',
      'How many records the newest of them covers; 0: there is none',
      all((shard) => kept.checkpoints(shard)[0]?.position ?? 0),
    ),
    gauge(
      'freshet_shard_scrubbed_timestamp_seconds',
      'When all that a shard stores was last read through and found whole; 0: not since the process started',
      all((shard) => kept.scrubbedAtUs(shard) / 1e6),
    ),
    ...foldMetrics(each),
    gauge(
      'freshet_shard_followers',
      'Who follows a shard now',
      each(({ followers }) => followers),
    ),
    gauge('freshet_log_partitions', 'How many partitions the log has', status.partitions),
  ];
}

function foldMetrics(each: (value: (shard: ShardStatus) => number | bigint) => Sample[]): MetricFamily[] {
  return [
    gauge(
      'freshet_shard_position',
      'How many records a shard has folded',
      each(({ position }) => position),
    ),
    gauge(
      'freshet_shard_log_end',
      'How many records its partition of the log has, as last heard',
      each(({ logEnd }) => logEnd),
    ),
    gauge(
      'freshet_shard_lag_records',
      'How many records are there and not folded yet',
      each(({ logEnd, position }) => (logEnd > position ? logEnd - position : 0n)),
    ),
    gauge(
      'freshet_shard_committed',
      'How many records the last commit covers',
      each(({ committed }) => committed),
    ),
    gauge(
      'freshet_shard_log_time_seconds',
      'The log time of the last record folded, seconds since the Unix epoch',
      each(({ logTimeUs }) => Number(logTimeUs) / 1e6),
    ),
    gauge(
      'freshet_definitions_generation',
      'The generation of the definitions in force',
      each(({ definitionsGeneration }) => definitionsGeneration),
    ),
    gauge(
      'freshet_shard_builds',
      'Views that are being built, and those of which a new generation is',
      each(({ builds }) => builds.length),
    ),
    gauge(
      'freshet_shard_keys',
      'Keys with state, over all views',
      each(({ keys }) => keys),
    ),
    gauge(
      'freshet_shard_cache_bytes',
      'Bytes of state held in memory',
      each(({ cacheBytes }) => cacheBytes),
    ),
    counter(
      'freshet_expired_events_total',
      'Events that no window reached any more, since the state was made',
      each(({ expiredEvents }) => expiredEvents),
    ),
    counter(
      'freshet_expression_errors_total',
      'Rows for which a CEL expression failed, since the state was made',
      each(({ expressionErrors }) => expressionErrors),
    ),
    counter(
      'freshet_join_misses_total',
      'How often a joined table had no row for a row folded, since the state was made',
      each(({ joinMisses }) => joinMisses),
    ),
    counter(
      'freshet_unknown_contract_rows_total',
      'Rows left out because the log never told the contract that they name, since the state was made',
      each(({ unknownContracts }) => unknownContracts),
    ),
  ];
}
