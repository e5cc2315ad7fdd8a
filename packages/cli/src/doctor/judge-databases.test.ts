/**
 * Goal: whatever keeps a database from being captured, or its disk from being safe, is found with SQL to paste.
 * Method: a diagnosis of a database that is well, one fact changed at a time; the same facts are read from a real
 * server in services/ingest/src/io/diagnose.pg.test.ts.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  DatabaseDiagnosisSchema,
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
}

function judged({ server, slot, table, ingestRuns = true }: Change): string[] {
  const identity = table ?? { mutable: true, replicaIdentity: ReplicaIdentity.DEFAULT, identified: true };
  const diagnosis = create(DatabaseDiagnosisSchema, {
    database: 'default',
    target: 'freshet@db:5432/shop',
    slotName: 'freshet_default',
    server: { ...SERVER, ...server },
    ...(slot === null ? {} : { slot: { ...SLOT, ...slot } }),
    tables: table === null ? [] : [{ schema: 'public', table: 'Orders', ...identity }],
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
    expect.stringMatching(/^note: 10 of 10 replication slots/),
    expect.stringMatching(/^note: 10 of 10 WAL senders/),
  ]);
  expect(judged({ server: full, slot: null, table: null })).toEqual([
    expect.stringMatching(/^problem: all 10 replication slots are in use.*max_replication_slots = 13;/),
    expect.stringMatching(/^problem: all 10 WAL senders.*max_wal_senders = 13;/),
    expect.stringMatching(/^note: slot freshet_default is not made yet/),
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
