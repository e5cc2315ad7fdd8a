/** What a serve node tells at /metrics, made of its status. Pure. */
import type { GetServeStatusResponse } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { conditionMetrics } from '@freshet/kit/metrics/condition-metrics.ts';
import { counter, gauge, type MetricFamily, type Sample } from '@freshet/kit/metrics/exposition.ts';
import type { ReplicaCounts } from '@freshet/replica/replica.ts';

export function serveMetrics(
  status: GetServeStatusResponse,
  counts: Readonly<ReplicaCounts>,
  nowUs: number,
): MetricFamily[] {
  const each = (value: (shard: (typeof status.shards)[number]) => number | bigint): Sample[] =>
    status.shards.map((shard) => ({ labels: { shard: shard.shard }, value: value(shard) }));
  const known = status.shards.filter(({ completeThroughUs }) => completeThroughUs > 0n);
  return [
    ...conditionMetrics(status.conditions),
    gauge(
      'freshet_replica_completeness_age_seconds',
      'How old what is read of a shard may be: now, less the log time through which everything is there; absent until it is known',
      known.map(({ shard, completeThroughUs }) => ({
        labels: { shard },
        value: (nowUs - Number(completeThroughUs)) / 1e6,
      })),
    ),
    gauge(
      'freshet_replica_standstill_seconds',
      'How long completeness of a shard has stood still',
      each(({ standstillUs }) => Number(standstillUs) / 1e6),
    ),
    gauge(
      'freshet_replica_position',
      'How many records of the log the rows of a shard reflect',
      each(({ position }) => position),
    ),
    gauge(
      'freshet_replica_connected',
      'Whether a shard is followed now',
      each(({ connected }) => Number(connected)),
    ),
    gauge(
      'freshet_replica_catching_up',
      'Whether a catch-up of a shard is under way',
      each(({ catchingUp }) => Number(catchingUp)),
    ),
    gauge(
      'freshet_replica_healing',
      'Whether the disk lost rows of a shard, so that its keys cannot be read until upstream has sent them again',
      each(({ healing }) => Number(healing)),
    ),
    gauge(
      'freshet_replica_incomplete_views',
      'Views of a shard that cannot be read there yet',
      each(({ building }) => building.length),
    ),
    counter(
      'freshet_replica_damages_total',
      "What was found damaged of the replica's files since the process started: each loss of rows, and each store put aside",
      counts.damages,
    ),
    counter('freshet_replica_heals_total', 'How often a shard that the disk had lost was whole again', counts.heals),
    counter(
      'freshet_replica_bootstraps_total',
      'How often rows of a shard were begun from nothing: for the first time, or of another log or history',
      counts.bootstraps,
    ),
    gauge('freshet_replica_rows', 'Rows held', status.rows),
    gauge('freshet_replica_row_bytes', 'Bytes of memory that they take, about', status.rowBytes),
    gauge('freshet_definitions_generation', 'The generation of the definitions in force', status.servingGeneration),
    gauge(
      'freshet_definitions_known_generation',
      'The newest generation that is known; greater while views are being built',
      status.knownGeneration,
    ),
    gauge(
      'freshet_replica_pending_generations',
      'Views that wait for a new generation of their route',
      status.pendingGenerations.length,
    ),
    counter(
      'freshet_on_demand_errors_total',
      'Values of on-demand features that could not be computed; at most 1,000 features are counted',
      status.onDemand.map(({ service, feature, errors }) => ({
        labels: { feature_service: service, feature },
        value: errors,
      })),
    ),
  ];
}
