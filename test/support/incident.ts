/**
 * The incident for tests of the whole mesh: a table for each change of shape, what its rows are before and after, and what
 * an entity's answers may be, commit by commit.
 *
 * Owns writing: each table has one writer, so that a row's place in its history is the order of the commits.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import type { Sql } from 'postgres';

export const USERS = [1n, 2n, 3n];
const PAUSE_MS = 60;

type Aggregate = 'last' | 'sum' | 'min';

export interface Change {
  readonly table: string;
  readonly type: string;
  /** Row i's value as SQL, and as it is served; SQL is empty when the column is gone. */
  readonly before: (i: number) => string;
  readonly after: (i: number) => string;
  readonly ddl: string;
  readonly aggregate: Aggregate;
  /** What the reason of its first held row tells, whatever its other words are; undefined: nothing of it is held. */
  readonly held: RegExp | undefined;
  /** What `contract check` says, of the DDL and of the table as it is behind it. */
  readonly verdict: 'breaking' | 'note' | 'compatible';
  /** The view's column in the definitions that accept the change; undefined: none. */
  readonly readAs: string | undefined;
  readonly mode?: 'mutable';
  /** The primary key of a table whose source is mutable and that tells old rows by it; left out: id. */
  readonly mutableBy?: string;
  /** Rows of before count as they were inserted, and the database has other values of them. */
  readonly computedAnew?: true;
  /** Rows of before the change have no value of what the view reads after it. */
  readonly startsAnew?: true;
}

const quoted = (text: string): string => `'${text}'`;
const AGGREGATES: readonly Aggregate[] = ['last', 'sum', 'min'];
const RETYPED: readonly (readonly [aggregate: Aggregate, before: string, after: string])[] = [
  ['last', 'text', 'int8'],
  ['sum', 'bigint', 'double precision'],
  ['min', 'numeric', 'int8'],
];
/** Values that come down from here have a least one that is another after each row. */
const DOWN = 1_000_000;
const plain = { aggregate: 'last', readAs: 'v' } as const;

export const CHANGES: readonly Change[] = [
  {
    ...plain,
    table: 'narrowed',
    type: 'varchar(20)',
    before: (i) => quoted(`long enough ${i}`),
    after: (i) => quoted(`short ${i}`),
    ddl: 'ALTER TABLE narrowed ALTER v TYPE varchar(10) USING left(v, 10)',
    held: /column v .*\b10\b/,
    verdict: 'breaking',
  },
  {
    ...plain,
    table: 'widened',
    type: 'varchar(20)',
    before: (i) => quoted(`short ${i}`),
    after: (i) => quoted(`a text of more than twenty ${i}`),
    ddl: 'ALTER TABLE widened ALTER v TYPE varchar(40)',
    held: undefined,
    verdict: 'compatible',
  },
  {
    ...plain,
    table: 'rounded',
    type: 'numeric(10,2)',
    before: (i) => `${i}.50`,
    after: (i) => `${i}.5`,
    ddl: 'ALTER TABLE rounded ALTER v TYPE numeric(10,1)',
    aggregate: 'sum',
    held: /column v .*10,\s?1\b/,
    verdict: 'breaking',
  },
  {
    ...plain,
    table: 'relabelled',
    type: 'mood',
    before: (i) => quoted(i % 2 === 0 ? 'glad' : 'sad'),
    after: () => quoted('happy'),
    ddl: "ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'",
    held: /column v .*label.*happy/,
    verdict: 'breaking',
  },
  {
    ...plain,
    table: 'unlabelled',
    type: 'size',
    before: () => quoted('small'),
    after: () => quoted('small'),
    ddl: `ALTER TYPE size RENAME TO size_before; CREATE TYPE size AS ENUM ('small');
      ALTER TABLE unlabelled ALTER v TYPE size USING v::text::size`,
    held: /column v /,
    verdict: 'breaking',
  },
  {
    ...plain,
    table: 'nulled',
    type: 'text NOT NULL',
    before: (i) => quoted(`there ${i}`),
    after: (i) => (i % 2 === 0 ? 'NULL' : quoted(`again ${i}`)),
    ddl: 'ALTER TABLE nulled ALTER v DROP NOT NULL',
    held: /column v is null/,
    verdict: 'note',
  },
  ...(['renamed_', 'facts_renamed_'] as const).flatMap((prefix) =>
    AGGREGATES.map(
      (aggregate): Change => ({
        ...plain,
        ...(prefix === 'renamed_' ? {} : { mode: 'mutable' }),
        table: `${prefix}${aggregate}`,
        type: 'int8',
        before: (i) => `${DOWN - i}`,
        after: (i) => `${DOWN - i}`,
        aggregate,
        ddl: `ALTER TABLE ${prefix}${aggregate} RENAME v TO w`,
        held: /column v /,
        verdict: 'breaking',
        readAs: 'w',
      }),
    ),
  ),
  {
    ...plain,
    table: 'mapped',
    type: 'int8',
    before: (i) => `${i}`,
    after: (i) => `${i}`,
    aggregate: 'sum',
    ddl: 'ALTER TABLE mapped RENAME v TO w',
    held: /column v /,
    verdict: 'breaking',
  },
  ...(['retyped_', 'facts_retyped_'] as const).flatMap((prefix) =>
    RETYPED.map(
      ([aggregate, type, now]): Change => ({
        ...plain,
        ...(prefix === 'retyped_' ? {} : { mode: 'mutable' }),
        table: `${prefix}${aggregate}`,
        type,
        before: (i) => (type === 'text' ? quoted(`${DOWN - i}`) : `${DOWN - i}`),
        after: (i) => `${DOWN - i}`,
        aggregate,
        ddl: `ALTER TABLE ${prefix}${aggregate} ALTER v TYPE ${now} USING v::${now}`,
        held: new RegExp(`column v .*${type}`),
        verdict: 'breaking',
      }),
    ),
  ),
  ...(['int4', 'int8'] as const).map(
    (type): Change => ({
      ...plain,
      table: `rescaled_${type}`,
      type: 'int4',
      before: (i) => `${i}`,
      after: (i) => `${i * 100}`,
      aggregate: 'sum',
      ddl: `ALTER TABLE rescaled_${type} ALTER v TYPE ${type} USING v * 100`,
      held: /values of column v are others/,
      verdict: 'breaking',
      computedAnew: true,
    }),
  ),
  {
    ...plain,
    table: 'replaced',
    type: 'int8',
    before: (i) => `${i}`,
    // Another column has the name: the first one is of no more use.
    after: (i) => `NULL, ${i}`,
    aggregate: 'sum',
    ddl: 'ALTER TABLE replaced RENAME v TO gone; ALTER TABLE replaced ADD v int8',
    held: /column v /,
    verdict: 'breaking',
    startsAnew: true,
  },
  {
    ...plain,
    table: 'rekeyed',
    type: 'int8 NOT NULL',
    before: (i) => `${i}`,
    after: (i) => `${i}`,
    ddl: 'ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey; ALTER TABLE rekeyed ADD PRIMARY KEY (id, v)',
    aggregate: 'sum',
    held: undefined,
    verdict: 'note',
  },
  {
    ...plain,
    table: 'reidentified',
    type: 'int8 NOT NULL',
    before: (i) => `${i}`,
    after: (i) => `${i}`,
    ddl: `ALTER TABLE reidentified DROP CONSTRAINT reidentified_pkey, ADD PRIMARY KEY (user_id, id, v)`,
    aggregate: 'sum',
    mutableBy: 'user_id, id',
    held: /told apart by \(id, user_id, v\)/,
    verdict: 'breaking',
  },
  {
    ...plain,
    table: 'dropped',
    type: 'int8',
    before: (i) => `${i}`,
    after: () => '',
    ddl: 'ALTER TABLE dropped DROP COLUMN v',
    held: /column v /,
    verdict: 'breaking',
    readAs: undefined,
  },
  {
    ...plain,
    table: 'unread',
    type: 'int8',
    before: (i) => `${i}`,
    after: (i) => `${i}`,
    ddl: 'ALTER TABLE unread DROP COLUMN nobody',
    held: undefined,
    verdict: 'compatible',
  },
];

export const SCHEMA = `CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE size AS ENUM ('small', 'large');
CREATE TABLE steady (id int8 PRIMARY KEY, user_id int8);
${CHANGES.map(
  ({ table, type, mode, mutableBy = 'id' }) =>
    `CREATE TABLE ${table} (id int8, user_id int8, v ${type}${table === 'unread' ? ', nobody text' : ''}, PRIMARY KEY (${mutableBy}));
    ${mode === 'mutable' ? `ALTER TABLE ${table} REPLICA IDENTITY FULL;` : ''}`,
).join('\n')}`;

/** A count of the table's rows beside its view, which no change touches: it has a service of its own. */
export const COUNTED = 'retyped_sum';
export const countOf = (table: string): string => `${table}_count`;

const viewOf = (table: string, value: string, mode = 'append'): string => `
---
kind: Source
name: ${table}
mode: ${mode}
postgres: { table: public.${table} }
${servedOf(table, table, value)}${table === COUNTED ? servedOf(table, countOf(table), '') : ''}`;

const servedOf = (table: string, view: string, value: string): string => `
---
kind: FeatureView
name: ${view}
owner: team_${table}
entity: user
source: ${table}
features:
  n: { count: {} }
${value}
---
kind: FeatureService
name: ${view}
features: ["${view}:*"]
`;

/** The definitions; accepted: as they are written for the tables after the changes. */
export function definitionsOf(accepted: boolean): string {
  const views = CHANGES.map(({ table, aggregate, readAs, mode, mutableBy }) => {
    const column = accepted ? readAs : 'v';
    const value = column === undefined ? '' : `  v: { ${aggregate}: ${column} }`;
    return viewOf(table, value, mutableBy === undefined ? mode : 'mutable');
  });
  return `kind: Entity\nname: user\nkey: { user_id: int64 }\n${viewOf('steady', '')}${views.join('')}`;
}

/** Writes the rows of one table, and what may be served of each user after each of its rows. */
export class IncidentWriter {
  readonly change: Change;
  /** For each user, by the number of its rows: the value then, as text; null when there is none. */
  readonly history: ReadonlyMap<bigint, (string | null)[]> = new Map(USERS.map((user) => [user, [null]]));
  /** For each user: how many of its rows were committed before the change; empty before it. */
  readonly atChange = new Map<bigint, number>();
  readonly #sql: Sql;
  #rows = 0;
  #writing: Promise<void> | undefined;
  #stopped = false;
  #wanted = false;

  constructor(sql: Sql, change: Change) {
    this.#sql = sql;
    this.change = change;
  }

  /** Starts writing; throws from stop() what failed. */
  start(): void {
    this.#stopped = false;
    this.#writing = this.#run();
    this.#writing.catch(() => undefined);
  }

  /** The change happens between two rows of the writer's. */
  async alter(): Promise<void> {
    this.#wanted = true;
    while (this.atChange.size === 0) {
      if (this.#stopped) throw new Error(`the writer of ${this.change.table} is stopped`);
      await Promise.race([this.#writing, pause(5)]);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#writing;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#wanted && this.atChange.size === 0) {
        await this.#sql.unsafe(this.change.ddl);
        for (const [user, states] of this.history) this.atChange.set(user, states.length - 1);
      }
      await this.#insert();
      await pause(PAUSE_MS);
    }
  }

  async #insert(): Promise<void> {
    const { table, before, after, aggregate, startsAnew } = this.change;
    const i = ++this.#rows;
    const user = must(USERS[i % USERS.length]);
    const value = (this.atChange.size === 0 ? before : after)(i);
    const states = must(this.history.get(user));
    const isFirst = startsAnew === true && states.length - 1 === this.atChange.get(user);
    states.push(nextState(aggregate, isFirst ? null : (states.at(-1) ?? null), value));
    await this.#sql.unsafe(`INSERT INTO ${table} VALUES (${[i, user, ...(value === '' ? [] : [value])].join(', ')})`);
  }
}

/** Aggregates skip nulls. */
function nextState(aggregate: Aggregate, before: string | null, value: string): string | null {
  if (value === '' || value === 'NULL') return before;
  const text = (value.split(', ').at(-1) ?? '').replaceAll("'", '');
  if (aggregate === 'last' || (aggregate === 'min' && before === null)) return text;
  const [was, is] = [Number(before ?? 0), Number(text)];
  return String(aggregate === 'min' ? Math.min(was, is) : was + is);
}
