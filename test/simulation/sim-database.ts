/**
 * The database of a simulation as one process connects to it: sessions, slots, snapshots and streams, each round trip in
 * the process's own time, refused while the database is away, without an answer while it is silent.
 *
 * Owns connections, which do not outlive the timeline that they were made on. Does not own rows, commits or slots
 * (sim-postgres.ts), nor what a stream brings (sim-stream.ts).
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type {
  DatabaseSession,
  ReplicationStream,
  SourceDatabase,
  TableToStage,
} from '../../services/ingest/src/core/source-database.ts';
import { publishedKey, type SlotFacts } from '../../services/ingest/src/core/source-state.ts';
import type { SimPostgres } from './sim-postgres.ts';
import { PLACE, SimStream, unreachable } from './sim-stream.ts';
import { CATALOG, catalogTable, copyLine, type SimTable, shapedTable, TABLES, text } from './sim-tables.ts';

export class SimDatabase implements SourceDatabase {
  readonly name = 'default';
  readonly place = PLACE;
  readonly #postgres: SimPostgres;
  readonly #process: SimProcess;

  constructor(postgres: SimPostgres, process: SimProcess) {
    this.#postgres = postgres;
    this.#process = process;
  }

  async identify(signal: AbortSignal): Promise<{ systemId: string; timeline: number; endLsn: bigint }> {
    await this.#reach(signal);
    return { systemId: 'sim', timeline: this.#postgres.timeline, endLsn: this.#postgres.lsn };
  }

  async look<T>(signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T> {
    const reach = this.#connect(signal);
    await reach();
    return work(this.#session(reach));
  }

  async createSlot(slotName: string, signal: AbortSignal): Promise<void> {
    const reach = this.#connect(signal);
    await reach();
    if (this.#postgres.slots.has(slotName)) throw new FreshetError('SOURCE_NOT_READY', 'the slot exists');
    this.#postgres.slots.set(slotName, { confirmedLsn: this.#postgres.lsn, stream: undefined });
    await reach();
  }

  async snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: Parameters<SourceDatabase['snapshot']>[2],
  ): Promise<T> {
    const reach = this.#connect(signal);
    await reach();
    if (!this.#postgres.slots.has(slotName)) throw unreachable('the slot went away');
    const { live, lsn, isRenamed } = this.#postgres;
    const rows = new Map(TABLES.map((table) => [table.table, [...live.rows(table).values()]]));
    const catalog = [...live.rows(CATALOG).values()];
    this.#postgres.snapshotAt = {
      lsn,
      factors: new Map(catalog.map((row) => [text(row, 'sku'), text(row, 'factor')])),
    };
    const reader = {
      fills: async () => new Map(),
      parts: async () => new Map(),
      rowsAbout: ({ table }: TableToStage): Promise<number | undefined> => Promise.resolve(rows.get(table)?.length),
      async *copy({ table, columns }: TableToStage): AsyncGenerator<Uint8Array> {
        const own = must(rows.get(table), 'a table that there is');
        const shape = shapedTable(must(tableNamed('public', table)), isRenamed);
        const missing = columns.find((name) => !shape.columns.some((column) => column.name === name));
        if (missing !== undefined) throw new FreshetError('SOURCE_NOT_READY', `column ${missing} does not exist`);
        for (let from = 0; from < own.length; from += 7) {
          await reach();
          yield Buffer.from(
            own
              .slice(from, from + 7)
              .map((row) => copyLine(row, columns))
              .join(''),
          );
        }
      },
    };
    return (await work(reader, lsn)) as T;
  }

  async openStream(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    await this.#reach(signal);
    const slot = this.#postgres.slots.get(slotName);
    if (slot === undefined) throw new FreshetError('SLOT_LOST', 'there is no such slot');
    // A walsender holds the slot of a client that died until it notices.
    if (slot.stream?.isHeld() === true) throw unreachable('the slot is active');
    slot.stream?.destroy(unreachable('the slot was taken over'));
    const stream = new SimStream(this.#postgres, this.#process, slot);
    slot.stream = stream;
    return stream;
  }

  async openCopy(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    await this.#reach(signal);
    const slot = this.#postgres.slots.get(slotName);
    if (slot === undefined) throw new FreshetError('SLOT_LOST', 'there is no such slot');
    return new SimStream(this.#postgres, this.#process, { confirmedLsn: slot.confirmedLsn, stream: undefined });
  }

  openRetelling(slotName: string, signal: AbortSignal): Promise<ReplicationStream> {
    return this.openCopy(slotName, signal);
  }

  /** A connection: it does not outlive the timeline that it was made on. */
  #connect(signal: AbortSignal): () => Promise<void> {
    const { timeline } = this.#postgres;
    return async () => {
      await this.#reach(signal);
      if (this.#postgres.timeline !== timeline) throw unreachable('the database was restored');
    };
  }

  #session(reach: () => Promise<void>): DatabaseSession {
    const postgres = this.#postgres;
    return {
      server: async () => {
        await reach();
        return {
          version: 180_000,
          walLevel: 'logical',
          user: 'sim',
          database: 'postgres',
          superuser: true,
          mayReplicate: true,
          inRecovery: false,
          maxReplicationSlots: 20,
          usedReplicationSlots: postgres.slots.size,
          maxWalSenders: 20,
          databaseUs: postgres.scheduler.nowUs,
        };
      },
      table: async (schema, name) => {
        await reach();
        const found = tableNamed(schema, name);
        return found && catalogTable(shapedTable(found, postgres.isRenamed));
      },
      slot: async (name): Promise<SlotFacts | undefined> => {
        await reach();
        const slot = postgres.slots.get(name);
        return slot === undefined
          ? undefined
          : {
              plugin: 'pgoutput',
              database: 'postgres',
              active: slot.stream?.isHeld() ?? false,
              activePid: 1,
              walStatus: 'reserved',
              invalidationReason: '',
              confirmedLsn: slot.confirmedLsn,
              safeWalBytes: undefined,
            };
      },
      seen: async () => () => true,
      fills: async () => new Map(),
      parts: async () => new Map(),
      ancestors: async () => new Map(),
      hasRows: () => Promise.resolve(false),
      dropSlot: async (name) => {
        await reach();
        postgres.slots.delete(name);
      },
      published: async () => {
        await reach();
        return postgres.published;
      },
      publish: async (_, { append, mutable }) => {
        await reach();
        const entries = (mode: SourceMode, tables: typeof append): [string, number][] =>
          tables.map(({ schema, table }) => [publishedKey(mode, schema, table), must(tableNamed(schema, table)).oid]);
        postgres.published = new Map([...entries(SourceMode.APPEND, append), ...entries(SourceMode.MUTABLE, mutable)]);
        return [];
      },
    };
  }

  /** One round trip. */
  async #reach(signal: AbortSignal): Promise<void> {
    await this.#process.delay(200, 1_500);
    for (let waits = 0; this.#postgres.isSilent; waits++) {
      signal.throwIfAborted();
      if (waits > 600) throw unreachable('the database does not answer');
      await this.#process.delay(20_000, 20_000);
    }
    signal.throwIfAborted();
    if (this.#postgres.isAway) throw unreachable('connection refused');
  }
}

function tableNamed(schema: string, name: string): SimTable | undefined {
  return TABLES.find((table) => table.schema === schema && table.table === name);
}
