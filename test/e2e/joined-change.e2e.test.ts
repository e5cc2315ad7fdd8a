/**
 * Goal: tables that are joined change their shapes under traffic, and no answer has a joined value that is missing or another
 * row's, at any moment; what does not change of the table is served on; under accepted definitions rows are joined with the
 * table as it is (C1, F2, R2).
 * Method: a table of prices for each change, and one of sales joined with it. A price tells which product it is of and which change
 * of it brought it; a reader looks for any other answer, from the first row to the last. A sale from before the change has the
 * price of its moment; one from while the table is held has the last that came before; and one behind the acceptance has its own.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { planAndApply } from '@freshet/cli/definitions.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { QuarantineService } from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Sql } from 'postgres';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { untilServed, untilServing } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';

const USERS = [1n, 2n, 3n];
const PRODUCTS = 4;
/** A price is its product's number, and how many changes of it there were. */
const EACH = 1_000_000;
const PAUSE_MS = 60;
const signal = new AbortController().signal;
const patient = { timeout: 60_000, interval: 50 };

interface Change {
  readonly name: string;
  /** Of the price; the product's number is a text. */
  readonly type: string;
  readonly ddl: string;
  /** The column of the price in the definitions that accept the change; left out: price. */
  readonly readAs?: string;
  /** A new column has nothing until it is written. */
  readonly isEmptied?: true;
  /** Whether sales are a mutable source. */
  readonly isMutable?: true;
  /** Whether the price is read anew, so that sales of before are joined with it as it is then. */
  readonly isAnew: boolean;
}

const CHANGES: readonly Change[] = [
  {
    name: 'renamed',
    type: 'int8',
    ddl: 'ALTER TABLE prices_renamed RENAME price TO cost',
    readAs: 'cost',
    isAnew: false,
  },
  {
    name: 'retyped',
    type: 'int8',
    ddl: 'ALTER TABLE prices_retyped ALTER price TYPE numeric(20,2)',
    isAnew: true,
  },
  {
    name: 'retyped_text',
    type: 'text',
    ddl: 'ALTER TABLE prices_retyped_text ALTER price TYPE int8 USING price::int8',
    isAnew: true,
  },
  {
    name: 'retyped_facts',
    type: 'int8',
    ddl: 'ALTER TABLE prices_retyped_facts ALTER price TYPE double precision',
    isMutable: true,
    isAnew: true,
  },
  {
    name: 'replaced',
    type: 'int8',
    ddl: 'ALTER TABLE prices_replaced RENAME price TO gone; ALTER TABLE prices_replaced ADD price int8',
    isEmptied: true,
    isAnew: true,
  },
  {
    name: 'rekeyed',
    type: 'int8',
    ddl: `ALTER TABLE prices_rekeyed ALTER product TYPE int8 USING product::int8;
      ALTER TABLE sales_rekeyed ALTER product TYPE int8 USING product::int8`,
    isAnew: true,
  },
];

const SCHEMA = CHANGES.map(
  ({ name, type }) => `
CREATE TABLE prices_${name} (product text PRIMARY KEY, price ${type}, label text);
CREATE TABLE sales_${name} (id int8 PRIMARY KEY, user_id int8, product text);
ALTER TABLE sales_${name} REPLICA IDENTITY FULL;
INSERT INTO prices_${name} SELECT p, (p * ${EACH})::${type}, 'label ' || p FROM generate_series(0, ${PRODUCTS - 1}) p;`,
).join('\n');

/** The definitions; accepted: for the tables after the changes. */
function definitionsOf(accepted: boolean): string {
  const view = (name: string, { name: of }: Change, columns: string, features: string): string => `
---
kind: FeatureView
name: ${name}
entity: user
source: sales_${of}
join: [{ table: prices_${of}, on: { product: product }, columns: { ${columns} } }]
features: { n: { count: {} }, ${features} }
---
kind: FeatureService
name: ${name}
features: ["${name}:*"]
`;
  const views = CHANGES.map((change) => {
    const { name, readAs = 'price', isMutable } = change;
    return `
---
kind: Source
name: prices_${name}
mode: mutable
postgres: { table: public.prices_${name} }
---
kind: Source
name: sales_${name}
mode: ${isMutable ? 'mutable' : 'append'}
postgres: { table: public.sales_${name} }
${view(name, change, `price: ${accepted ? readAs : 'price'}`, 'priced: { count: price }, v: { last: price }')}
${view(`${name}_labels`, change, 'label: label', 'v: { last: label }')}`;
  });
  return `kind: Entity\nname: user\nkey: { user_id: int64 }\n${views.join('')}`;
}

interface Sale {
  readonly product: number;
  /** How many changes of the price there were. */
  readonly version: number;
  readonly phase: 'before' | 'held' | 'accepted';
}

/** Changes a price, and sells at it; again and again. */
class Writer {
  readonly change: Change;
  /** By user, in the order of their commits. */
  readonly sales = new Map<bigint, Sale[]>(USERS.map((user) => [user, []]));
  /** By product, how many changes of its price there were. */
  readonly versions = new Array<number>(PRODUCTS).fill(0);
  /** By product, how many there were before the table's change. */
  frozen: readonly number[] | undefined;
  phase: Sale['phase'] = 'before';
  readonly #sql: Sql;
  #id = 0;
  #stopped = false;
  #running: Promise<void> | undefined;
  #wanted: (() => void) | undefined;

  constructor(sql: Sql, change: Change) {
    this.#sql = sql;
    this.change = change;
  }

  start(): void {
    this.#running = this.#run();
    this.#running.catch(() => undefined);
  }

  /** The table changes between two of its rows. */
  alter(): Promise<void> {
    return Promise.race([new Promise<void>((resolve) => (this.#wanted = resolve)), must(this.#running)]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#wanted !== undefined) {
        await this.#alter();
        this.#wanted();
        this.#wanted = undefined;
      }
      await this.#sell();
      await pause(PAUSE_MS);
    }
  }

  async #alter(): Promise<void> {
    const { ddl, isEmptied, name } = this.change;
    await this.#sql.unsafe(ddl);
    this.frozen = [...this.versions];
    this.phase = 'held';
    if (isEmptied) await this.#sql.unsafe(`UPDATE prices_${name} SET price = gone`);
  }

  async #sell(): Promise<void> {
    const { name, readAs = 'price', type } = this.change;
    const id = ++this.#id;
    const user = must(USERS[id % USERS.length]);
    const product = (id * 7) % PRODUCTS;
    const version = must(this.versions[product]) + 1;
    const column = this.phase === 'before' ? 'price' : readAs;
    const quote = this.phase === 'before' && type === 'text' ? "'" : '';
    const price = product * EACH + version;
    this.versions[product] = version;
    const sales = must(this.sales.get(user));
    await this.#sql.unsafe(
      `UPDATE prices_${name} SET ${column} = ${quote}${price}${quote} WHERE product = '${product}'`,
    );
    sales.push({ product, version, phase: this.phase });
    await this.#sql.unsafe(`INSERT INTO sales_${name} VALUES (${id}, ${user}, '${product}')`);
  }
}

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: SCHEMA, definitions: definitionsOf(false), partitions: 4 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

interface Served {
  readonly n: number;
  /** Undefined: the view has no such feature. */
  readonly priced: number | undefined;
  readonly value: string | null;
}

async function read(view: string): Promise<Served[]> {
  const { columns } = await under.client.getFeatures({ service: view, keys: { user_id: USERS }, deadlineMs: 5_000 });
  const at = (feature: string, i: number): unknown => columns[`${view}:${feature}`]?.values[i];
  return USERS.map((_, i) => ({
    n: Number(at('n', i)),
    priced: columns[`${view}:priced`] === undefined ? undefined : Number(at('priced', i)),
    value: at('v', i) === null ? null : String(at('v', i)),
  }));
}

/** What is wrong with what is served of a user; undefined: nothing. */
function problemOf(writer: Writer, view: 'price' | 'label', user: bigint, served: Served): string | undefined {
  const { n, priced, value } = served;
  const sales = must(writer.sales.get(user));
  if (n > sales.length) return `${n} sales of ${sales.length}`;
  if (n === 0) return value === null ? undefined : `${value} without a sale`;
  const sale = must(sales[n - 1]);
  if (view === 'label') return value === `label ${sale.product}` ? undefined : `${value} for product ${sale.product}`;
  if (priced !== n) return `${priced} of ${n} sales have a price`;
  if (value === null) return 'no price';
  const price = Number(value);
  const version = price % EACH;
  const told = `${price} for a sale of product ${sale.product} at version ${sale.version}, ${sale.phase}`;
  if (Math.floor(price / EACH) !== sale.product) return told;
  const { frozen, change, phase } = writer;
  const isExact = version === sale.version;
  // While the table is held, the last that came before; then what was held comes, one after another.
  const isFrozen =
    frozen !== undefined && sale.phase !== 'before' && version >= must(frozen[sale.product]) && version <= sale.version;
  // Read anew, the table is as it was at the end of that, for all sales before.
  const isLater = change.isAnew && phase === 'accepted' && version >= sale.version;
  return isExact || isFrozen || isLater ? undefined : told;
}

function startReading(writers: readonly Writer[]) {
  const problems = new Set<string>();
  const newest = new Map<string, number>();
  const state = { reads: 0, stopped: false };
  const run = (async () => {
    while (!state.stopped) {
      for (const writer of writers) {
        const { name } = writer.change;
        for (const [view, what] of [
          [name, 'price'],
          [`${name}_labels`, 'label'],
        ] as const) {
          const served = await read(view);
          state.reads += 1;
          USERS.forEach((user, i) => {
            const one = must(served[i]);
            const of = `${view} of user ${user}`;
            const problem = problemOf(writer, what, user, one);
            if (problem !== undefined) problems.add(`${of}: ${problem}`);
            if (one.n < (newest.get(of) ?? 0)) problems.add(`${of}: ${newest.get(of)} sales, then ${one.n}`);
            newest.set(of, one.n);
          });
        }
      }
    }
  })();
  run.catch(() => undefined);
  return {
    problems,
    state,
    stop: async (): Promise<void> => {
      state.stopped = true;
      await run;
    },
  };
}

it('C1 F2 R2: joined columns change, and no row is joined with nothing or with what is not its own', async () => {
  const { addresses } = under.mesh;
  const registry = createGrpcClient(RegistryService, addresses.registry);
  const quarantine = createGrpcClient(QuarantineService, addresses.ingest);
  const held = async (): Promise<string[]> =>
    (await quarantine.listQuarantine({})).held.map(({ source }) => source).sort();
  const writers = CHANGES.map((change) => new Writer(under.sql, change));
  const reading = startReading(writers);
  try {
    for (const writer of writers) writer.start();
    await pause(1_500);
    for (const writer of writers) await writer.alter();
    await expect.poll(held, patient).toEqual([...CHANGES.map(({ name }) => `prices_${name}`), 'sales_rekeyed'].sort());
    // Sales flow on, joined with what is there; but for those of which the key cannot be read.
    const flowing = CHANGES.filter(({ name }) => name !== 'rekeyed');
    const before = await Promise.all(flowing.map(({ name }) => read(name)));
    const isBehind = async ({ name }: Change, c: number): Promise<string[]> =>
      (await read(name)).every(({ n }, i) => n > must(before[c]?.[i]).n) ? [] : [name];
    await expect.poll(async () => (await Promise.all(flowing.map(isBehind))).flat(), patient).toEqual([]);

    for (const writer of writers) writer.phase = 'accepted';
    const next = parseDefinitions([{ path: 'b.yaml', text: definitionsOf(true) }]);
    await planAndApply(registry, next, { signal, acceptContracts: true });
    await untilServing(addresses, signal);
    await expect.poll(held, patient).toEqual([]);
    await pause(1_000);
    const settled = writers.map(({ sales }) => USERS.map((user) => must(sales.get(user)).length));
    await pause(1_500);
    for (const writer of writers) await writer.stop();
    await untilServed(under.sql, addresses, signal);
    await reading.stop();

    expect(reading.state.reads).toBeGreaterThan(20 * CHANGES.length);
    expect([...reading.problems].slice(0, 20)).toEqual([]);
    for (const [w, { change, sales }] of writers.entries()) {
      const served = await read(change.name);
      USERS.forEach((user, i) => {
        const all = must(sales.get(user));
        const last = must(all.at(-1));
        expect(all.length, change.name).toBeGreaterThan(must(settled[w]?.[i]));
        expect([served[i]?.n, Number(served[i]?.value)], `${change.name} of user ${user}`).toEqual([
          all.length,
          last.product * EACH + last.version,
        ]);
      });
    }
    expect((await quarantine.listQuarantine({})).rows).toEqual([]);
  } finally {
    await Promise.allSettled([...writers.map((writer) => writer.stop()), reading.stop()]);
    registry.close();
    quarantine.close();
  }
}, 180_000);
