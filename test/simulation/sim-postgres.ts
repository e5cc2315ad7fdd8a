/**
 * A database in a simulation: a few tables (sim-tables.ts), their commits, one slot, with what Postgres promises of them
 * and no more (services/ingest/src/core/source-database.ts).
 *
 * Owns the committed rows, which are the truth that served features are held against in the end. It dies never, but may
 * be away (connections break, and are refused), or silent (nothing comes, nothing breaks); it may lose its slot, or be put
 * back to an earlier point, as point-in-time recovery does: on a new timeline, without what was committed since.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type {
  DatabaseSession,
  ReplicationStream,
  SourceDatabase,
  StreamMessage,
  TableToStage,
} from '../../services/ingest/src/core/source-database.ts';
import { type PublishedTables, publishedKey, type SlotFacts } from '../../services/ingest/src/core/source-state.ts';
import { type Dml, makeChange } from './changes.ts';
import {
  ACTIVITY,
  CATALOG,
  catalogTable,
  copyLine,
  LiveTables,
  messageOf,
  ORDERS,
  type RowChange,
  relationOf,
  type SimTable,
  shapedTable,
  TABLES,
  text,
  timestampText,
} from './sim-tables.ts';

export interface ActivityRow {
  readonly user: number;
  readonly amount: number;
}

interface Transaction {
  readonly commitLsn: bigint;
  readonly endLsn: bigint;
  readonly commitTimeUs: number;
  readonly changes: readonly RowChange[];
  /** Whether a column had its other name then. */
  readonly isRenamed: boolean;
}

/** What the catalog said of an order's sku at the statement that wrote the order; undefined: nothing. */
export interface Joined {
  readonly commitLsn: bigint;
  readonly factor: string | undefined;
}

interface Slot {
  confirmedLsn: bigint;
  stream: SimStream | undefined;
}

const SENDER_TIMEOUT_MS = 6_000;
const KEEPALIVE_US = 2_000_000;
const FIRST_LSN = 0x1_0000_0000n;
const PLACE = 'sim-postgres';

export class SimPostgres {
  readonly scheduler: Scheduler;
  readonly transactions: Transaction[] = [];
  readonly slots = new Map<string, Slot>();
  readonly streams = new Set<SimStream>();
  published: PublishedTables = new Map();
  #live = new LiveTables();
  /** By an order's id. */
  readonly #joined = new Map<string, Joined>();
  /** The newest point that a snapshot was taken at, with the catalog as it was. */
  snapshotAt: { readonly lsn: bigint; readonly factors: ReadonlyMap<string, string> } | undefined;
  timeline = 1;
  #nextLsn = FIRST_LSN;
  #rows = 0;
  #isAway = false;
  isSilent = false;
  /** When a column got its other name, and when it got its own again, in turns. */
  readonly #renames: number[] = [];

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  /** Whether a column has its other name now (sim-tables.ts, RENAMED). */
  get isRenamed(): boolean {
    return this.#renames.length % 2 === 1;
  }

  /** Whether it ever had. */
  get wasRenamed(): boolean {
    return this.#renames.length > 0;
  }

  /** ALTER TABLE … RENAME COLUMN, or back. */
  rename(isRenamed: boolean): void {
    if (isRenamed !== this.isRenamed) this.#renames.push(this.scheduler.nowUs);
  }

  /** The tables as they are. */
  get live(): LiveTables {
    return this.#live;
  }

  get joined(): ReadonlyMap<string, Joined> {
    return this.#joined;
  }

  /** The rows of the append table. */
  rows(): readonly ActivityRow[] {
    return [...this.#live.rows(ACTIVITY).values()].map((row) => ({
      user: Number(text(row, 'user_id')),
      amount: Number(text(row, 'amount')),
    }));
  }

  /** Where the next commit will be. */
  get lsn(): bigint {
    return this.#nextLsn;
  }

  /** Commits rows of the append table, and changes of the others; returns what these came to, in words. */
  commit(
    rows: readonly { readonly user: number; readonly amount: number; readonly lateUs: number }[],
    statements: readonly Dml[] = [],
  ): string[] {
    const nowUs = this.scheduler.nowUs;
    const commitLsn = this.#nextLsn + 64n * BigInt(rows.length + statements.length + 1);
    const endLsn = commitLsn + 48n;
    this.#nextLsn = endLsn;
    const changes: RowChange[] = [];
    const apply = (change: RowChange): void => {
      changes.push(change);
      this.#apply(change, commitLsn);
    };
    for (const { user, amount, lateUs } of rows) {
      const row = {
        id: String(++this.#rows),
        user_id: String(user),
        amount: String(amount),
        at: timestampText(nowUs - lateUs),
      };
      apply({ kind: 'insert', table: ACTIVITY, row });
    }
    const done: string[] = [];
    for (const statement of statements) {
      const made = makeChange(statement, this.#live, ++this.#rows, nowUs);
      if (made === undefined) continue;
      done.push(made.what);
      apply(made.change);
    }
    this.transactions.push({ commitLsn, endLsn, commitTimeUs: nowUs, changes, isRenamed: this.isRenamed });
    this.wake();
    return done;
  }

  #apply(change: RowChange, commitLsn: bigint): void {
    this.#live.apply(change);
    if (change.table !== ORDERS || (change.kind !== 'insert' && change.kind !== 'update')) return;
    const factor = this.#live.rows(CATALOG).get(text(change.row, 'sku'))?.['factor'] ?? undefined;
    this.#joined.set(text(change.row, 'id'), { commitLsn, factor });
  }

  /**
   * Restores the database as it was at a time, on a new timeline; positions and row ids are used a second time. `keepsSlots`:
   * from a copy of the disk, which has slots, as against a base backup, which has none. Returns how many commits are gone.
   */
  rewind(toUs: number, keepsSlots: boolean): number {
    const kept = this.transactions.filter(({ commitTimeUs }) => commitTimeUs <= toUs);
    const lost = this.transactions.length - kept.length;
    this.transactions.splice(0, this.transactions.length, ...kept);
    // One that is gone leaves its mark, so that it is known that there was one.
    if (this.isRenamed && (this.#renames.at(-1) ?? 0) > toUs) this.rename(false);
    this.#live = new LiveTables();
    this.#joined.clear();
    for (const { changes, commitLsn } of kept) for (const change of changes) this.#apply(change, commitLsn);
    this.#nextLsn = kept.at(-1)?.endLsn ?? FIRST_LSN;
    const ids = [ACTIVITY, ORDERS].flatMap((table) => [...this.#live.rows(table).keys()].map(Number));
    this.#rows = Math.max(0, ...ids);
    this.timeline += 1;
    for (const stream of [...this.streams]) stream.destroy(unreachable('the database is being restored'));
    if (!keepsSlots) this.slots.clear();
    for (const slot of this.slots.values()) {
      slot.stream = undefined;
      if (slot.confirmedLsn > this.#nextLsn) slot.confirmedLsn = this.#nextLsn;
    }
    return lost;
  }

  /** Somebody drops all slots. */
  dropSlots(): void {
    for (const stream of [...this.streams]) stream.destroy(unreachable('terminating connection by command'));
    this.slots.clear();
  }

  /** A transaction that was rolled back leaves a gap in the log and nothing else. */
  rollback(): void {
    this.#nextLsn += 512n;
  }

  goAway(): void {
    this.#isAway = true;
    for (const stream of [...this.streams]) stream.destroy(unreachable('the database is shutting down'));
  }

  comeBack(): void {
    this.#isAway = false;
    this.isSilent = false;
    this.wake();
  }

  wake(): void {
    for (const stream of this.streams) stream.wake();
  }

  /** The database as one process connects to it. */
  connection(process: SimProcess): SourceDatabase {
    return new SimDatabase(this, process);
  }
}

class SimDatabase implements SourceDatabase {
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

class SimStream implements ReplicationStream {
  readonly senderTimeoutMs = SENDER_TIMEOUT_MS;
  readonly #postgres: SimPostgres;
  readonly #process: SimProcess;
  readonly #slot: Slot;
  #position = 0n;
  /** The tables that were described, and whether with a column's other name. */
  readonly #told = new Map<SimTable, boolean>();
  #failure: Error | undefined;
  #keepaliveDue = false;
  #lastTellUs: number;
  #wake: (() => void) | undefined;

  constructor(postgres: SimPostgres, process: SimProcess, slot: Slot) {
    this.#postgres = postgres;
    this.#process = process;
    this.#slot = slot;
    this.#lastTellUs = postgres.scheduler.nowUs;
    postgres.streams.add(this);
  }

  /** Whether the server still takes the client for alive. */
  isHeld(): boolean {
    if (this.#failure !== undefined) return false;
    return this.#postgres.scheduler.nowUs - this.#lastTellUs < SENDER_TIMEOUT_MS * 1000 && this.#process.alive;
  }

  async start(from: bigint): Promise<void> {
    await this.#process.delay(200, 1_000);
    this.#position = from > this.#slot.confirmedLsn ? from : this.#slot.confirmedLsn;
    this.#beat();
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    for (;;) {
      await this.#process.delay(50, 600);
      if (this.#failure !== undefined) throw this.#failure;
      if (signal.aborted) throw new FreshetError('CANCELLED', 'reading was given up');
      const messages = this.#postgres.isSilent ? [] : this.#take();
      if (messages.length > 0) return messages;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }

  tell(position: bigint, _nowUs: number, answer: boolean): void {
    if (this.#postgres.isAway || this.#failure !== undefined) return;
    this.#lastTellUs = this.#postgres.scheduler.nowUs;
    if (position > this.#slot.confirmedLsn) this.#slot.confirmedLsn = position;
    if (!answer) return;
    this.#keepaliveDue = true;
    this.wake();
  }

  destroy(reason: Error): void {
    this.#failure ??= reason;
    this.#postgres.streams.delete(this);
    this.wake();
  }

  async close(): Promise<void> {
    this.destroy(unreachable('the stream is closed'));
  }

  wake(): void {
    // A process that reads is woken as its sockets wake it: in its own time.
    this.#process.after(0, () => this.#wake?.());
  }

  /** The server sends a keepalive now and then, and ends a stream that it has not heard of for too long. */
  #beat(): void {
    this.#postgres.scheduler.after(KEEPALIVE_US, () => {
      if (this.#failure !== undefined) return;
      const silentUs = this.#postgres.scheduler.nowUs - this.#lastTellUs;
      if (silentUs > SENDER_TIMEOUT_MS * 1000) {
        this.destroy(unreachable('terminating walsender process due to replication timeout'));
        return;
      }
      this.#keepaliveDue = true;
      this.wake();
      this.#beat();
    });
  }

  /** What has been committed since, a few transactions at once; a keepalive when there is nothing. */
  #take(): StreamMessage[] {
    const messages: StreamMessage[] = [];
    const serverLsn = this.#postgres.lsn;
    const change = (message: (StreamMessage & { kind: 'change' })['message']): void => {
      messages.push({ kind: 'change', serverLsn, message });
    };
    const { transactions } = this.#postgres;
    // Their ends ascend, and most were sent long ago.
    const sent = transactions.findLastIndex(({ endLsn }) => endLsn <= this.#position);
    for (const { commitLsn, endLsn, commitTimeUs, changes, isRenamed } of transactions.slice(sent + 1)) {
      if (messages.length > 40) return messages;
      this.#position = endLsn;
      change({ kind: 'begin', commitLsn, commitTimeUs, xid: Number(endLsn & 0xffff_ffn) });
      for (const made of changes) {
        if (this.#told.get(made.table) !== isRenamed)
          change({ kind: 'relation', relation: relationOf(shapedTable(made.table, isRenamed)) });
        this.#told.set(made.table, isRenamed);
        change(messageOf(made));
      }
      change({ kind: 'commit', commitLsn, endLsn, commitTimeUs });
    }
    if (messages.length === 0 && this.#keepaliveDue) {
      this.#keepaliveDue = false;
      messages.push({ kind: 'keepalive', serverLsn, replyWanted: false });
    }
    return messages;
  }
}

function tableNamed(schema: string, name: string): SimTable | undefined {
  return TABLES.find((table) => table.schema === schema && table.table === name);
}

function unreachable(message: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', message, { place: PLACE });
}
