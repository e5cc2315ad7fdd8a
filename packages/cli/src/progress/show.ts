/** Progress in words and as JSON. Owns what is said; where it is written is until-served.ts. */
import { countText, durationText } from '../output/values.ts';
import type { Progress, SourceProgress, ViewProgress } from './measure.ts';
import type { Rates } from './rates.ts';

const VIEWS_SHOWN_MAX = 12;

/** The sums, in one line. */
export function summaryText({ shardsDone, shards, builds, servesDone, serves, rows }: Progress): string {
  const records = builds.reduce((sum, { end }) => sum + end, 0);
  const done = builds.reduce((sum, { position, end }) => sum + Math.min(position, end), 0);
  const building = records > 0 ? `, ${countText(done)} of ${countText(records)} records folded` : '';
  const compute = shards === 0 ? 'compute: no node is there' : `compute: ${shardsDone} of ${shards} shards${building}`;
  const serve =
    serves === 0 ? 'serve: no node is there' : `serve: ${servesDone} of ${serves} nodes, ${countText(rows)} rows`;
  return `${compute} · ${serve}`;
}

/** Everything that is waited for, a line each, the sums first. */
export function progressLines(progress: Progress, rates: Rates): string[] {
  const { sources, views, unreached } = progress;
  const lines = [summaryText(progress)];
  for (const source of sources) if (source.state !== 'streaming') lines.push(`  ${sourceText(source, rates)}`);
  for (const view of views.slice(0, VIEWS_SHOWN_MAX)) lines.push(`  ${viewText(view, rates)}`);
  if (views.length > VIEWS_SHOWN_MAX) lines.push(`  … and ${views.length - VIEWS_SHOWN_MAX} more views`);
  for (const node of unreached) lines.push(`  ${node} does not answer`);
  return lines;
}

function sourceText({ database, state, rows, problem }: SourceProgress, rates: Rates): string {
  const rate = rates.rowsPerS(database);
  const speed = rate === undefined || rate <= 0 ? '' : `, ${countText(Math.round(rate))} rows/s`;
  const read = state === 'snapshot' ? `, ${countText(rows)} rows read${speed}` : '';
  return `source ${database}: ${state}${read}${problem === '' ? '' : `: ${problem}`}`;
}

function viewText(progress: ViewProgress, rates: Rates): string {
  const { view, shardsDone, shards, replicaShardsDone, replicaShards } = progress;
  const parts = [`view ${view}: ${shardsDone} of ${shards} shards`];
  const build = rates.ofView(view);
  if (build !== undefined && build.records > 0) {
    parts.push(`${countText(build.recordsDone)} of ${countText(build.records)} records (${percent(build)} %)`);
    if (build.recordsPerS !== undefined) parts.push(`${countText(Math.round(build.recordsPerS))} records/s`);
    if (build.leftUs !== undefined) parts.push(`${durationText(Math.round(build.leftUs))} left`);
  }
  if (replicaShards > 0) parts.push(`replicas have ${replicaShardsDone} of ${replicaShards} shards`);
  return parts.join(', ');
}

function percent({ recordsDone, records }: { readonly recordsDone: number; readonly records: number }): number {
  return Math.floor((100 * recordsDone) / records);
}

/** The same for programs. */
export function progressJson(generation: bigint, progress: Progress, rates: Rates): Record<string, unknown> {
  const { sources, shards, shardsDone, views, serves, servesDone, rows, unreached } = progress;
  return {
    generation: generation.toString(),
    sources: sources.map(({ database, state, rows: read, problem }) => ({
      database,
      state,
      rows: read,
      rowsPerS: rates.rowsPerS(database) ?? null,
      ...(problem === '' ? {} : { problem }),
    })),
    compute: { shards, shardsDone },
    views: views.map(({ view, ...counts }) => {
      const build = rates.ofView(view);
      return {
        view,
        ...counts,
        ...(build === undefined
          ? {}
          : {
              recordsDone: build.recordsDone,
              records: build.records,
              recordsPerS: build.recordsPerS ?? null,
              leftUs: build.leftUs === undefined ? null : Math.round(build.leftUs),
            }),
      };
    }),
    serve: { nodes: serves, nodesDone: servesDone, rows: rows.toString() },
    unreached,
  };
}
