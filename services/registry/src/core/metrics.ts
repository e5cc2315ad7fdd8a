/** What the registry tells at /metrics, made of its status. Pure. */
import type { GetRegistryStatusResponse } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { conditionMetrics } from '@freshet/kit/metrics/condition-metrics.ts';
import { gauge, type MetricFamily } from '@freshet/kit/metrics/exposition.ts';

export function registryMetrics(status: GetRegistryStatusResponse): MetricFamily[] {
  return [
    ...conditionMetrics(status.conditions),
    gauge('freshet_definitions_generation', 'The generation of the definitions in force', status.generation),
    gauge(
      'freshet_definitions_bytes',
      'What the definitions in force take as a record of the log',
      status.definitionsBytes,
    ),
    gauge('freshet_nodes', 'Nodes with a live lease', status.nodes),
  ];
}
