/**
 * A node of ingest over a scripted database and whatever disk it is given: everything between is the production code,
 * wired as main wires it. Time stands in a clock that the test moves.
 */
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type DefinitionSet, DefinitionSetSchema, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import type { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { contractOf } from '../core/contract.ts';
import { withValuesSince } from '../core/table-fill.ts';
import { GenerationRequests } from '../io/generation-requests.ts';
import { IngestNode } from '../io/ingest-node.ts';
import { PostgresSource } from '../io/postgres-source.ts';
import { QuarantineFile } from '../io/quarantine-file.ts';
import type { ScriptedDatabase } from './scripted-database.ts';

export interface ScriptedCapture {
  readonly log: SegmentLog;
  readonly node: IngestNode;
  readonly source: PostgresSource;
  readonly requests: GenerationRequests;
  readonly conditions: ConditionBoard;
  readonly quarantine: QuarantineFile;
  /** Settles when capturing ends. */
  readonly ended: Promise<void>;
  /** Stops in order and closes everything. The clock must be moved meanwhile if something waits for it. */
  stop(): Promise<void>;
  /** Stops as a process that is killed: nothing is waited for. */
  abandon(): void;
}

export interface ScriptedCaptureOptions {
  readonly database: ScriptedDatabase;
  readonly files: FileSystem;
  readonly clock: VirtualClock;
  readonly random: () => number;
  readonly partitions?: number | undefined;
  readonly inFlightBytesMax?: number | undefined;
  readonly quarantineBytesMax?: number | undefined;
  readonly quarantineIndexEveryBytes?: number | undefined;
  /** How large a file of the log becomes. */
  readonly segmentBytes?: number | undefined;
  readonly resync?: string | undefined;
  readonly onLostHistory?: 'rebuild' | 'halt' | undefined;
  readonly logger?: Logger | undefined;
}

const DIRECTORY = '/ingest';

/** Opens the node's files and starts capturing by the definitions that it has. */
export async function startScripted(options: ScriptedCaptureOptions): Promise<ScriptedCapture> {
  const { database, files, clock, random } = options;
  const logger = options.logger ?? silentLogger;
  const log = await openSegmentLog({
    directory: join(DIRECTORY, 'log'),
    partitions: options.partitions ?? 2,
    clock,
    files,
    minFreeBytes: 0,
    segmentBytes: options.segmentBytes,
  });
  const conditions = new ConditionBoard({ clock, log: logger });
  const quarantine = await QuarantineFile.open(files, join(DIRECTORY, 'quarantine.jsonl'), {
    bytesMax: options.quarantineBytesMax,
    indexEveryBytes: options.quarantineIndexEveryBytes,
  });
  const path = join(DIRECTORY, 'generations.json');
  const requests = await GenerationRequests.open({ files, path, logId: log.logId, logger });
  const source = new PostgresSource({
    name: database.name,
    database,
    slotName: `freshet_${database.name}`,
    directory: join(DIRECTORY, 'postgres', database.name),
    files,
    log,
    quarantine,
    requests,
    clock,
    random,
    logger,
    conditions,
    inFlightBytesMax: options.inFlightBytesMax ?? 8 * 1024 * 1024,
    resync: options.resync,
    onLostHistory: options.onLostHistory,
  });
  const node = await IngestNode.open({
    directory: DIRECTORY,
    files,
    log,
    sources: [source],
    clock,
    random,
    logger,
    conditions,
  });
  const controller = new AbortController();
  const ended = node.run(controller.signal);
  ended.catch(() => {});
  const abort = (): void => controller.abort(new DOMException('the test ends it', 'AbortError'));
  return {
    log,
    node,
    source,
    requests,
    conditions,
    quarantine,
    ended,
    stop: async () => {
      abort();
      await ended.catch(() => {});
      await quarantine.close();
      await log.close();
    },
    abandon: abort,
  };
}

/**
 * Definitions over tables of the database, keyed by their ids: route 1 for the first, and so on; `source`: whoever captures them, and
 * tells what was computed anew.
 */
export function defineScripted(
  database: ScriptedDatabase,
  generation: bigint,
  tables: readonly { readonly table: string; readonly mode: 1 | 2 }[],
  source?: Pick<PostgresSource, 'valuesOf'>,
): DefinitionSet {
  const routes = tables.map(({ table, mode }, i) => {
    const catalog = must(database.catalogTable(table));
    const contract = withValuesSince(contractOf(table, catalog), source?.valuesOf(catalog.oid) ?? []);
    contract.version = Number(generation);
    const key = must(contract.columns.find(({ name }) => name === 'id')?.type);
    return create(RoutePlanSchema, {
      route: i + 1,
      source: {
        name: table,
        mode,
        origin: { case: 'postgres', value: { database: database.name, schema: 'public', table } },
        contract,
        maxSkewUs: 5_000_000n,
      },
      entity: { name: 'entity', key: [{ name: 'id', kind: key.kind }] },
      keyColumns: ['id'],
    });
  });
  return create(DefinitionSetSchema, { generation, routes });
}
