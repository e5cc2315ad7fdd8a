/**
 * Goal: the incident under traffic, on the whole mesh: while tables change their shapes, no answer ever has a value that the
 * database did not have for that entity, what breaks a contract stands still with its table and reason told, the table
 * beside them stays fresh, and accepted definitions fold every held row once, in order (C1, F3, R2).
 * Method: a table for each change, with a writer that goes on over the DDL. What an entity's answers may be is written down
 * before each commit; a reader looks for any other answer, or one that goes back, from the first row to the last. At the
 * end the database's own counts and last values are what is served.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { planAndApply } from '@freshet/cli/definitions.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { IngestService, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import {
  type HeldTable,
  QuarantineService,
  type ReleaseQuarantineResponse,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import {
  type CheckContractResponse,
  ContractService,
  ContractVerdict,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { untilServed, untilServing } from '../../examples/storefront/quiesce.ts';
import {
  CHANGES,
  type Change,
  COUNTED,
  countOf,
  definitionsOf,
  IncidentWriter,
  SCHEMA,
  USERS,
} from '../support/incident.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';

const HELD = CHANGES.filter(({ held }) => held !== undefined);
/** How soon a commit of the table beside them is served: while tables are held, and while definitions change. */
const FRESH_MS = 3_000;
const FRESH_AT_APPLY_MS = 10_000;
const VERDICTS = {
  breaking: ContractVerdict.BREAKING,
  note: ContractVerdict.COMPATIBLE_WITH_NOTE,
  compatible: ContractVerdict.COMPATIBLE,
};
const signal = new AbortController().signal;
const patient = { timeout: 30_000, interval: 50 };

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: SCHEMA, definitions: definitionsOf(false), partitions: 4 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

interface Served {
  readonly n: number;
  /** Undefined: the view does not have the column. */
  readonly value: string | null | undefined;
}

async function read(table: string): Promise<Served[]> {
  const { columns } = await under.client.getFeatures({ service: table, keys: { user_id: USERS }, deadlineMs: 5_000 });
  const values = columns[`${table}:v`]?.values;
  return USERS.map((_, i) => {
    const value = values?.[i];
    return {
      n: Number(columns[`${table}:n`]?.values[i]),
      value: values === undefined ? undefined : value === null ? null : textOf(value),
    };
  });
}

/** Decimals without the zeros at their end, as the histories have them. */
function textOf(value: unknown): string {
  const text = String(value);
  return /^-?\d+\.\d+$/.test(text) ? String(Number(text)) : text;
}

/** Reads every table over and over; whatever its history does not allow is a problem. */
function startReading(writers: readonly IncidentWriter[]) {
  const problems: string[] = [];
  const newest = new Map<string, number>();
  const state = { reads: 0, stopped: false };
  /** Tables of which held rows may be folded by now. */
  const accepted = new Set<string>();
  /** Held from the first row that breaks on, not from the change on. */
  const rowByRow = new Set(['relabelled', 'nulled']);
  const look = async ({ change, history, atChange }: IncidentWriter): Promise<void> => {
    const { table, held } = change;
    const isHeld = (): boolean => held !== undefined && !rowByRow.has(table) && !accepted.has(table);
    const wasHeld = isHeld();
    const served = await read(table);
    state.reads += 1;
    USERS.forEach((user, i) => {
      const { n, value } = served[i] ?? { n: -1, value: null };
      const states = history.get(user) ?? [];
      const name = `${table} of user ${user}`;
      if (!(n in states)) problems.push(`${name}: ${n} rows of ${states.length - 1}`);
      else if (value !== undefined && value !== states[n])
        problems.push(`${name}: ${String(value)} after ${n} rows, and it was ${states[n]}`);
      if (n < (newest.get(name) ?? 0)) problems.push(`${name}: ${newest.get(name)} rows, then ${n}`);
      newest.set(name, n);
      const last = atChange.get(user);
      // Looked at before and behind the read: it may have been accepted meanwhile.
      if (wasHeld && isHeld() && last !== undefined && n > last)
        problems.push(`${name}: ${n} rows are folded, and ${last} were before`);
    });
  };
  /** What the change does not touch is folded once as well, and never goes back. */
  const lookAtCount = async ({ history }: IncidentWriter): Promise<void> => {
    const served = await read(countOf(COUNTED));
    USERS.forEach((user, i) => {
      const name = `${countOf(COUNTED)} of user ${user}`;
      const { n } = served[i] ?? { n: -1 };
      if (!(n in (history.get(user) ?? [])) || n < (newest.get(name) ?? 0))
        problems.push(`${name}: ${newest.get(name)} rows, then ${n}`);
      newest.set(name, n);
    });
  };
  const run = (async () => {
    while (!state.stopped) {
      const counted = must(writers.find(({ change }) => change.table === COUNTED));
      await lookAtCount(counted).catch((error: unknown) => problems.push(String(error)));
      for (const writer of writers) await look(writer).catch((error: unknown) => problems.push(String(error)));
      await pause(5);
    }
  })();
  return {
    problems,
    state,
    accept: (tables: readonly string[]): void => {
      for (const table of tables) accepted.add(table);
    },
    stop: async () => {
      state.stopped = true;
      await run;
    },
  };
}

/** Whom it hurts is named: features, services, owners. */
function expectVerdict({ judgements }: CheckContractResponse, table: string, verdict: Change['verdict']): void {
  const judged = judgements.find(({ source }) => source === table);
  expect(judged?.verdict, table).toBe(VERDICTS[verdict]);
  const consumers = judged?.changes.flatMap((change) => change.consumers) ?? [];
  if (verdict === 'compatible') return;
  expect(
    consumers.flatMap(({ services }) => services),
    table,
  ).toContain(table);
  if (verdict !== 'breaking') return;
  expect(
    consumers.flatMap(({ features }) => features),
    table,
  ).toContain(`${table}:v`);
  expect(
    consumers.flatMap(({ owners }) => owners),
    table,
  ).toContain(`team_${table}`);
}

/** Commits of the table beside them, one after another; each is waited for until it is served. */
function startSteady() {
  const state = { commits: 0, slowestMs: 0, stopped: false };
  const run = (async () => {
    while (!state.stopped) {
      const id = state.commits + 1;
      await under.sql`INSERT INTO steady VALUES (${id}, 1)`;
      const from = performance.now();
      while (((await read('steady'))[0]?.n ?? 0) < id) {
        state.slowestMs = Math.max(state.slowestMs, performance.now() - from);
        if (performance.now() - from > 60_000) throw new Error(`row ${id} of steady is not served`);
        await pause(5);
      }
      state.slowestMs = Math.max(state.slowestMs, performance.now() - from);
      state.commits = id;
    }
  })();
  run.catch(() => undefined);
  return {
    state,
    /** The slowest since the last call. */
    slowest: (): number => {
      const { slowestMs } = state;
      state.slowestMs = 0;
      return slowestMs;
    },
    stop: async () => {
      state.stopped = true;
      await run;
    },
  };
}

type Clients = ReturnType<typeof connect>;

function connect(addresses: MeshUnderTest['mesh']['addresses']) {
  return {
    registry: createGrpcClient(RegistryService, addresses.registry),
    contracts: createGrpcClient(ContractService, addresses.registry, { deadlineMs: 30_000 }),
    ingest: createGrpcClient(IngestService, addresses.ingest),
    quarantine: createGrpcClient(QuarantineService, addresses.ingest),
  };
}

async function heldNow(quarantine: Clients['quarantine']): Promise<HeldTable[]> {
  return (await quarantine.listQuarantine({})).held;
}

/** What breaks is held, and nothing else, with its table and its reason in the list and in the status. */
async function expectHeld({ ingest, quarantine }: Clients): Promise<void> {
  await expect
    .poll(async () => (await heldNow(quarantine)).map(({ source }) => source).sort(), patient)
    .toEqual(HELD.map(({ table }) => table).sort());
  const { conditions, sources, held: inStatus } = await ingest.getIngestStatus({});
  expect(inStatus.map(({ source }) => source).sort()).toEqual(HELD.map(({ table }) => table).sort());
  expect(inStatus.every(({ rows, bytes, contractVersion }) => rows > 0n && bytes > rows && contractVersion > 0)).toBe(
    true,
  );
  for (const { table, held } of HELD) {
    const one = (await heldNow(quarantine)).find(({ source }) => source === table);
    expect(one, table).toMatchObject({
      table: `default/public.${table}`,
      reason: expect.stringMatching(held ?? /./),
    });
    const told = conditions.filter(({ id, message }) => id.includes('/held/') && (held ?? /./).test(message));
    expect(
      told.some(({ message, place }) => `${message} ${place}`.includes(table)),
      table,
    ).toBe(true);
  }
  expect(conditions.filter(({ id }) => id.includes('/held/'))).toHaveLength(HELD.length);
  expect(sources.map(({ state }) => state)).toEqual([SourceState.STREAMING]);
}

/** A mapping folds what is held under the contract as it is; behind the renaming back, rows flow as before. */
async function releaseMapped({ quarantine }: Clients): Promise<void> {
  const mapping = { source: 'mapped', mappings: [{ column: 'v', label: '', now: 'w' }] };
  let last: ReleaseQuarantineResponse | undefined;
  for await (const progress of quarantine.releaseQuarantine(mapping, { deadlineMs: 60_000 })) last = progress;
  expect(last).toMatchObject({ done: true, blocked: '' });
  await under.sql`ALTER TABLE mapped RENAME w TO v`;
  const rowsThen = (await read('mapped')).map(({ n }) => n);
  await expect.poll(async () => (await read('mapped')).every(({ n }, i) => n > (rowsThen[i] ?? 0)), patient).toBe(true);
}

/** What is served is what the database has, and that is what was written. */
async function expectAsInDatabase(writers: readonly IncidentWriter[]): Promise<void> {
  for (const { change, history } of writers) {
    const { table, aggregate, readAs, computedAnew } = change;
    const value =
      readAs === undefined
        ? 'NULL'
        : aggregate !== 'last'
          ? `${aggregate}(${readAs})`
          : `(array_agg(${readAs} ORDER BY id DESC) FILTER (WHERE ${readAs} IS NOT NULL))[1]`;
    const rows = await under.sql.unsafe<{ n: number; value: string | null }[]>(
      `SELECT count(*)::int AS n, ${value}::text AS value FROM ${table} GROUP BY user_id ORDER BY user_id`,
    );
    const wanted = rows.map((row, i) => {
      // The sum over both scales is what was accepted.
      const inDatabase = computedAnew ? history.get(must(USERS[i]))?.at(-1) : row.value;
      return { n: row.n, value: readAs === undefined ? undefined : inDatabase === null ? null : textOf(inDatabase) };
    });
    expect(await read(table), table).toEqual(wanted);
    if (table === COUNTED) expect((await read(countOf(table))).map(({ n }) => n)).toEqual(wanted.map(({ n }) => n));
    expect(
      [...history.values()].map((states) => states.length - 1),
      table,
    ).toEqual(wanted.map(({ n }) => n));
  }
}

it('C1 F3 R2: serves no wrong value, holds what breaks, and folds it once when it is accepted', async () => {
  const { addresses } = under.mesh;
  const clients = connect(addresses);
  const { registry, contracts, quarantine } = clients;
  const writers = CHANGES.map((change) => new IncidentWriter(under.sql, change));
  const reading = startReading(writers);
  const steady = startSteady();
  try {
    for (const writer of writers) writer.start();
    await pause(1_500);
    // Before: what a pipeline would be told.
    for (const { table, ddl, verdict } of CHANGES) {
      const told = await contracts.checkContract({ change: { case: 'ddl', value: ddl } });
      expect(told.notUnderstood, table).toEqual([]);
      expectVerdict(told, table, verdict);
    }
    for (const writer of writers) await writer.alter();
    await pause(2_000);

    await expectHeld(clients);

    // The verdict names the features, the services and who answers for them.
    const live = await contracts.checkContract({ change: { case: 'live', value: true } });
    for (const { table, verdict } of CHANGES) expectVerdict(live, table, verdict);
    expect(live.judgements.map(({ source }) => source)).not.toContain('steady');

    reading.accept(['mapped']);
    await releaseMapped(clients);

    // What nobody can read is not accepted.
    await expect(
      planAndApply(registry, parseDefinitions([{ path: 'a.yaml', text: definitionsOf(false) }]), {
        signal,
        acceptContracts: true,
      }),
    ).rejects.toMatchObject({ code: 'INVALID_DEFINITION' });
    const slowestHeld = steady.slowest();

    reading.accept(CHANGES.map(({ table }) => table));
    const next = parseDefinitions([{ path: 'b.yaml', text: definitionsOf(true) }]);
    await expect(planAndApply(registry, next, { signal })).rejects.toMatchObject({ code: 'CONTRACT_NOT_ACCEPTED' });
    await planAndApply(registry, next, { signal, acceptContracts: true });
    await untilServing(addresses, signal);
    await expect
      .poll(async () => (await heldNow(quarantine)).map(({ source }) => source), { ...patient, timeout: 60_000 })
      .toEqual([]);
    await pause(1_000);
    for (const writer of writers) await writer.stop();
    await untilServed(under.sql, addresses, signal);
    const slowestAccepted = steady.slowest();
    await steady.stop();
    await reading.stop();

    expect(reading.state.reads).toBeGreaterThan(10 * CHANGES.length);
    expect([...new Set(reading.problems)].slice(0, 20)).toEqual([]);
    await expectAsInDatabase(writers);
    expect((await quarantine.listQuarantine({})).rows).toEqual([]);
    expect(slowestHeld).toBeLessThan(FRESH_MS);
    expect(slowestAccepted).toBeLessThan(FRESH_AT_APPLY_MS);
  } finally {
    await Promise.allSettled([...writers.map((writer) => writer.stop()), reading.stop(), steady.stop()]);
    for (const client of Object.values(clients)) client.close();
  }
}, 180_000);
