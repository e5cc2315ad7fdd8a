/**
 * Goal: the memory of every process stays inside what docs/running.md says of it (R4 on real processes), whatever of
 * its own is not bounded: a transaction of any size, all events on one key, followers that stopped reading, a follower
 * that is always in the middle of a pass. Method: a mesh with small budgets and many times as much through it; the
 * system's own account of each process's memory; then every served value against SQL, because memory that is saved by
 * dropping something is not saved.
 *
 * FRESHET_MEMORY_ROWS: rows of the transaction, 1,000,000 in soak.
 */
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Role } from '@freshet/cli/mesh/mesh.ts';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MemoryWatch, watchMemory } from '../support/memory-watch.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';

const MIB = 2 ** 20;
const ROWS = Number(process.env['FRESHET_MEMORY_ROWS'] ?? 100_000);
const KEYS = Math.max(1, Math.floor(ROWS / 4));
const HOT_KEY = 1;
/** Transactions of the part with one hot key. */
const HOT_COMMITS = 20;
const PARTITIONS = 8;
const ROLES = ['registry', 'ingest', 'compute', 'serve'] as const satisfies readonly Role[];
/** Keys asked for in one call. */
const CHUNK = 1000;

/** What the transaction brings in, however many rows it has: far more than may be in memory. */
const TRANSACTION_BYTES = 400_000_000;
/** Followers that stop reading; what is kept for one of them is small, and must not be there at all. */
const STOPPED = 40;

/** What the options below say, MiB. */
const IN_FLIGHT = 8;
const CACHE = 64;
const REPLICA_ROWS = Math.max(32, Math.ceil((KEYS * 600) / MIB));
/** docs/running.md, "What a process takes of memory". */
const RESIDENT_MAX: Readonly<Record<Role, number>> = {
  registry: 200 * MIB,
  ingest: (550 + 2 * IN_FLIGHT) * MIB,
  compute: (550 + CACHE) * MIB,
  serve: (400 + 2 * REPLICA_ROWS) * MIB,
};

const SCHEMA = `
CREATE TABLE public.payments (
  payment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint NOT NULL,
  cents      bigint NOT NULL,
  note       text NOT NULL,
  paid_at    timestamptz NOT NULL
);
CREATE INDEX payments_account ON public.payments (account_id);
`;
const DEFINITIONS = `
kind: Entity
name: account
key: { account_id: int64 }
---
kind: Source
name: payments
mode: append
postgres: { table: public.payments }
event_time: paid_at
---
kind: FeatureView
name: spending
entity: account
source: payments
features:
  payments_total: { count: {} }
  cents_total: { sum: cents }
  largest: { max: cents }
  payments_24h: { count: {}, rolling: 24h }
---
kind: FeatureService
name: limits
features: ["spending:*"]
`;

let under: MeshUnderTest;
let watch: MemoryWatch<Role>;
beforeAll(async () => {
  under = await startMeshUnderTest({
    schema: SCHEMA,
    definitions: DEFINITIONS,
    partitions: PARTITIONS,
    services: {
      ingest: { 'in-flight': `${IN_FLIGHT}MiB` },
      compute: { 'cache-bytes': `${CACHE}MiB`, 'journal-bytes': '4MiB' },
      serve: { 'memory-budget': `${REPLICA_ROWS}MiB`, 'decoded-rows': '1000' },
    },
  });
  watch = watchMemory(ROLES, (role) => under.mesh.pid(role));
}, 120_000);
afterAll(async () => {
  await watch?.stop();
  await under?.close();
}, 60_000);

describe.skipIf(!existsSync('/proc/self/status'))('R4: memory stays inside its budget', () => {
  it(`a transaction of ${ROWS} rows, a hot key, followers that stopped and one that is slow`, async () => {
    const signal = new AbortController().signal;
    await pay(ROWS, (row) => `1 + ${row} % ${KEYS}`, Math.ceil(TRANSACTION_BYTES / ROWS));
    await untilServed(under.sql, under.mesh.addresses, signal);

    const stopped = Array.from({ length: STOPPED }, () => new SlowFollower(under, Number.POSITIVE_INFINITY));
    const slow = new SlowFollower(under, 1000);
    for (let commit = 0; commit < HOT_COMMITS; commit++) {
      await pay(Math.ceil(ROWS / HOT_COMMITS), () => `${HOT_KEY}`);
      // Others change as well, so that there is something to tell to who does not listen.
      await pay(Math.ceil(KEYS / 4), (row) => `1 + (${row} * 7919 + ${commit}) % ${KEYS}`);
    }
    await untilServed(under.sql, under.mesh.addresses, signal);
    // They were what they should be: those took a frame and no more, this one some of a pass.
    expect(stopped.map((follower) => follower.frames)).toEqual(stopped.map(() => 1));
    expect(slow.frames).toBeGreaterThan(1);
    const differences = await differencesFromSql();
    await Promise.all([...stopped, slow].map((follower) => follower.stop()));
    await watch.stop();

    expect(differences).toEqual([]);
    const { peaks } = watch;
    for (const role of ROLES) {
      const { resident, anonymous, looks } = peaks[role];
      process.stdout.write(
        `${role}: at most ${mib(resident)} MiB resident (${mib(anonymous)} of it no file's), of ${mib(RESIDENT_MAX[role])}\n`,
      );
      expect(looks).toBeGreaterThan(20);
    }
    const over = ROLES.filter((role) => peaks[role].resident > RESIDENT_MAX[role]);
    expect(over).toEqual([]);
    // A process that was started anew would have begun to count anew.
    expect(ROLES.map((role) => under.mesh.starts(role))).toEqual(ROLES.map(() => 1));
  }, 3_600_000);
});

/** One transaction of so many rows; `account` says in SQL whose the row is. */
async function pay(rows: number, account: (row: string) => string, noteBytes = 100): Promise<void> {
  await under.sql.unsafe(`
    INSERT INTO public.payments (account_id, cents, note, paid_at)
    SELECT ${account('i')}, (i * 31) % 10007, repeat('n', ${noteBytes}), now() FROM generate_series(1, ${rows}) AS i`);
}

/** Follows all shards from nothing, and reads a frame every so often; with infinity, one. Once it has all, it begins anew. */
class SlowFollower {
  frames = 0;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(mesh: MeshUnderTest, everyMs: number) {
    this.#running = this.#follow(mesh.mesh.addresses.compute, everyMs);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #follow(address: string, everyMs: number): Promise<void> {
    const client = createGrpcClient(ComputeService, address);
    try {
      while (!this.#stop.signal.aborted) await this.#followOnce(client, everyMs);
    } catch (error) {
      if (!this.#stop.signal.aborted || !isFreshetError(error, 'CANCELLED')) throw error;
    } finally {
      client.close();
    }
  }

  /** From nothing until every shard has said all it has. */
  async #followOnce(client: GrpcClient<typeof ComputeService>, everyMs: number): Promise<void> {
    const { signal } = this.#stop;
    const shards = Array.from({ length: PARTITIONS }, (_, shard) => ({ shard }));
    const caughtUp = new Set<number>();
    for await (const frame of client.subscribeChanges({ shards }, { signal })) {
      this.frames += 1;
      if ((frame.cursor?.position ?? 0n) > 0n) caughtUp.add(frame.shard);
      await waitFor(everyMs, signal);
      if (signal.aborted || caughtUp.size === PARTITIONS) return;
    }
  }
}

async function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  if (Number.isFinite(ms)) await pause(ms);
  else await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Every key's served values against SQL over the table; the first differences, in words. */
async function differencesFromSql(): Promise<string[]> {
  const rows = await under.sql<Record<string, string>[]>`
    SELECT account_id::text, count(*)::text AS payments, sum(cents)::text AS cents, max(cents)::text AS largest
    FROM public.payments GROUP BY account_id ORDER BY account_id`;
  expect(rows.length).toBe(KEYS);
  const differences: string[] = [];
  for (let at = 0; at < rows.length && differences.length < 10; at += CHUNK) {
    const some = rows.slice(at, at + CHUNK);
    const ids = some.map((row) => BigInt(String(row['account_id'])));
    const { columns } = await under.client.getFeatures({
      service: 'limits',
      keys: { account_id: ids },
      deadlineMs: 10_000,
    });
    some.forEach((row, i) => {
      const served = ['payments_total', 'cents_total', 'largest', 'payments_24h'].map((feature) =>
        String(columns[`spending:${feature}`]?.values[i]),
      );
      const wanted = [row['payments'], row['cents'], row['largest'], row['payments']];
      if (served.join() !== wanted.join())
        differences.push(`account ${row['account_id']}: served ${served.join()}, SQL says ${wanted.join()}`);
    });
  }
  return differences;
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}
