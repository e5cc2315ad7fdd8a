/**
 * Goal: what Postgres can hold of each type, under keys of odd text, is what views over the table say, whatever statement brought it
 * there (F2, F3, I2): NaN and the infinities, zeros with a sign, years before Christ, integers whose sum fits no 64 bits, texts that
 * differ only in how Unicode composes them, keys that differ only in their scale. Method: a real Postgres with little memory for
 * decoding, random histories of every way to write (MERGE, upserts, statements in a WITH, prepared transactions, savepoints, large
 * transactions, keys that move up by one), through the real capture with stops and new generations; the engine's fold over its log,
 * compared with SQL over the table.
 */
import { create } from '@bufbuild/protobuf';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  FeaturePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseLsn } from '../../services/ingest/src/core/lsn.ts';
import {
  type Capture,
  createDatabase,
  define,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../../services/ingest/src/testing/capture.ts';

/** Division by zero, a key that is taken, a row that a MERGE meets twice. */
const EXPECTED = new Set(['22012', '23505', '21000']);
const ROUNDS = 5;
const IDS = 25;
const patient = { timeout: 60_000, interval: 30 };
const first = Number(process.env['FRESHET_FUZZ_SEED'] ?? '1');
const runs = Math.max(1, Math.round(2 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1')));

const OWNERS = [
  'a',
  'A',
  '',
  ' a',
  'null',
  '\\N',
  "it's",
  '\u00e9',
  'e\u0301',
  '\ufeffa',
  '\u{10ffff}',
  '\uffff',
  '\u0001\t\n',
  'x'.repeat(600),
];
const NUMERICS = ['NaN', 'Infinity', '-Infinity', '0', '-0.00', '1.1', '1.10', '-1.100', '1e30', '1e-20', '12.5'];
const DOUBLES = ['NaN', 'Infinity', '-Infinity', '0', '-0', '0.1', '0.2', '-0.3', '5e-324', '1.7976931348623157e308'];
const INTEGERS = ['9223372036854775807', '-9223372036854775808', '1', '-1', '0', '4611686018427387904'];
const TIMES = [
  '4713-01-01 00:00:00+00 BC',
  '0001-12-31 23:59:59.999999+00 BC',
  '0001-01-01 00:00:00+00',
  '1970-01-01 00:00:00+00',
  '1969-12-31 23:59:59.999999+00',
  '294246-12-31 23:59:59.999999+00',
  '2026-02-28 12:00:00+05:30',
];
const BYTES = ['\\x', '\\x00', '\\xff', '\\x00ff', '\\x0a5c'];
const TEXTS = ['', 'NULL', '\u00e9', 'e\u0301', '\uffff', '\u{10000}', '\\', 'a\tb\nc', '{1,"2"}', 'z', 'Z'];
/** Of which a value is stored out of line. */
const LONG = 2_500;

const TABLES = [
  { table: 't_full', key: 'PRIMARY KEY (id)', identity: 'FULL' },
  { table: 't_key', key: 'PRIMARY KEY (owner, id)', identity: 'DEFAULT' },
  { table: 't_bag', key: '', identity: 'FULL' },
] as const;

let server: RunningPostgres;
beforeAll(async () => {
  server = await startPostgres({
    settings: { logical_decoding_work_mem: '64kB', max_prepared_transactions: '5' },
  });
}, 60_000);
afterAll(() => server?.stop(), 60_000);

const schemaOf = ({ table, key, identity }: (typeof TABLES)[number]): string => `
  CREATE TABLE ${table} (id numeric NOT NULL, owner text COLLATE "C" NOT NULL, n numeric, x float8, b int8, s text COLLATE "C",
    at timestamptz, raw bytea${identity === 'FULL' ? ', long text' : ''}${key === '' ? '' : `, ${key}`});
  ALTER TABLE ${table} REPLICA IDENTITY ${identity};
  ${identity === 'FULL' ? `ALTER TABLE ${table} ALTER long SET STORAGE EXTERNAL;` : ''}`;

interface Feature {
  readonly aggregate: string;
  readonly input: string;
  readonly kind: Kind;
  readonly sql: string;
}

const extreme = (input: string, kind: Kind, as: string): Feature[] => [
  { aggregate: 'min', input, kind, sql: `(array_agg(${as} ORDER BY ${input}) FILTER (WHERE ${input} IS NOT NULL))[1]` },
  {
    aggregate: 'max',
    input,
    kind,
    sql: `(array_agg(${as} ORDER BY ${input} DESC) FILTER (WHERE ${input} IS NOT NULL))[1]`,
  },
];
/** Postgres has no order among equal numbers; a value's text is that of its number. */
const number = (text: string): string => `trim_scale(${text})::text`;
const FEATURES: readonly Feature[] = [
  { aggregate: 'count', input: '', kind: Kind.INT64, sql: 'count(id)::text' },
  { aggregate: 'sum', input: 'n', kind: Kind.DECIMAL, sql: number('sum(n)') },
  { aggregate: 'sum', input: 'b', kind: Kind.INT64, sql: 'sum(b)::text' },
  ...extreme('n', Kind.DECIMAL, number('n')),
  ...extreme('x', Kind.DOUBLE, '(x + 0)::text'),
  ...extreme('b', Kind.INT64, 'b::text'),
  ...extreme('s', Kind.STRING, "encode(convert_to(s, 'UTF8'), 'hex')"),
  ...extreme('at', Kind.TIMESTAMP, '(extract(epoch FROM at) * 1000000)::int8::text'),
  ...extreme('raw', Kind.BYTES, "encode(raw, 'hex')"),
];
const LONGEST: Feature = {
  aggregate: 'max',
  input: 'long',
  kind: Kind.STRING,
  sql: `encode(convert_to(max(long COLLATE "C"), 'UTF8'), 'hex')`,
};
const featuresOf = (identity: string): readonly Feature[] => (identity === 'FULL' ? [...FEATURES, LONGEST] : FEATURES);

async function definitionsOf(url: string, generation: bigint): Promise<DefinitionSet> {
  const requests = TABLES.map(({ table, identity }, i) => {
    const reads = [...new Set(featuresOf(identity).flatMap(({ input }) => (input === '' ? [] : [input])))];
    return { route: i + 1, table, key: 'owner', mode: SourceMode.MUTABLE, reads };
  });
  const definitions = await define(url, generation, requests);
  definitions.views = definitions.views.map((view, i) =>
    create(ViewPlanSchema, {
      ...view,
      viewId: new Uint8Array(16).fill(i + 1),
      mode: SourceMode.MUTABLE,
      features: featuresOf(must(TABLES[i]).identity).map(({ aggregate, input, kind }) =>
        create(FeaturePlanSchema, {
          name: `${aggregate}_${input}`,
          aggregate,
          input,
          ...(input === '' ? {} : { inputType: { kind } }),
          resultType: { kind },
          window: { kind: { case: 'lifetime', value: {} } },
        }),
      ),
      engineVersion: 2,
    }),
  );
  return definitions;
}

const quoted = (text: string): string => `convert_from('\\x${Buffer.from(text, 'utf8').toString('hex')}', 'UTF8')`;

/** One statement, or a few that go together. */
function statement(random: Random): string {
  const { table, identity, key } = random.pick(TABLES);
  const orNull = (values: readonly string[], cast: string): string =>
    random.oneIn(6) ? `NULL::${cast}` : `'${random.pick(values)}'::${cast}`;
  const id = (): string => `${random.between(1, IDS)}${random.pick(['', '.0', '.00'])}`;
  const owner = (): string => quoted(random.pick(OWNERS));
  const long = (): string =>
    random.oneIn(3) ? `repeat('${random.between(1, 9)}\u00e9', ${LONG})` : random.oneIn(2) ? 'NULL::text' : `'short'`;
  const values = (): string =>
    `${id()}, ${owner()}, ${orNull(NUMERICS, 'numeric')}, ${orNull(DOUBLES, 'float8')}, ${orNull(INTEGERS, 'int8')}, ` +
    `${random.oneIn(6) ? 'NULL::text' : quoted(random.pick(TEXTS))}, ${orNull(TIMES, 'timestamptz')}, ${orNull(BYTES, 'bytea')}` +
    (identity === 'FULL' ? `, ${long()}` : '');
  const some = (): string => `id % 7 = ${random.between(0, 6)}`;
  const target = key.slice('PRIMARY KEY '.length);
  const columns = `id, owner, n, x, b, s, at, raw${identity === 'FULL' ? ', long' : ''}`;
  return random.pick([
    () => `INSERT INTO ${table} SELECT ${values()}${key === '' ? '' : ' ON CONFLICT DO NOTHING'}`,
    () => `INSERT INTO ${table} SELECT ${values()}${key === '' ? '' : ' ON CONFLICT DO NOTHING'}`,
    () =>
      `INSERT INTO ${table} SELECT ${values()}${key === '' ? '' : ` ON CONFLICT ${target} DO UPDATE SET n = EXCLUDED.n, s = EXCLUDED.s`}`,
    () =>
      `MERGE INTO ${table} t USING (SELECT ${values()}) v (${columns}) ON t.id = v.id AND t.owner = v.owner ` +
      `WHEN MATCHED AND v.b > 0 THEN DELETE WHEN MATCHED THEN UPDATE SET x = v.x, b = v.b ` +
      `WHEN NOT MATCHED AND NOT EXISTS (SELECT FROM ${table} o WHERE o.id = v.id) THEN INSERT VALUES (${columns.replaceAll(/(\w+)/g, 'v.$1')})`,
    () => `UPDATE ${table} SET n = ${orNull(NUMERICS, 'numeric')}, x = ${orNull(DOUBLES, 'float8')} WHERE ${some()}`,
    () =>
      `UPDATE ${table} SET at = ${orNull(TIMES, 'timestamptz')}, raw = ${orNull(BYTES, 'bytea')} WHERE id = ${id()}`,
    () => `UPDATE ${table} SET owner = ${owner()} WHERE id = ${id()}`,
    () => `UPDATE ${table} SET id = id + 0.000 WHERE ${some()}`,
    () => `UPDATE ${table} SET id = -id WHERE ${some()}; UPDATE ${table} SET id = -id, owner = ${owner()} WHERE id < 0`,
    () => `DELETE FROM ${table} WHERE id = ${id()} OR owner = ${owner()}`,
    () =>
      `WITH gone AS (DELETE FROM ${table} WHERE ${some()} RETURNING *) INSERT INTO ${table} SELECT id + ${IDS}, ${columns.slice(4)} FROM gone WHERE id < ${IDS} ON CONFLICT DO NOTHING`,
    () => (random.oneIn(4) ? `TRUNCATE ${table}` : `UPDATE ${table} SET b = b WHERE TRUE`),
  ])();
}

/** One transaction: whole, undone in part or wholly, prepared, or large. */
async function transaction(random: Random, { sql }: TestDatabase): Promise<void> {
  const statements = Array.from({ length: random.between(1, 6) }, () => {
    const text = statement(random);
    if (!random.oneIn(5)) return text;
    const undo = random.oneIn(2) ? "RAISE EXCEPTION 'undone';" : '';
    return `DO $do$ BEGIN ${text}; ${undo} EXCEPTION WHEN raise_exception THEN NULL; END $do$`;
  });
  if (random.oneIn(12)) {
    statements.push(
      `INSERT INTO t_bag SELECT g, 'a', g, NULL, g, NULL, NULL, NULL, repeat('l', 300) FROM generate_series(1000, 2500) g`,
      'DELETE FROM t_bag WHERE id >= 1000 AND id < 2500',
    );
  }
  if (random.oneIn(8)) statements.push('SELECT 1 / 0');
  const text = statements.join(';\n');
  const name = `p${random.between(1, 1e9)}`;
  const session = await sql.reserve();
  try {
    if (random.oneIn(6)) {
      await session.unsafe(`BEGIN; ${text}; PREPARE TRANSACTION '${name}'`);
      await session.unsafe('INSERT INTO noise VALUES (1)');
      await session.unsafe(`${random.oneIn(3) ? 'ROLLBACK' : 'COMMIT'} PREPARED '${name}'`);
    } else await session.unsafe(text);
  } catch (error) {
    const { code = '' } = error as { code?: string };
    if (!EXPECTED.has(code)) throw error;
    await session.unsafe('ROLLBACK');
  } finally {
    session.release();
  }
}

/** The engine over the log, a fold a partition. */
class Folds {
  readonly #log: MemoryLog;
  readonly #folds: ShardFold[];

  constructor(log: MemoryLog) {
    this.#log = log;
    const cold = { load: () => undefined };
    this.#folds = Array.from({ length: log.partitionCount }, () => new ShardFold({ cold, cacheBytes: 1e9 }));
  }

  async catchUp(): Promise<void> {
    for (const [partition, fold] of this.#folds.entries()) {
      const records = await this.#log.records(partition);
      const entries = records.map((record, offset) => ({ offset, logTimeUs: 0, record, crc: 0 }));
      fold.fold(entries.slice(fold.position));
      for (const { viewId, position } of fold.builds()) fold.foldBuild(viewId, entries.slice(position));
    }
  }

  /** By owner, the view's values. */
  values(view: ViewPlan, features: readonly Feature[]): string[][] {
    const layout = rowLayout(view);
    return OWNERS.map((owner) => {
      const key = keyString(encodeKey([Kind.STRING], [owner]));
      const [row] = this.#folds.flatMap((fold) => fold.row(toHex(view.viewId), key) ?? []);
      const values = row === undefined ? [] : valuesAt(decodeRow(row.bytes, layout.types), 0, layout);
      return features.map(({ aggregate, input, kind }, i) => {
        const { status = ValueStatus.ABSENT, value = null } = values[i] ?? {};
        if (status === ValueStatus.OUT_OF_RANGE) return `${aggregate} ${input}: beyond`;
        return `${aggregate} ${input}: ${aggregate === 'count' ? String(value ?? 0n) : written(kind, value)}`;
      });
    });
  }
}

function written(kind: Kind, value: Scalar): string {
  if (value === null) return 'null';
  if (typeof value === 'number') return String(value + 0);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (kind === Kind.STRING && typeof value === 'string') return Buffer.from(value, 'utf8').toString('hex');
  if (typeof value === 'object') throw new Error('a list is no feature here');
  const text = String(value);
  // Which of two equal numbers is the greatest is nobody's business.
  return kind === Kind.DECIMAL && text.includes('.') ? text.replace(/\.?0+$/, '').replace(/^-0$/, '0') : text;
}

async function inTable({ sql }: TestDatabase, table: string, features: readonly Feature[]): Promise<string[][]> {
  const columns = features.map((feature, i) => `${feature.sql} AS f${i}`).join(', ');
  const rows = await sql.unsafe<Record<string, string | null>[]>(
    `SELECT ${columns} FROM unnest(ARRAY[${OWNERS.map(quoted).join(', ')}]) WITH ORDINALITY o (name, place)
     LEFT JOIN ${table} ON owner = o.name COLLATE "C" GROUP BY place ORDER BY place`,
  );
  return rows.map((row) =>
    features.map(
      ({ aggregate, input, kind }, i) => `${aggregate} ${input}: ${expected(row[`f${i}`] ?? null, aggregate, kind)}`,
    ),
  );
}

function expected(text: string | null, aggregate: string, kind: Kind): string {
  if (text === null) return 'null';
  if (aggregate === 'sum' && kind === Kind.INT64) {
    const sum = BigInt(text);
    return BigInt.asIntN(64, sum) === sum ? text : 'beyond';
  }
  return kind === Kind.DOUBLE ? String(Number(text) + 0) : text;
}

/** Resolves when all that is committed is in the log. */
async function untilCaptured({ sql }: TestDatabase, { source }: Capture): Promise<void> {
  const [row] = await sql<{ lsn: string }[]>`SELECT pg_current_wal_insert_lsn() AS lsn`;
  await sql`INSERT INTO noise VALUES (1)`;
  const committed = must(parseLsn(must(row).lsn));
  const isThere = (): boolean => {
    const { phase, routes, durableLsn } = source.status();
    return phase === SourceState.STREAMING && routes.length === TABLES.length && durableLsn >= committed;
  };
  await expect.poll(isThere, patient).toBe(true);
}

it.each(Array.from({ length: runs }, (_, i) => first + i))(
  'F2 F3 I2: views over values and keys at the edges of their types are SQL over the table (seed %i)',
  async (seed) => {
    const random = new Random(`odd/${seed}`);
    const database = await createDatabase(server.url);
    const directory = temporaryDirectory();
    const log = createMemoryLog({ partitions: 2, clock: systemClock });
    let capture: Capture | undefined;
    try {
      for (const table of TABLES) await database.sql.unsafe(schemaOf(table));
      await database.sql.unsafe('CREATE TABLE noise (a int8)');
      const load = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) await transaction(random, database);
      };
      await load(30);
      let word = '';
      const start = (): Promise<Capture> =>
        startCapture({ url: database.url, directory: directory.path, log, resync: word });
      capture = await start();
      const definitions = await definitionsOf(database.url, 1n);
      await capture.node.apply(definitions);
      const folds = new Folds(log);
      let live = 0;
      for (let round = 0; round < ROUNDS; round++) {
        await load(40);
        if (random.oneIn(2)) {
          await capture.stop();
          await load(15);
          if (random.oneIn(2)) word = `again ${round}`;
          capture = await start();
          await load(15);
        }
        await untilCaptured(database, capture);
        await folds.catchUp();
        expect(capture.quarantine.count, `round ${round}`).toBe(0);
        for (const [i, { table, identity }] of TABLES.entries()) {
          const features = featuresOf(identity);
          const rows = await inTable(database, table, features);
          expect(folds.values(must(definitions.views[i]), features), `round ${round}, ${table}`).toEqual(rows);
          live += rows.filter(([count]) => count !== 'count : 0').length;
        }
      }
      expect(live).toBeGreaterThan(4 * ROUNDS);
    } finally {
      await capture?.stop();
      await database.drop();
      directory.remove();
    }
  },
  240_000,
);
