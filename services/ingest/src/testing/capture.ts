/**
 * What the tests against a real Postgres share: databases, definitions made from the live catalog, a node that captures
 * into a memory log, and the log read as a shard reads it: without repetitions, in order.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary } from '@bufbuild/protobuf';
import { type Change, type LogRecord, LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type RoutePlan,
  RoutePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import { type FileSystem, nodeFileSystem } from '@freshet/log/file-system.ts';
import type { Log } from '@freshet/log/log.ts';
import type { MemoryLog } from '@freshet/log/memory-log.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import postgres from 'postgres';
import { contractOf } from '../core/contract.ts';
import { withValuesSince } from '../core/table-fill.ts';
import { readTable } from '../io/catalog.ts';
import { IngestNode } from '../io/ingest-node.ts';
import { parseConnectionUrl } from '../io/pg/connection-url.ts';
import { PgConnection } from '../io/pg/pg-connection.ts';
import { PostgresDatabase } from '../io/postgres-database.ts';
import { PostgresSource } from '../io/postgres-source.ts';
import { QuarantineFile } from '../io/quarantine-file.ts';

export const SLOT = 'freshet_shop';

/** A database of its own for one test. */
export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  readonly sql: postgres.Sql;
  drop(): Promise<void>;
}

let databases = 0;

export async function createDatabase(serverUrl: string): Promise<TestDatabase> {
  const name = `test_${process.pid}_${++databases}`;
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  await admin.unsafe(`CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const sql = postgres(url.href, { max: 4, onnotice: () => {} });
  return {
    name,
    url: url.href,
    sql,
    drop: async () => {
      await sql.end();
      await admin.unsafe(
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '${name}' AND active`,
      );
      // The walsender needs a moment to let go of its slot.
      for (let i = 0; i < 100; i++) {
        const [row] = await admin.unsafe(
          `SELECT count(*)::int AS n FROM pg_replication_slots WHERE database = '${name}' AND active`,
        );
        if (row?.['n'] === 0) break;
        await systemClock.sleep(20);
      }
      await admin.unsafe(
        `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '${name}'`,
      );
      await admin.unsafe(`DROP DATABASE ${name} WITH (FORCE)`);
      await admin.end();
    },
  };
}

export interface RouteRequest {
  readonly route: number;
  readonly table: string;
  readonly key: string;
  readonly eventTime?: string | undefined;
  readonly mode?: SourceMode | undefined;
  readonly maxSkewUs?: bigint | undefined;
  /** The columns that a view over the route reads; left out: there is no view. */
  readonly reads?: readonly string[] | undefined;
}

/** Definitions over the tables as they are now; `source`: whoever captures them, and tells what was computed anew. */
export async function define(
  url: string,
  generation: bigint,
  requests: readonly RouteRequest[],
  source?: Pick<PostgresSource, 'valuesOf'>,
): Promise<DefinitionSet> {
  const connection = await PgConnection.open(
    { target: parseConnectionUrl(url), applicationName: 'test' },
    AbortSignal.timeout(10_000),
  );
  try {
    const routes: RoutePlan[] = [];
    const views: ViewPlan[] = [];
    for (const request of requests) {
      const catalog = must(await readTable(connection, 'public', request.table));
      const contract = withValuesSince(contractOf(request.table, catalog), source?.valuesOf(catalog.oid) ?? []);
      contract.version = Number(generation);
      const key = must(contract.columns.find(({ name }) => name === request.key)?.type);
      if (request.reads !== undefined) {
        const columns = contract.columns.filter(({ name }) => request.reads?.includes(name));
        views.push(create(ViewPlanSchema, { name: request.table, route: request.route, columns }));
      }
      routes.push(
        create(RoutePlanSchema, {
          route: request.route,
          source: {
            name: request.table,
            mode: request.mode ?? SourceMode.APPEND,
            origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: request.table } },
            eventTimeColumn: request.eventTime ?? '',
            maxSkewUs: request.maxSkewUs ?? 5_000_000n,
            contract,
          },
          entity: { name: 'entity', key: [{ name: request.key, kind: key.kind }] },
          keyColumns: [request.key],
        }),
      );
    }
    return create(DefinitionSetSchema, { generation, routes, views });
  } finally {
    await connection.close();
  }
}

export interface Capture {
  readonly node: IngestNode;
  readonly source: PostgresSource;
  readonly conditions: ConditionBoard;
  readonly quarantine: QuarantineFile;
  /** Settles when capturing ends. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

export interface CaptureOptions {
  readonly url: string;
  readonly directory: string;
  readonly log: Log;
  readonly logger?: Logger | undefined;
  readonly inFlightBytesMax?: number | undefined;
  readonly resync?: string | undefined;
  readonly onLostHistory?: 'rebuild' | 'halt' | undefined;
  readonly files?: FileSystem | undefined;
  /** How often it is looked whether tables are still those that are streamed, beside the look at each start; left out: every 200 ms. */
  readonly tableCheckMs?: number | undefined;
}

/** Starts capturing as main does. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const { directory, log } = options;
  const files = options.files ?? nodeFileSystem;
  const logger = options.logger ?? silentLogger;
  const shared = { clock: systemClock, random: Math.random, logger };
  const conditions = new ConditionBoard({ clock: systemClock, log: logger });
  const quarantine = await QuarantineFile.open(files, join(directory, 'quarantine.jsonl'));
  const database = new PostgresDatabase({ ...shared, name: 'shop', target: parseConnectionUrl(options.url) });
  const source = new PostgresSource({
    ...shared,
    name: 'shop',
    database,
    slotName: SLOT,
    directory: join(directory, 'postgres/shop'),
    files,
    log,
    quarantine,
    conditions,
    inFlightBytesMax: options.inFlightBytesMax ?? 8 * 1024 * 1024,
    resync: options.resync,
    onLostHistory: options.onLostHistory,
    recheckMs: 200,
    tableCheckMs: options.tableCheckMs ?? 200,
  });
  const node = await IngestNode.open({ ...shared, directory, files, log, sources: [source], conditions });
  const controller = new AbortController();
  const ended = node.run(controller.signal);
  ended.catch(() => {});
  return {
    node,
    source,
    conditions,
    quarantine,
    ended,
    stop: async () => {
      controller.abort(new DOMException('the test ends it', 'AbortError'));
      await ended.catch(() => {});
      await quarantine.close();
    },
  };
}

export function temporaryDirectory(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'freshet-ingest-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** All records of the log by partition, decoded. */
export async function recordsOf(log: MemoryLog): Promise<LogRecord[][]> {
  const partitions: LogRecord[][] = [];
  for (let partition = 0; partition < log.partitionCount; partition++) {
    const records = await log.records(partition);
    partitions.push(records.map((bytes) => fromBinary(LogRecordSchema, bytes)));
  }
  return partitions;
}

/** The changes as shards take them: per partition in order, what is not newer than its lane's mark skipped. */
export async function changesOf(log: MemoryLog): Promise<Change[]> {
  const changes: Change[] = [];
  for (const records of await recordsOf(log)) {
    const marks = new Map<string, readonly [bigint, bigint, number]>();
    const generations = new Map<number, number>();
    for (const { kind } of records) {
      if (kind.case === 'routeBegin') {
        const known = generations.get(kind.value.route) ?? 0;
        // A new generation replaces what the one before brought.
        if (kind.value.generation > known) {
          generations.set(kind.value.route, kind.value.generation);
          for (let i = changes.length - 1; i >= 0; i--) {
            if (changes[i]?.route === kind.value.route && changes[i]?.generation === known) changes.splice(i, 1);
          }
        }
      }
      if (kind.case !== 'change') continue;
      const { route, generation, lane, sequence } = kind.value;
      const name = `${route}/${generation}/${lane}`;
      const place = [must(sequence).major, must(sequence).minor, must(sequence).part] as const;
      const mark = marks.get(name);
      if (mark !== undefined && !isAfter(place, mark)) continue;
      marks.set(name, place);
      changes.push(kind.value);
    }
  }
  return changes;
}

function isAfter(a: readonly [bigint, bigint, number], b: readonly [bigint, bigint, number]): boolean {
  if (a[0] !== b[0]) return a[0] > b[0];
  if (a[1] !== b[1]) return a[1] > b[1];
  return a[2] > b[2];
}

/** A change's values in memory. */
export function valuesOf(change: Change): Scalar[] {
  return change.row.map(valueFromProto);
}

/** The first column's values of a route's changes, sorted: the ids that arrived. */
export async function idsOf(log: MemoryLog, route: number): Promise<number[]> {
  const changes = await changesOf(log);
  return changes
    .filter((change) => change.route === route)
    .map((change) => Number(valuesOf(change)[0]))
    .sort((a, b) => a - b);
}
