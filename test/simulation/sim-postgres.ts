/**
 * A database in a simulation: one table, its commits, one slot, with what Postgres promises of them and no more
 * (services/ingest/src/core/source-database.ts).
 *
 * Owns the committed rows, which are the truth that served features are held against in the end. It dies never, but may
 * be away (connections break, and are refused), or silent (nothing comes, nothing breaks).
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { CatalogTable } from '../../services/ingest/src/core/contract.ts';
import type { Relation } from '../../services/ingest/src/core/pgoutput/messages.ts';
import type {
  DatabaseSession,
  ReplicationStream,
  SourceDatabase,
  StreamMessage,
} from '../../services/ingest/src/core/source-database.ts';
import { type PublishedTables, publishedKey, type SlotFacts } from '../../services/ingest/src/core/source-state.ts';
import { ACTIVITY } from './shop.ts';

export interface ActivityRow {
  readonly id: number;
  readonly user: number;
  readonly amount: number;
  readonly atUs: number;
}

interface Transaction {
  readonly commitLsn: bigint;
  readonly endLsn: bigint;
  readonly commitTimeUs: number;
  readonly rows: readonly ActivityRow[];
}

interface Slot {
  confirmedLsn: bigint;
  stream: SimStream | undefined;
}

const SENDER_TIMEOUT_MS = 6_000;
const KEEPALIVE_US = 2_000_000;
const TABLE_OID = 16_384;
const PLACE = 'sim-postgres';

export class SimPostgres {
  readonly scheduler: Scheduler;
  readonly transactions: Transaction[] = [];
  readonly slots = new Map<string, Slot>();
  readonly streams = new Set<SimStream>();
  published: PublishedTables = new Map();
  #nextLsn = 0x1_0000_0000n;
  #rows = 0;
  #isAway = false;
  isSilent = false;

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  /** Everything committed, in order. */
  rows(): readonly ActivityRow[] {
    return this.transactions.flatMap(({ rows }) => rows);
  }

  /** Where the next commit will be. */
  get lsn(): bigint {
    return this.#nextLsn;
  }

  commit(rows: readonly { readonly user: number; readonly amount: number; readonly lateUs: number }[]): void {
    const nowUs = this.scheduler.nowUs;
    const commitLsn = this.#nextLsn + 64n * BigInt(rows.length + 1);
    const endLsn = commitLsn + 48n;
    this.#nextLsn = endLsn;
    this.transactions.push({
      commitLsn,
      endLsn,
      commitTimeUs: nowUs,
      rows: rows.map(({ user, amount, lateUs }) => ({ id: ++this.#rows, user, amount, atUs: nowUs - lateUs })),
    });
    this.wake();
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

  async identify(signal: AbortSignal): Promise<{ systemId: string; timeline: number }> {
    await this.#reach(signal);
    return { systemId: 'sim', timeline: 1 };
  }

  async look<T>(signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T> {
    await this.#reach(signal);
    return work(this.#session(signal));
  }

  async createSlot(slotName: string, signal: AbortSignal): Promise<void> {
    await this.#reach(signal);
    if (this.#postgres.slots.has(slotName)) throw new FreshetError('SOURCE_NOT_READY', 'the slot exists');
    this.#postgres.slots.set(slotName, { confirmedLsn: this.#postgres.lsn, stream: undefined });
    await this.#reach(signal);
  }

  async snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: Parameters<SourceDatabase['snapshot']>[2],
  ): Promise<T> {
    await this.#reach(signal);
    must(this.#postgres.slots.get(slotName), 'a snapshot before its slot');
    const rows = this.#postgres.rows();
    const reach = (): Promise<void> => this.#reach(signal);
    const reader = {
      async *copy({ columns }: { readonly columns: readonly string[] }): AsyncGenerator<Uint8Array> {
        for (let from = 0; from < rows.length; from += 7) {
          await reach();
          const lines = rows.slice(from, from + 7).map((row) => `${tuple(row, columns).join('\t')}\n`);
          yield Buffer.from(lines.join(''));
        }
      },
    };
    return (await work(reader, this.#postgres.lsn)) as T;
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

  #session(signal: AbortSignal): DatabaseSession {
    const postgres = this.#postgres;
    const reach = (): Promise<void> => this.#reach(signal);
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
      table: async () => {
        await reach();
        return TABLE;
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
      publish: async (_, { append }) => {
        await reach();
        postgres.published = new Map(
          append.map(({ schema, table }) => [publishedKey(SourceMode.APPEND, schema, table), TABLE_OID]),
        );
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
  #hasRelation = false;
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
    for (const { commitLsn, endLsn, commitTimeUs, rows } of this.#postgres.transactions) {
      if (endLsn <= this.#position) continue;
      if (messages.length > 40) return messages;
      this.#position = endLsn;
      change({ kind: 'begin', commitLsn, commitTimeUs, xid: Number(endLsn & 0xffff_ffn) });
      if (!this.#hasRelation) change({ kind: 'relation', relation: RELATION });
      this.#hasRelation = true;
      for (const row of rows) change({ kind: 'insert', relationId: TABLE_OID, row: tuple(row, COLUMN_NAMES) });
      change({ kind: 'commit', commitLsn, endLsn, commitTimeUs });
    }
    if (messages.length === 0 && this.#keepaliveDue) {
      this.#keepaliveDue = false;
      messages.push({ kind: 'keepalive', serverLsn, replyWanted: false });
    }
    return messages;
  }
}

const COLUMN_NAMES = ACTIVITY.columns.map(({ name }) => name);

const TABLE: CatalogTable = {
  schema: ACTIVITY.schema,
  table: ACTIVITY.table,
  kind: 'r',
  persistence: 'p',
  replicaIdentity: 'd',
  primaryKey: ['id'],
  identityIndex: [],
  columns: ACTIVITY.columns.map(({ name, oid, sql }) => ({
    name,
    typeOid: oid,
    typeText: sql,
    nullable: false,
    generated: false,
    base: { oid, name: sql, category: 'N', elementOid: 0, modifier: -1 },
  })),
  maySelect: true,
  owner: 'sim',
  rowSecurity: false,
};

const RELATION: Relation = {
  id: TABLE_OID,
  schema: ACTIVITY.schema,
  table: ACTIVITY.table,
  replicaIdentity: 'd',
  columns: ACTIVITY.columns.map(({ name, oid }) => ({
    name,
    typeOid: oid,
    typeModifier: -1,
    identity: name === 'id',
  })),
};

function tuple(row: ActivityRow, columns: readonly string[]): string[] {
  const texts: Readonly<Record<string, string>> = {
    id: String(row.id),
    user_id: String(row.user),
    amount: String(row.amount),
    at: timestampText(row.atUs),
  };
  return columns.map((name) => must(texts[name], `column ${name}`));
}

/** As Postgres writes a timestamptz in UTC. */
function timestampText(us: number): string {
  const seconds = Math.floor(us / 1e6);
  const iso = new Date(seconds * 1000).toISOString();
  const micros = String(us - seconds * 1e6).padStart(6, '0');
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}.${micros}+00`;
}

function unreachable(message: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', message, { place: PLACE });
}
