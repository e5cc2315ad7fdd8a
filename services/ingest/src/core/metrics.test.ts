/** Goal: damage, what is held, and lag are told as they are. Method: a status and what was found, as text read back. */
import { create } from '@bufbuild/protobuf';
import { GetIngestStatusResponseSchema, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { expositionOf } from '@freshet/kit/metrics/exposition.ts';
import { readExposition } from '@freshet/kit/metrics/read-exposition.testing.ts';
import { expect, it } from 'vitest';
import { ingestMetrics } from './metrics.ts';

it('tells of databases, partitions, the log and the quarantine', () => {
  const status = create(GetIngestStatusResponseSchema, {
    sources: [
      { database: 'shop', state: SourceState.STREAMING, commits: 2n, rows: 9n, durableLsn: 70n, serverLsn: 100n },
      { database: 'crm', state: SourceState.SNAPSHOT, durableLsn: 5n, snapshot: { rows: 11n } },
    ],
    partitions: [{ partition: 0, start: 1n, end: 4n, overrun: 'too large' }, { partition: 1 }],
    quarantined: 8n,
    held: [{ rows: 3n }, { rows: 4n }],
    alone: [{ rows: 1n }],
  });
  const found = { logDamage: 2, logScrubbedUs: 3_000_000, quarantineDamage: 6 };
  const samples = readExposition(expositionOf(ingestMetrics(status, found)));
  const of = (metric: string): unknown[] =>
    samples.filter(({ name }) => name === metric).map(({ labels, value }) => [...Object.values(labels), value]);
  expect(of('freshet_source_streaming')).toEqual([
    ['shop', 1],
    ['crm', 0],
  ]);
  expect(of('freshet_source_commits_total')).toEqual([
    ['shop', 2],
    ['crm', 0],
  ]);
  expect(of('freshet_source_rows_total')).toEqual([
    ['shop', 9],
    ['crm', 0],
  ]);
  expect(of('freshet_source_lag_bytes')).toEqual([
    ['shop', 30],
    ['crm', 0],
  ]);
  expect(of('freshet_source_snapshot_rows')).toEqual([['crm', 11]]);
  expect(of('freshet_log_end')).toEqual([
    ['0', 4],
    ['1', 0],
  ]);
  expect(of('freshet_log_overrun')).toEqual([
    ['0', 1],
    ['1', 0],
  ]);
  expect(of('freshet_log_damaged_places')).toEqual([[2]]);
  expect(of('freshet_log_scrubbed_timestamp_seconds')).toEqual([[3]]);
  expect(of('freshet_quarantine_damaged_lines')).toEqual([[6]]);
  expect(
    ['entries', 'held_tables', 'held_rows', 'alone_rows'].flatMap((name) => of(`freshet_quarantine_${name}`)),
  ).toEqual([[8], [2], [7], [1]]);
});
