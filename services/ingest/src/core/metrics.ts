/** What an ingest node tells at /metrics, made of its status. Pure. */
import {
  type GetIngestStatusResponse,
  type SourceStatus,
  SourceState as State,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { conditionMetrics } from '@freshet/kit/metrics/condition-metrics.ts';
import { counter, gauge, type MetricFamily, type Sample } from '@freshet/kit/metrics/exposition.ts';

/** What the status does not have. */
export interface FoundByReading {
  /** Places of the log that are damaged. */
  readonly logDamage: number;
  /** When all of the log was last read through, microseconds; undefined: not since the process started. */
  readonly logScrubbedUs: number | undefined;
  /** Lines of the quarantine that were damaged when it was opened. */
  readonly quarantineDamage: number;
}

export function ingestMetrics(status: GetIngestStatusResponse, found: FoundByReading): MetricFamily[] {
  return [
    ...conditionMetrics(status.conditions),
    ...sourceMetrics(status.sources),
    ...logMetrics(status, found),
    ...quarantineMetrics(status, found),
    gauge(
      'freshet_definitions_generation',
      'The generation of the definitions last written to the log',
      status.definitionsGeneration,
    ),
  ];
}

function sourceMetrics(sources: readonly SourceStatus[]): MetricFamily[] {
  const each = (value: (source: SourceStatus) => number | bigint): Sample[] =>
    sources.map((source) => ({ labels: { database: source.database }, value: value(source) }));
  return [
    gauge(
      'freshet_source_streaming',
      'Whether a database is being captured as it changes',
      each(({ state }) => Number(state === State.STREAMING)),
    ),
    gauge(
      'freshet_source_routes',
      'Routes of a database that are captured',
      each(({ routes }) => routes.length),
    ),
    counter(
      'freshet_source_commits_total',
      'Commits captured since the process started',
      each(({ commits }) => commits),
    ),
    counter(
      'freshet_source_rows_total',
      'Rows captured since the process started',
      each(({ rows }) => rows),
    ),
    counter(
      'freshet_source_unkeyed_rows_total',
      'Rows whose key on a route is null, since the process started: they belong to no entity',
      each(({ unkeyed }) => unkeyed),
    ),
    gauge(
      'freshet_source_lag_bytes',
      "How much of the database's WAL is not durable in the log yet, as last heard",
      each(({ serverLsn, durableLsn }) => (serverLsn > durableLsn ? serverLsn - durableLsn : 0n)),
    ),
    gauge(
      'freshet_source_snapshot_rows',
      'Initial rows read so far; absent while none are read',
      sources.flatMap(({ database, snapshot }) =>
        snapshot === undefined ? [] : [{ labels: { database }, value: snapshot.rows }],
      ),
    ),
  ];
}

function logMetrics(
  { partitions, records, bytes }: GetIngestStatusResponse,
  { logDamage, logScrubbedUs }: FoundByReading,
): MetricFamily[] {
  const each = (value: (partition: (typeof partitions)[number]) => number | bigint): Sample[] =>
    partitions.map((partition) => ({ labels: { partition: partition.partition }, value: value(partition) }));
  return [
    counter('freshet_log_records_total', 'Records of sources appended since the process started', records),
    counter('freshet_log_record_bytes_total', 'Bytes of them', bytes),
    gauge(
      'freshet_log_start',
      'The offset of the first record that is still there',
      each(({ start }) => start),
    ),
    gauge(
      'freshet_log_end',
      'The offset that the next record will have',
      each(({ end }) => end),
    ),
    gauge(
      'freshet_log_bytes',
      'What a partition holds on disk',
      each((partition) => partition.bytes),
    ),
    gauge(
      'freshet_log_overrun',
      'Whether the limits of age or bytes cannot be kept in a partition',
      each(({ overrun }) => Number(overrun !== '')),
    ),
    gauge('freshet_log_damaged_places', 'Places of the log that are damaged', logDamage),
    gauge(
      'freshet_log_scrubbed_timestamp_seconds',
      'When all of the log was last read through; 0: not since the process started',
      (logScrubbedUs ?? 0) / 1e6,
    ),
  ];
}

function quarantineMetrics(
  { quarantined, held, alone }: GetIngestStatusResponse,
  { quarantineDamage }: FoundByReading,
): MetricFamily[] {
  return [
    gauge('freshet_quarantine_entries', 'Rows in quarantine', quarantined),
    gauge('freshet_quarantine_held_tables', 'Tables that are held, by generation', held.length),
    gauge(
      'freshet_quarantine_held_rows',
      'Rows that are held of them, in order',
      held.reduce((sum, table) => sum + table.rows, 0n),
    ),
    gauge(
      'freshet_quarantine_alone_rows',
      'Rows that were put aside alone',
      alone.reduce((sum, { rows }) => sum + rows, 0n),
    ),
    gauge(
      'freshet_quarantine_damaged_lines',
      'Lines of the quarantine that were damaged when it was opened',
      quarantineDamage,
    ),
  ];
}
