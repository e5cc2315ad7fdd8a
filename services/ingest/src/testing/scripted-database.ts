/**
 * A database in memory behind core/source-database.ts: tables with an id, transactions, one slot, streams. A test or a
 * simulator commits to it and breaks it; whatever captures it is the production code.
 *
 * It does what Postgres does where capture could go wrong: a stream is cut anywhere, in the middle of a transaction too,
 * and begins again with whole transactions from the slot's position; after a crash the slot may have forgotten the last
 * acknowledgements; a snapshot stands for one position. Deterministic: no timers, chance is the caller's.
 */
import { must } from '@freshet/kit/assert.ts';
import type { CatalogTable } from '../core/contract.ts';
import type { PgOutputMessage, Relation, Tuple } from '../core/pgoutput/messages.ts';
import type {
  ClusterIdentity,
  DatabaseSession,
  RefusedTable,
  ReplicationStream,
  ServerAnswer,
  SnapshotReader,
  SourceDatabase,
  WantedTables,
} from '../core/source-database.ts';
import { type PublishedTables, publishedKey, type SlotFacts } from '../core/source-state.ts';
import { describedIn, fillsOf } from './scripted-fills.ts';
import { type Commit, ScriptedStream, unreachable } from './scripted-stream.ts';

function oidOf(column: string): typeof INT8 | typeof TIMESTAMPTZ {
  return column === 'at' ? TIMESTAMPTZ : INT8;
}

/** A row by column; every table has an "id", its primary key. */
export type ScriptedRow = Readonly<Record<string, string | null>>;

export type ScriptedChange =
  | { readonly kind: 'insert' | 'update'; readonly table: string; readonly row: ScriptedRow }
  | { readonly kind: 'delete'; readonly table: string; readonly id: string };

interface Table {
  readonly oid: number;
  readonly columns: readonly string[];
  readonly rows: Map<string, ScriptedRow>;
  /** The number of the file that its rows are in. */
  readonly file: number;
}

const INT8 = 20;
const TIMESTAMPTZ = 1184;
const BASES = {
  [INT8]: { oid: INT8, name: 'int8', category: 'N', elementOid: 0, modifier: -1 },
  [TIMESTAMPTZ]: { oid: TIMESTAMPTZ, name: 'timestamptz', category: 'D', elementOid: 0, modifier: -1 },
};
const TEXTS = { [INT8]: 'bigint', [TIMESTAMPTZ]: 'timestamp with time zone' };
const MODES = { append: 1, mutable: 2 } as const;
const COMMIT_BYTES = 8n;

export interface ScriptedDatabaseOptions {
  readonly name: string;
  readonly nowUs: () => number;
  /** In [0, 1): where reads of a stream are cut. */
  readonly random: () => number;
}

export class ScriptedDatabase implements SourceDatabase {
  readonly name: string;
  readonly place: string;
  systemId = '7000000000000000001';
  timeline = 1;
  /** Whether it answers; when not, everything fails with SOURCE_UNREACHABLE. */
  isUp = true;
  /** What the slot says of itself beside what it is. */
  slotFacts: Partial<SlotFacts> = {};
  /** Beyond this nothing was ever acknowledged by a stream. */
  toldLsn = 0n;
  readonly #options: ScriptedDatabaseOptions;
  readonly #tables = new Map<string, Table>();
  readonly #commits: Commit[] = [];
  readonly #streams = new Set<ScriptedStream>();
  #published = new Map<string, number>();
  #slot: { name: string; confirmedLsn: bigint; rememberedLsn: bigint } | undefined;
  #lsn = 1_000n;

  constructor(options: ScriptedDatabaseOptions) {
    this.#options = options;
    this.name = options.name;
    this.place = `scripted/${options.name}`;
  }

  /** The position after everything that was committed. */
  get lsn(): bigint {
    return this.#lsn;
  }

  /** The rows of a table as they are now, by id. */
  rows(table: string): ReadonlyMap<string, ScriptedRow> {
    return must(this.#tables.get(table)).rows;
  }

  createTable(name: string, columns: readonly string[]): void {
    this.#tables.set(name, { oid: 16_384 + this.#tables.size, columns, rows: new Map(), file: 0 });
  }

  /** ALTER TABLE … RENAME COLUMN: rows have the new name from the next on. */
  renameColumn(name: string, from: string, to: string): void {
    const table = must(this.#tables.get(name));
    const columns = table.columns.map((column) => (column === from ? to : column));
    const rows = new Map(
      [...table.rows].map(([id, row]) => {
        const { [from]: value = null, ...rest } = row;
        return [id, { ...rest, [to]: value }] as const;
      }),
    );
    this.#tables.set(name, { ...table, columns, rows });
  }

  /** ALTER TABLE … ALTER column TYPE int8 USING column * factor: no stream tells of it but by describing the table again. */
  computeAnew(name: string, column: string, factor: number): void {
    const table = must(this.#tables.get(name));
    const computed = (row: ScriptedRow): ScriptedRow => ({ ...row, [column]: String(Number(row[column]) * factor) });
    const rows = new Map([...table.rows].map(([id, row]) => [id, computed(row)] as const));
    this.#tables.set(name, { ...table, rows, file: table.file + 1 });
  }

  /** Commits a transaction; returns its end. */
  commit(changes: readonly ScriptedChange[]): bigint {
    const lsn = this.#lsn;
    const timeUs = this.#options.nowUs();
    const rows = changes.map((change) => this.#apply(change));
    this.#lsn = lsn + COMMIT_BYTES + BigInt(changes.length);
    // Each described right before its first row, as pgoutput does: two in a row are a table and its partition.
    const described = new Set<string>();
    const messages = rows.flatMap((row, i): PgOutputMessage[] => {
      const { table } = must(changes[i]);
      if (described.has(table)) return [row];
      described.add(table);
      return [{ kind: 'relation', relation: this.#relation(table) }, row];
    });
    this.#commits.push({
      lsn,
      endLsn: this.#lsn,
      timeUs,
      messages: [
        { kind: 'begin', commitLsn: lsn, commitTimeUs: timeUs, xid: this.#commits.length + 1 },
        ...messages,
        { kind: 'commit', commitLsn: lsn, endLsn: this.#lsn, commitTimeUs: timeUs },
      ],
    });
    for (const stream of this.#streams) stream.wake();
    return this.#lsn;
  }

  /** What it holds now, slot included: to be put back later, as a copy of its files is. */
  copy(): () => void {
    const tables = new Map([...this.#tables].map(([name, table]) => [name, { ...table, rows: new Map(table.rows) }]));
    const [commits, lsn, published] = [[...this.#commits], this.#lsn, this.#published];
    const slot = this.#slot && { ...this.#slot };
    return () => {
      this.breakStreams();
      this.#tables.clear();
      for (const [name, table] of tables) this.#tables.set(name, { ...table, rows: new Map(table.rows) });
      this.#commits.splice(0, Infinity, ...commits);
      this.#lsn = lsn;
      this.#published = published;
      this.#slot = slot && { ...slot };
    };
  }

  /** Drops a table and makes it anew, empty. */
  recreateTable(name: string): void {
    const { columns } = must(this.#tables.get(name));
    this.#tables.delete(name);
    for (const key of [...this.#published.keys()]) if (key.includes(JSON.stringify(name))) this.#published.delete(key);
    this.#tables.set(name, { oid: 20_000 + this.#commits.length, columns, rows: new Map(), file: 0 });
  }

  /** Breaks every stream, as the end of its process or of the network does. */
  breakStreams(): void {
    for (const stream of [...this.#streams]) stream.destroy(unreachable('the connection was lost'));
  }

  /** Crashes and is up again: streams break, and the slot has forgotten what it was told since it last remembered. */
  crash(): void {
    this.breakStreams();
    if (this.#slot !== undefined) this.#slot.confirmedLsn = this.#slot.rememberedLsn;
  }

  /** The slot remembers its position, as at a checkpoint. */
  checkpoint(): void {
    if (this.#slot !== undefined) this.#slot.rememberedLsn = this.#slot.confirmedLsn;
  }

  dropSlot(): void {
    this.breakStreams();
    this.#slot = undefined;
  }

  // --- SourceDatabase.

  identify(): Promise<ClusterIdentity> {
    return this.#answer(() => ({ systemId: this.systemId, timeline: this.timeline, endLsn: this.#lsn }));
  }

  async look<T>(_signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T> {
    await this.#answer(() => undefined);
    return work(this.#session());
  }

  createSlot(slotName: string): Promise<void> {
    return this.#answer(() => {
      this.slotFacts = {};
      this.#slot = { name: slotName, confirmedLsn: this.#lsn, rememberedLsn: this.#lsn };
    });
  }

  async snapshot<T>(
    _slotName: string,
    _signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T> {
    await this.#answer(() => undefined);
    const frozen = new Map([...this.#tables].map(([name, table]) => [name, [...table.rows.values()]]));
    const copy = async function* (table: { table: string; columns: readonly string[] }): AsyncGenerator<Uint8Array> {
      for (const row of frozen.get(table.table) ?? []) {
        yield Buffer.from(`${table.columns.map((column) => row[column] ?? '\\N').join('\t')}\n`);
      }
    };
    const rowsAbout = ({ table }: { table: string }): Promise<number> =>
      Promise.resolve(frozen.get(table)?.length ?? 0);
    const fills = fillsOf([...this.#tables.values()]);
    return work({ copy, rowsAbout, fills: async () => fills, parts: async () => new Map() }, this.#lsn);
  }

  openStream(slotName: string): Promise<ReplicationStream> {
    return this.#open(slotName, false);
  }

  openRetelling(slotName: string): Promise<ReplicationStream> {
    return this.openCopy(slotName);
  }

  openCopy(slotName: string): Promise<ReplicationStream> {
    return this.#open(slotName, true);
  }

  #open(slotName: string, copy: boolean): Promise<ReplicationStream> {
    return this.#answer(() => {
      const stream = new ScriptedStream({
        commits: this.#commits,
        confirmed: () => must(this.#slot, 'a stream of no slot').confirmedLsn,
        end: () => this.#lsn,
        told: (position) => {
          if (copy) return;
          if (position > this.toldLsn) this.toldLsn = position;
          const slot = this.#slot;
          if (slot?.name === slotName && position > slot.confirmedLsn) slot.confirmedLsn = position;
        },
        left: () => this.#streams.delete(stream),
        random: this.#options.random,
        identity: { systemId: this.systemId, timeline: this.timeline, endLsn: this.#lsn },
      });
      if (this.#slot?.name !== slotName) throw unreachable(`there is no slot ${slotName}`);
      this.#streams.add(stream);
      return stream;
    });
  }

  // --- Inside.

  async #answer<T>(answer: () => T): Promise<T> {
    await Promise.resolve();
    if (!this.isUp) throw unreachable('it is down');
    return answer();
  }

  #session(): DatabaseSession {
    return {
      server: () => this.#answer(() => this.#server()),
      table: (schema, table) => this.#answer(() => (schema === 'public' ? this.catalogTable(table) : undefined)),
      slot: (name) => this.#answer(() => (this.#slot?.name === name ? this.#slotFacts() : undefined)),
      seen: async () => () => true,
      fills: () => this.#answer(() => fillsOf([...this.#tables.values()])),
      parts: async () => new Map(),
      ancestors: async () => new Map(),
      hasRows: () => Promise.resolve(false),
      dropSlot: (name) =>
        this.#answer(() => {
          if (this.#slot?.name === name) this.dropSlot();
        }),
      published: () => this.#answer((): PublishedTables => new Map(this.#published)),
      publish: (_slotName, wanted) => this.#answer(() => this.#publish(wanted)),
    };
  }

  #publish(wanted: WantedTables): readonly RefusedTable[] {
    this.#published = new Map();
    for (const mode of ['append', 'mutable'] as const) {
      for (const { schema, table } of wanted[mode]) {
        this.#published.set(publishedKey(MODES[mode], schema, table), this.#tables.get(table)?.oid ?? 0);
      }
    }
    return [];
  }

  #server(): ServerAnswer {
    return {
      version: 180_000,
      walLevel: 'logical',
      user: 'freshet',
      database: this.name,
      superuser: false,
      mayReplicate: true,
      inRecovery: false,
      maxReplicationSlots: 10,
      usedReplicationSlots: 0,
      maxWalSenders: 10,
      databaseUs: this.#options.nowUs(),
    };
  }

  #slotFacts(): SlotFacts {
    return {
      plugin: 'pgoutput',
      database: this.name,
      active: this.#streams.size > 0,
      activePid: 0,
      walStatus: 'reserved',
      invalidationReason: '',
      confirmedLsn: must(this.#slot).confirmedLsn,
      safeWalBytes: undefined,
      ...this.slotFacts,
    };
  }

  /** The table as its catalog has it: a column named `at` is a timestamptz, others are int8; the replica identity is the whole row. */
  catalogTable(name: string): CatalogTable | undefined {
    const table = this.#tables.get(name);
    if (table === undefined) return undefined;
    return {
      oid: table.oid,
      schema: 'public',
      table: name,
      kind: 'r',
      persistence: 'p',
      replicaIdentity: 'f',
      primaryKey: ['id'],
      identityIndex: [],
      maySelect: true,
      owner: 'owner',
      rowSecurity: false,
      columns: table.columns.map((column, i) => ({
        name: column,
        number: i + 1,
        typeOid: oidOf(column),
        typeText: TEXTS[oidOf(column)],
        nullable: column !== 'id',
        generated: false,
        base: BASES[oidOf(column)],
        typeModifier: -1,
        defaultExpression: '',
        enumLabels: [],
        domains: [],
      })),
    };
  }

  #relation(name: string): Relation {
    const { oid, columns, file } = must(this.#tables.get(name));
    return describedIn(file, {
      id: oid,
      schema: 'public',
      table: name,
      replicaIdentity: 'f',
      columns: columns.map((column) => ({ name: column, typeOid: oidOf(column), typeModifier: -1, identity: true })),
    });
  }

  #apply(change: ScriptedChange): PgOutputMessage {
    const { oid: relationId, columns, rows } = must(this.#tables.get(change.table));
    const tuple = (row: ScriptedRow): Tuple => columns.map((column) => row[column] ?? null);
    if (change.kind === 'delete') {
      const values = tuple(must(rows.get(change.id), 'a row to delete'));
      rows.delete(change.id);
      return { kind: 'delete', relationId, old: { whole: true, values } };
    }
    const id = must(change.row['id']);
    const before = rows.get(id);
    rows.set(id, change.row);
    if (change.kind === 'insert') return { kind: 'insert', relationId, row: tuple(change.row) };
    const old = { whole: true, values: tuple(must(before, 'a row to update')) };
    return { kind: 'update', relationId, old, row: tuple(change.row) };
  }
}
