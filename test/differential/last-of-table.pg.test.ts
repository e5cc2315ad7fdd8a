/**
 * Goal: the row of a table that is the last by the log is the last by the table, also where event times are equal: ingest brings the
 * changes of a key in the order of commits, whatever moves them between entities, tells them again or reads the table anew (F2, F3,
 * I2). Method: a real Postgres that numbers every change of a row, so that SQL can break ties as the log does; a history from one
 * session, of few event times and many large notes, through the real capture with stops and new generations; and the engine's
 * fold over its log, compared with SQL over the table.
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
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseLsn } from '../../services/ingest/src/core/lsn.ts';
import {
  type Capture,
  createDatabase,
  define,
  recordsOf,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../../services/ingest/src/testing/capture.ts';

const DIVISION_BY_ZERO = '22012';
const USERS = 3;
const ROWS = 40;
const ROUNDS = 6;
const patient = { timeout: 60_000, interval: 30 };
const first = Number(process.env['FRESHET_FUZZ_SEED'] ?? '1');
const runs = Math.max(1, Math.round(2 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1')));

const SCHEMA = `
CREATE TABLE t (id int8 PRIMARY KEY, user_id int8 NOT NULL, at timestamptz NOT NULL, note text, told int8 NOT NULL);
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t ALTER note SET STORAGE EXTERNAL;
CREATE SEQUENCE changes;
CREATE FUNCTION number_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.told := nextval('changes'); RETURN NEW; END $$;
CREATE TRIGGER number BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION number_change();`;

let server: RunningPostgres;
beforeAll(async () => {
  server = await startPostgres();
}, 60_000);
afterAll(() => server?.stop(), 60_000);

async function definitionsOf(url: string): Promise<{ definitions: DefinitionSet; view: ViewPlan }> {
  const request = { route: 1, table: 't', key: 'user_id', eventTime: 'at', mode: SourceMode.MUTABLE, reads: ['note'] };
  const definitions = await define(url, 1n, [request]);
  const text = { kind: Kind.STRING };
  const lifetime = { kind: { case: 'lifetime' as const, value: {} } };
  const view = create(ViewPlanSchema, {
    ...must(definitions.views[0]),
    viewId: new Uint8Array(16).fill(7),
    mode: SourceMode.MUTABLE,
    features: [
      create(FeaturePlanSchema, {
        name: 'last',
        aggregate: 'last',
        input: 'note',
        inputType: text,
        resultType: text,
        window: lifetime,
      }),
      create(FeaturePlanSchema, {
        name: 'rows',
        aggregate: 'count',
        resultType: { kind: Kind.INT64 },
        window: lifetime,
      }),
    ],
    engineVersion: 1,
  });
  definitions.views = [view];
  return { definitions, view };
}

/** One transaction of one session, of up to five statements, some of which are undone. */
function transaction(random: Random): string {
  const id = (): number => random.between(1, ROWS);
  const user = (): number => random.between(1, USERS);
  const at = (): string => `timestamptz '2026-01-01' + ${random.between(0, 2)} * interval '1 second'`;
  const note = (): string => {
    if (random.oneIn(4)) return 'NULL';
    return random.oneIn(2) ? `'note ${random.between(1, 1e6)}'` : `repeat('large ${random.between(1, 1e6)} ', 250)`;
  };
  const statement = (): string =>
    random.pick([
      () => `INSERT INTO t VALUES (${id()}, ${user()}, ${at()}, ${note()}) ON CONFLICT DO NOTHING`,
      () =>
        `INSERT INTO t VALUES (${id()}, ${user()}, ${at()}, ${note()}) ON CONFLICT (id) DO UPDATE SET at = EXCLUDED.at`,
      () => `UPDATE t SET note = ${note()} WHERE id = ${id()}`,
      () => `UPDATE t SET at = ${at()} WHERE id = ${id()}`,
      () => `UPDATE t SET at = at WHERE id % 7 = ${random.between(0, 6)}`,
      () => `UPDATE t SET user_id = ${user()} WHERE id = ${id()}`,
      () => `UPDATE t SET user_id = ${user()}, note = ${note()} WHERE id % 11 = ${random.between(0, 10)}`,
      () => `UPDATE t SET id = id + ${ROWS} WHERE id = ${id()} AND NOT EXISTS (SELECT FROM t WHERE id > ${ROWS})`,
      () =>
        `UPDATE t SET id = id - ${ROWS}, user_id = ${user()} WHERE id > ${ROWS} AND id - ${ROWS} NOT IN (SELECT id FROM t)`,
      () => `DELETE FROM t WHERE id = ${id()}`,
    ])();
  const statements = Array.from({ length: random.between(1, 5) }, () => {
    const text = statement();
    if (!random.oneIn(6)) return text;
    return `DO $do$ BEGIN ${text}; RAISE EXCEPTION 'undone'; EXCEPTION WHEN raise_exception THEN NULL; END $do$`;
  });
  // Sent as one text it is one transaction.
  return [...statements, ...(random.oneIn(8) ? ['SELECT 1 / 0'] : [])].join('; ');
}

/** The engine over the log, a fold a partition. */
class Folds {
  readonly #log: MemoryLog;
  readonly #view: ViewPlan;
  readonly #folds: ShardFold[];

  constructor(log: MemoryLog, view: ViewPlan) {
    this.#log = log;
    this.#view = view;
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

  /** By user: the last note, and how many rows. */
  values(): string[] {
    const layout = rowLayout(this.#view);
    return Array.from({ length: USERS }, (_, i) => {
      const key = keyString(encodeKey([Kind.INT64], [BigInt(i + 1)]));
      const rows = this.#folds.flatMap((fold) => fold.row(toHex(this.#view.viewId), key) ?? []);
      const [last, count] = rows.flatMap(({ bytes }) => valuesAt(decodeRow(bytes, layout.types), 0, layout));
      return `${String(count?.value ?? 0)} rows, ${String(last?.value ?? null)}`;
    });
  }
}

async function inTable({ sql }: TestDatabase): Promise<{ values: string[]; ties: number }> {
  const rows = await sql<{ count: string; note: string | null; ties: number }[]>`
    SELECT count(id)::text, (array_agg(note ORDER BY at DESC, told DESC) FILTER (WHERE note IS NOT NULL))[1] AS note,
           count(id) FILTER (WHERE note IS NOT NULL AND at = (SELECT max(at) FROM t WHERE user_id = u AND note IS NOT NULL))::int AS ties
    FROM generate_series(1, ${USERS}) AS u LEFT JOIN t ON user_id = u GROUP BY u ORDER BY u`;
  const values = rows.map(({ count, note }) => `${count} rows, ${note}`);
  return { values, ties: rows.filter(({ ties }) => ties > 1).length };
}

/** Resolves when all that is committed is in the log. */
async function untilCaptured({ sql }: TestDatabase, capture: Capture): Promise<void> {
  const [row] = await sql<{ lsn: string }[]>`SELECT pg_current_wal_lsn() AS lsn`;
  const committed = must(parseLsn(must(row).lsn));
  const { source } = capture;
  const isThere = (): boolean => {
    const { phase, routes, durableLsn } = source.status();
    return phase === SourceState.STREAMING && routes.includes(1) && durableLsn >= committed;
  };
  await expect.poll(isThere, patient).toBe(true);
}

it.each(Array.from({ length: runs }, (_, i) => first + i))(
  'F2 F3 I2: the last row by the log is the last by the table, among equal times too (seed %i)',
  async (seed) => {
    const random = new Random(`last/${seed}`);
    const database = await createDatabase(server.url);
    const directory = temporaryDirectory();
    const log = createMemoryLog({ partitions: 2, clock: systemClock });
    let capture: Capture | undefined;
    try {
      await database.sql.unsafe(SCHEMA);
      const load = async (transactions: number): Promise<void> => {
        for (let i = 0; i < transactions; i++) {
          await database.sql.unsafe(transaction(random)).catch((error: { code?: string }) => {
            if (error.code !== DIVISION_BY_ZERO) throw error;
          });
        }
      };
      await load(20);
      const start = (resync: string): Promise<Capture> =>
        startCapture({ url: database.url, directory: directory.path, log, resync });
      let word = '';
      capture = await start(word);
      const { definitions, view } = await definitionsOf(database.url);
      await capture.node.apply(definitions);
      const folds = new Folds(log, view);
      let ties = 0;
      for (let round = 0; round < ROUNDS; round++) {
        await load(25);
        const isAnew = round === 2 || random.oneIn(4);
        if (isAnew || random.oneIn(3)) {
          await capture.stop();
          await load(10);
          // A new word has the table read anew.
          if (isAnew) word = `again ${round}`;
          capture = await start(word);
          await load(10);
        }
        await untilCaptured(database, capture);
        // Rows that were read anew are in the order in which they lie in the table; told once more, in that of the changes.
        await database.sql`UPDATE t SET at = at`;
        await load(15);
        await untilCaptured(database, capture);
        await folds.catchUp();
        const table = await inTable(database);
        expect(folds.values(), `round ${round}`).toEqual(table.values);
        ties += table.ties;
      }
      expect(ties).toBeGreaterThan(ROUNDS);
      const begun = (await recordsOf(log))
        .flat()
        .flatMap(({ kind }) => (kind.case === 'routeBegin' ? kind.value.generation : []));
      expect(Math.max(...begun)).toBeGreaterThan(1);
      expect(capture.quarantine.count).toBe(0);
    } finally {
      await capture?.stop();
      await database.drop();
      directory.remove();
    }
  },
  240_000,
);
