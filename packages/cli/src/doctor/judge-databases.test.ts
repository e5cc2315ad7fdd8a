/**
 * Goal: whatever keeps a database from being captured, or its disk from being safe, is found with SQL to paste.
 * Method: a diagnosis of a database that is well, one fact changed at a time; the same facts are read from a real
 * server in services/ingest/src/io/diagnose.pg.test.ts.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  DatabaseDiagnosisSchema,
  type NamedTableDiagnosisSchema,
  type ServerDiagnosisSchema,
  type SlotDiagnosisSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { expect, it } from 'vitest';
import { judgeDatabases } from './judge-databases.ts';

const GIB = 1024n ** 3n;
const SERVER: MessageInitShape<typeof ServerDiagnosisSchema> = {
  version: 180_004,
  walLevel: 'logical',
  replicationSlotsMax: 10,
  replicationSlots: 1,
  walSendersMax: 10,
  walSenders: 1,
  slotWalKeepBytes: 50n * GIB,
  mayReplicate: true,
  mayCreate: true,
  user: 'fresh et',
};
const SLOT: MessageInitShape<typeof SlotDiagnosisSchema> = {
  plugin: 'pgoutput',
  active: true,
  activePid: 77,
  retainedBytes: 1_000n,
  walStatus: 'reserved',
  safeWalBytes: 49n * GIB,
};

interface Change {
  readonly server?: MessageInitShape<typeof ServerDiagnosisSchema> | undefined;
  readonly slot?: MessageInitShape<typeof SlotDiagnosisSchema> | null;
  readonly table?: { mutable: boolean; replicaIdentity: ReplicaIdentity; identified: boolean } | null;
  readonly ingestRuns?: boolean;
  readonly named?: MessageInitShape<typeof NamedTableDiagnosisSchema>[];
}

function judged({ server, slot, table, ingestRuns = true, named = [] }: Change): string[] {
  const identity = table ?? { mutable: true, replicaIdentity: ReplicaIdentity.DEFAULT, identified: true };
  const diagnosis = create(DatabaseDiagnosisSchema, {
    database: 'default',
    target: 'freshet@db:5432/shop',
    slotName: 'freshet_default',
    server: { ...SERVER, ...server },
    ...(slot === null ? {} : { slot: { ...SLOT, ...slot } }),
    tables: table === null ? [] : [{ schema: 'public', table: 'Orders', ...identity }],
    named,
  });
  return judgeDatabases([diagnosis], { nowUs: 10 * 3_600_000_000, ingestRuns })
    .filter(({ level }) => level !== 'ok')
    .map(({ level, message, remedy }) => `${level}: ${message} → ${remedy}`);
}

it('finds nothing wrong with a database that is captured, or is ready to be', () => {
  expect(judged({})).toEqual([]);
  expect(judged({ slot: null, table: null })).toEqual([
    expect.stringMatching(/^note: slot freshet_default is not made yet/),
  ]);
});

it.each<[Change['server'], RegExp]>([
  [{ version: 130_000 }, /^problem: Postgres 13\.0 is too old/],
  [{ inRecovery: true }, /^problem: the server is a standby/],
  [{ walLevel: 'replica' }, /^problem: wal_level is replica → ALTER SYSTEM SET wal_level = 'logical';/],
  [{ mayReplicate: false }, /^problem: .*ALTER ROLE "fresh et" WITH REPLICATION;/],
  [{ mayCreate: false }, /^warning: .*publications/],
  [{ slotWalKeepBytes: -1n }, /^note: .*max_slot_wal_keep_size = '50GB'/],
])('finds a server with %o', (server, expected) => {
  expect(judged({ server })).toEqual([expect.stringMatching(expected)]);
});

it('finds that slots or senders run out, counting the ones that are still to be made', () => {
  const full = { replicationSlots: 10, walSenders: 10 };
  expect(judged({ server: full })).toEqual([
    expect.stringMatching(
      /^warning: 10 of 10 replication slots are in use, none is left: no table can be read.*max_replication_slots = 12;/,
    ),
    expect.stringMatching(
      /^warning: 10 of 10 WAL senders are in use, none is left: a stream that is cut off cannot come back.*max_wal_senders = 12;/,
    ),
  ]);
  expect(judged({ server: full, slot: null, table: null })).toEqual([
    expect.stringMatching(
      /^problem: 10 of 10 replication slots are in use, and 2 more are needed .*max_replication_slots = 14;/,
    ),
    expect.stringMatching(/^problem: 10 of 10 WAL senders are in use, and one more is needed .*max_wal_senders = 13;/),
    expect.stringMatching(/^note: slot freshet_default is not made yet/),
  ]);
  // Beside ours, one is needed for as long as initial rows are read.
  expect(judged({ server: { replicationSlots: 9, walSenders: 9 }, slot: null, table: null })).toEqual([
    expect.stringMatching(/^problem: 9 of 10 replication slots are in use, and 2 more are needed /),
    expect.stringMatching(/^warning: 9 of 10 WAL senders are in use, the stream takes the last: /),
    expect.stringMatching(/^note: slot freshet_default is not made yet/),
  ]);
  expect(judged({ server: { replicationSlots: 8, walSenders: 8 }, slot: null, table: null })).toHaveLength(1);
  expect(judged({ server: { walSendersMax: 0, walSenders: 0 } })).toEqual([
    expect.stringMatching(/^problem: max_wal_senders is 0 → /),
  ]);
});

it.each<[Change, RegExp]>([
  [{ slot: { walStatus: 'lost' } }, /^problem: the server gave slot freshet_default up.*--resync=default=<a word/],
  [{ slot: { invalidationReason: 'idle_timeout' } }, /^problem: .*gave slot freshet_default up \(idle_timeout\)/],
  [{ slot: null }, /^problem: slot freshet_default is gone, although 1 tables.*--resync=default=<a word/],
  [{ slot: { plugin: 'wal2json' } }, /^problem: .*plugin wal2json/],
  [{ slot: { walStatus: 'unreserved' } }, /^problem: .*at its next checkpoint/],
  [{ slot: { safeWalBytes: 0n } }, /^problem: .*at its next checkpoint/],
  [{ slot: { safeWalBytes: 5n * GIB } }, /^warning: after 5\.0 GiB more of WAL/],
  [{ slot: { retainedBytes: 5n * GIB } }, /^warning: the server keeps 5\.0 GiB/],
  [{ slot: { retainedBytes: 100n * GIB } }, /^problem: the server keeps 100 GiB/],
  [{ slot: { active: false } }, /^warning: nobody reads slot freshet_default; /],
  [{ slot: { active: false }, ingestRuns: false }, /^note: nobody reads slot freshet_default; /],
  [
    { slot: { active: false, inactiveSinceUs: 7n * 3_600_000_000n }, ingestRuns: false },
    /^warning: nobody reads slot freshet_default for 3\.0 h.*pg_drop_replication_slot\('freshet_default'\);/,
  ],
  [{ ingestRuns: false }, /^warning: slot freshet_default is read by somebody.*pg_terminate_backend\(77\)/],
])('finds a slot with %o', (change, expected) => {
  expect(judged(change)).toEqual([expect.stringMatching(expected)]);
});

it('finds published tables whose updates fail', () => {
  const none = { mutable: true, replicaIdentity: ReplicaIdentity.DEFAULT, identified: false };
  expect(judged({ table: none })).toEqual([
    expect.stringMatching(
      /^problem: UPDATE and DELETE of public\.Orders.*no primary key → ALTER TABLE public\."Orders" REPLICA IDENTITY FULL;/,
    ),
  ]);
  expect(judged({ table: null })).toEqual([expect.stringMatching(/^note: no table is published/)]);
  // Where only inserts are published nothing fails.
  expect(judged({ table: { ...none, mutable: false } })).toEqual([]);
});

it('finds tables of definitions that may not be read, each with its SQL, and says when all may be', () => {
  const grant = 'GRANT SELECT ON public.users TO freshet;';
  const barred = (table: string) => ({
    schema: 'public',
    table,
    problems: [{ code: 'SOURCE_NOT_READY', message: `user freshet may not read public.${table}`, remedy: grant }],
  });
  const well = { schema: 'public', table: 'orders', problems: [] };
  expect(judged({ named: [well, barred('users')] })).toEqual([
    `problem: user freshet may not read public.users → ${grant}`,
  ]);
  expect(judged({ named: [well] })).toEqual([]);
  const many = judged({ named: Array.from({ length: 25 }, (_, i) => barred(`t${i}`)) });
  expect(many).toHaveLength(21);
  expect(many.at(-1)).toMatch(/^problem: … and 5 more/);
});

it('a database that cannot be looked at is a problem, with the reason and the remedy of who tried', () => {
  const failure = { code: 'SOURCE_UNREACHABLE', message: 'no answer within 5000 ms', remedy: 'see that it runs' };
  const found = judgeDatabases([create(DatabaseDiagnosisSchema, { database: 'a', target: 't', failure })], {
    nowUs: 0,
    ingestRuns: false,
  });
  expect(found).toMatchObject([
    { level: 'problem', message: 't cannot be looked at: no answer within 5000 ms', remedy: 'see that it runs' },
  ]);
});
