/** Progress in words and as JSON. Owns what is said; where it is written is until-served.ts. */
import { countText, durationText } from '../output/values.ts';
import type { Progress, SourceProgress, ViewProgress } from './measure.ts';
import type { Rates, SnapshotEstimate } from './rates.ts';

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

function sourceText({ database, state, problem }: SourceProgress, rates: Rates): string {
  const snapshot = rates.ofSnapshot(database);
  const far = snapshot === undefined ? '' : `, ${snapshotText(snapshot)}`;
  return `source ${database}: ${state}${far}${problem === '' ? '' : `: ${problem}`}`;
}

function snapshotText({ step, rows, rowsExpected, rowsPerS, leftUs }: SnapshotEstimate): string {
  const isReading = step === 'reading';
  const about = isReading ? 'about ' : '';
  const of = rowsExpected === undefined || rows > rowsExpected ? '' : ` of ${about}${countText(rowsExpected)}`;
  const parts = [`${countText(rows)}${of} rows ${isReading ? 'read' : 'appended'}`];
  if (rowsPerS !== undefined && rowsPerS > 0) parts.push(`${countText(Math.round(rowsPerS))} rows/s`);
  // Reading is the first of two steps, and says nothing of how long the other takes.
  const until = isReading ? ' until they are appended' : ' left';
  if (leftUs !== undefined) parts.push(`about ${durationText(Math.round(leftUs))}${until}`);
  return parts.join(', ');
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

function snapshotJson(snapshot: SnapshotEstimate | undefined): Record<string, unknown> {
  if (snapshot === undefined) return {};
  const { rowsExpected, rowsPerS, leftUs, ...counts } = snapshot;
  const left = leftUs === undefined ? null : Math.round(leftUs);
  return { snapshot: { ...counts, rowsExpected: rowsExpected ?? null, rowsPerS: rowsPerS ?? null, leftUs: left } };
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
      ...snapshotJson(rates.ofSnapshot(database)),
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
