/**
 * Goal: contracts are recorded with the apply that brings them, a change is judged for those who read it, by DDL, live or
 * given, and a new shape is accepted by the hash of what was looked at. Method: a real registry on LevelDB and a fake
 * ingest over real gRPC.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { ContractGate, ContractVerdict } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  ChangePolicy,
  type ColumnSchema,
  type Contract,
  ContractSchema,
  SourceMode,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RegistryHarness, startFakeIngest, startRegistryHarness } from './registry-harness.ts';

const WRITTEN: MessageInitShape<typeof DefinitionsSchema> = {
  entities: [{ name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] }],
  sources: [
    {
      name: 'clicks',
      mode: SourceMode.APPEND,
      origin: { case: 'postgres', value: { database: 'default', schema: 'public', table: 'clicks' } },
    },
  ],
  views: [
    {
      name: 'a',
      entity: 'user',
      source: 'clicks',
      where: 'kind == "a"',
      owner: 'growth',
      features: [{ name: 'n', aggregate: 'count' }],
    },
  ],
  services: [{ name: 's', features: ['a:n'], owner: 'ranking' }],
};

const column = (name: string, kind: Kind, sourceType: string, length = 0): MessageInitShape<typeof ColumnSchema> => ({
  name,
  type: { kind },
  sourceType,
  length,
  sourceTypeModifier: -1,
});
const shape = (length: number) => [
  column('user_id', Kind.INT64, 'bigint'),
  column('kind', Kind.STRING, `character varying(${length})`, length),
  column('spare', Kind.STRING, 'text'),
];

/** With values of its second column that were computed anew. */
const since = (valuesSinceUs: bigint, length = 20) =>
  shape(length).map((one) => (one.name === 'kind' ? { ...one, valuesSinceUs } : one));

let directory: string;
let registry: RegistryHarness;
let columns = shape(20);
let ingest: { close(): Promise<void> };
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-contracts-'));
  columns = shape(20);
  await start();
  const { planHash } = await registry.client.planDefinitions({ definitions: WRITTEN });
  await registry.client.applyDefinitions({ definitions: WRITTEN, planHash });
});
afterEach(async () => {
  await stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(): Promise<void> {
  registry = await startRegistryHarness({ directory });
  ingest = await startFakeIngest(registry, ({ tables }) => ({
    tables: tables.map(({ source }) => ({ contract: { source, version: 1, columns } })),
  }));
}

async function stop(): Promise<void> {
  await ingest.close();
  await registry.close();
}

const HURT = {
  source: 'clicks',
  version: 1,
  verdict: ContractVerdict.BREAKING,
  gate: ContractGate.HOLD,
  changes: [
    {
      kind: 'length_narrowed',
      column: 'kind',
      verdict: ContractVerdict.BREAKING,
      consumers: [
        { view: 'a', features: ['a:n'], services: ['s'], owners: ['growth', 'ranking'], ways: ['condition'] },
      ],
    },
  ],
};

it('judges a change by DDL, by the live table and by a given contract alike, and changes nothing', async () => {
  const ddl = 'ALTER TABLE clicks ALTER kind TYPE varchar(10)';
  const byDdl = await registry.contracts.checkContract({ change: { case: 'ddl', value: ddl } });
  expect(byDdl).toMatchObject({ judgements: [HURT], notUnderstood: [] });
  columns = shape(10);
  const byTable = await registry.contracts.checkContract({ change: { case: 'live', value: true } });
  expect(byTable.judgements).toEqual(byDdl.judgements);
  const given = { contracts: [{ source: 'clicks', columns }] };
  const byContract = await registry.contracts.checkContract({ change: { case: 'given', value: given } });
  expect(byContract.judgements).toEqual(byDdl.judgements);
  const { contracts } = await registry.contracts.listContracts({});
  expect(contracts).toMatchObject([{ contract: { version: 1 }, generation: 1n }]);
});

it('a USING that leaves the type as it is breaks who reads the column, and its rows are held', async () => {
  const ddl = 'ALTER TABLE clicks ALTER kind TYPE varchar(20) USING upper(kind)';
  expect(await registry.contracts.checkContract({ change: { case: 'ddl', value: ddl } })).toMatchObject({
    judgements: [
      {
        verdict: ContractVerdict.BREAKING,
        gate: ContractGate.HOLD,
        changes: [{ kind: 'values_rewritten', column: 'kind', consumers: [{ view: 'a', features: ['a:n'] }] }],
      },
    ],
    notUnderstood: [],
  });
});

it('what nobody reads breaks nobody; what is not understood is told; sources that are not there are refused', async () => {
  const check = (value: string, sources: string[] = []) =>
    registry.contracts.checkContract({ change: { case: 'ddl', value }, sources });
  const unread = await check('ALTER TABLE clicks DROP spare; ALTER TABLE other DROP x');
  expect(unread).toMatchObject({
    judgements: [{ verdict: ContractVerdict.COMPATIBLE, gate: ContractGate.PASS }],
    unreadTables: ['public.other'],
  });
  expect((await check('TRUNCATE clicks')).notUnderstood).toEqual(['TRUNCATE clicks']);
  await expect(check('DROP TABLE clicks', ['click'])).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    remedy: 'did you mean "clicks"?',
  });
});

it('keeps what the stream showed, accepts it by hash, and knows all of it after a restart', async () => {
  const report = (length: number, lsn: bigint) =>
    registry.contracts.reportContract({
      contract: create(ContractSchema, { source: 'clicks', columns: shape(length) }),
      lsn,
    });
  expect(await report(20, 100n)).toMatchObject({ version: 1, judgement: { changes: [] } });
  expect(await report(20, 150n)).toMatchObject({ version: 1 });
  columns = shape(10);
  expect(await report(10, 200n)).toMatchObject({ version: 0, judgement: HURT });
  await report(10, 300n);
  const pending = await registry.contracts.getContract({ source: 'clicks' });
  expect(pending).toMatchObject({ versions: [{ lsn: 100n }], seen: { lsn: 200n }, judgement: HURT });

  const asked = await registry.contracts.acceptContract({});
  expect(asked).toMatchObject({ accepted: false, generation: 1n, judgements: [HURT] });
  columns = shape(5);
  await expect(registry.contracts.acceptContract({ planHash: asked.planHash })).rejects.toMatchObject({
    code: 'PLAN_OUTDATED',
  });
  columns = shape(10);
  const who = { by: 'ada@laptop', message: 'shorter is enough' };
  const accepted = await registry.contracts.acceptContract({ planHash: asked.planHash, ...who });
  expect(accepted).toMatchObject({ accepted: true, generation: 2n });
  expect((await registry.client.listApplies({ limit: 1 })).applies).toMatchObject([who]);
  // Its rows were held from where the stream had it first: what comes behind the acceptance says nothing newer.
  const since = async () => (await registry.contracts.getContract({ source: 'clicks' })).versions[0]?.lsn;
  expect(await since()).toBe(200n);
  expect(await report(10, 400n)).toMatchObject({ version: 2, returned: false, judgement: { changes: [] } });
  expect(await since()).toBe(200n);
  // Nor is it forgotten for a shape that is seen next.
  expect(await report(7, 500n)).toMatchObject({ version: 0 });

  await stop();
  await start();
  expect(await report(10, 600n)).toMatchObject({ version: 2, returned: true });
  const { versions, seen } = await registry.contracts.getContract({ source: 'clicks' });
  expect(seen).toBeUndefined();
  expect(versions).toMatchObject([
    { contract: { version: 2 }, lsn: 200n, generation: 2n, table: { table: 'clicks' } },
    { contract: { version: 1 }, lsn: 100n, generation: 1n },
  ]);
  expect(versions[0]?.acceptedBy).toBe('ada@laptop');
});

it('values that were computed anew are accepted as a version of their own, though nothing else differs, and stay so', async () => {
  const plan = () => registry.client.planDefinitions({ definitions: WRITTEN });
  const versions = async () => (await registry.contracts.getContract({ source: 'clicks' })).versions.map(versionOf);
  const versionOf = ({ contract }: { contract?: Contract | undefined }) => [
    contract?.version,
    ...(contract?.columns ?? []).map(({ valuesSinceUs }) => Number(valuesSinceUs)),
  ];
  columns = since(5n);
  await expect(
    registry.client.applyDefinitions({ definitions: WRITTEN, planHash: (await plan()).planHash }),
  ).rejects.toMatchObject({ code: 'CONTRACT_NOT_ACCEPTED', message: expect.stringMatching(/a:n.*growth/) as string });
  const asked = await registry.contracts.acceptContract({});
  expect(asked.judgements).toMatchObject([
    { source: 'clicks', changes: [{ kind: 'values_rewritten', column: 'kind' }] },
  ]);
  await registry.contracts.acceptContract({ planHash: asked.planHash });
  expect(await versions()).toEqual([
    [2, 0, 5, 0],
    [1, 0, 0, 0],
  ]);
  // Whoever captures the table may have forgotten, or not have begun; what else changes takes nothing back.
  columns = shape(20);
  expect((await registry.contracts.acceptContract({})).judgements).toEqual([]);
  columns = shape(30);
  await registry.client.applyDefinitions({ definitions: WRITTEN, planHash: (await plan()).planHash });
  expect((await versions())[0]).toEqual([3, 0, 5, 0]);
  // What the stream shows of it is the shape that was accepted, and the next one is none.
  const report = (us: bigint) =>
    registry.contracts.reportContract({ contract: { source: 'clicks', columns: since(us, 30) }, lsn: 9n });
  expect(await report(5n)).toMatchObject({ version: 3, judgement: { changes: [] } });
  expect(await report(6n)).toMatchObject({ version: 0, judgement: { changes: [{ kind: 'values_rewritten' }] } });
});

it('a source that was taken out and came back has its own versions only, none of the one before it', async () => {
  columns = shape(10);
  const { planHash } = await registry.contracts.acceptContract({});
  await registry.contracts.acceptContract({ planHash });
  const put = async (definitions: typeof WRITTEN) => {
    const planned = await registry.client.planDefinitions({ definitions });
    await registry.client.applyDefinitions({ definitions, planHash: planned.planHash });
  };
  await put({});
  columns = shape(5);
  await put(WRITTEN);
  const { versions } = await registry.contracts.getContract({ source: 'clicks' });
  expect(versions).toMatchObject([{ contract: { version: 1, columns: [{}, { length: 5 }, {}] }, generation: 4n }]);
  // The shape that the earlier source had as version 2 is nothing that anybody accepted for this one.
  const seen = create(ContractSchema, { source: 'clicks', columns: shape(10) });
  expect(await registry.contracts.reportContract({ contract: seen, lsn: 9n })).toMatchObject({ version: 0 });
});

it('judges a source once, however often a request names it', async () => {
  const given = { contracts: Array.from({ length: 2 }, () => ({ source: 'clicks', columns })) };
  await expect(registry.contracts.checkContract({ change: { case: 'given', value: given } })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    place: 'clicks',
  });
  const { judgements } = await registry.contracts.checkContract({
    change: { case: 'ddl', value: 'ALTER TABLE clicks ALTER kind TYPE varchar(10)' },
    sources: ['clicks', 'clicks'],
  });
  expect(judgements).toHaveLength(1);
});

it('keeps the contracts of a rollback with its audit entry', async () => {
  columns = shape(10);
  const other = { ...WRITTEN, views: (WRITTEN.views ?? []).map((view) => ({ ...view, where: '' })) };
  const planned = await registry.client.planDefinitions({ definitions: other });
  await registry.client.applyDefinitions({ definitions: other, planHash: planned.planHash });
  columns = shape(5);
  const { definitions } = await registry.client.getDefinitionsAt({ generation: 1n });
  if (definitions === undefined) throw new Error('no definitions');
  const back = await registry.client.planDefinitions({ definitions });
  await registry.client.applyDefinitions({ definitions, planHash: back.planHash, acceptContracts: true });
  const { versions } = await registry.contracts.getContract({ source: 'clicks' });
  expect(versions.map(({ contract, generation }) => [contract?.version, generation])).toEqual([
    [3, 3n],
    [2, 2n],
    [1, 1n],
  ]);
});

it('tells of another shape only while the table has one that nobody accepted', async () => {
  const report = (length: number, lsn: bigint) =>
    registry.contracts.reportContract({
      contract: create(ContractSchema, { source: 'clicks', columns: shape(length) }),
      lsn,
    });
  const seen = async () => (await registry.contracts.getContract({ source: 'clicks' })).seen?.lsn;
  await report(20, 100n);
  await report(10, 200n);
  // Told again after a restart: from before the change.
  await report(20, 150n);
  expect(await seen()).toBe(200n);
  await report(20, 300n);
  expect(await seen()).toBeUndefined();
  await report(10, 400n);
  columns = shape(10);
  const { planHash } = await registry.contracts.acceptContract({});
  await registry.contracts.acceptContract({ planHash });
  expect(await seen()).toBeUndefined();
});

describe('an apply over a table that changed', () => {
  const SOURCES = WRITTEN.sources ?? [];
  const apply = async (definitions: typeof WRITTEN, acceptContracts = false) => {
    const planned = await registry.client.planDefinitions({ definitions });
    const { generation } = await registry.client.applyDefinitions({
      definitions,
      planHash: planned.planHash,
      acceptContracts,
    });
    return { generation, contracts: planned.contracts };
  };
  const withPolicy = (policy: ChangePolicy) => ({
    ...WRITTEN,
    sources: SOURCES.map((source) => ({ ...source, policy })),
  });

  it('is refused when it would accept what hurts somebody, names whom, and changes nothing', async () => {
    columns = shape(10);
    const planned = await registry.client.planDefinitions({ definitions: WRITTEN });
    expect(planned.contracts).toMatchObject([HURT]);
    await expect(apply(WRITTEN)).rejects.toMatchObject({
      code: 'CONTRACT_NOT_ACCEPTED',
      message: expect.stringMatching(
        /source clicks.*kind holds less.*features a:n; services s; owners growth, ranking/,
      ),
      remedy: expect.stringContaining('--accept-contracts'),
      place: 'source clicks',
    });
    expect((await registry.contracts.listContracts({})).contracts).toMatchObject([{ contract: { version: 1 } }]);
    expect(await apply(WRITTEN, true)).toMatchObject({ generation: 2n });
    expect((await registry.contracts.listContracts({})).contracts).toMatchObject([{ contract: { version: 2 } }]);
    expect((await apply(WRITTEN)).contracts).toEqual([]);
  });

  it('passes when nobody is hurt: by a change that only widens, and by definitions that do not read it', async () => {
    columns = shape(40);
    expect(await apply(WRITTEN)).toMatchObject({ generation: 2n, contracts: [{ gate: ContractGate.PASS }] });
    columns = shape(10);
    const adapted = { ...WRITTEN, views: (WRITTEN.views ?? []).map((view) => ({ ...view, where: '' })) };
    expect(await apply(adapted)).toMatchObject({ generation: 3n, contracts: [{ gate: ContractGate.PASS }] });
  });

  it.each([
    ['strict', ChangePolicy.STRICT, 40, true],
    ['strict', ChangePolicy.STRICT, 10, true],
    ['evolve', ChangePolicy.EVOLVE, 40, false],
    ['evolve', ChangePolicy.EVOLVE, 10, true],
    ['notify', ChangePolicy.NOTIFY, 10, false],
  ])('by %s is refused as rows would be held (%#)', async (_, policy, length, isRefused) => {
    const definitions = withPolicy(policy);
    await apply(definitions);
    columns = shape(length);
    const applied = apply(definitions);
    if (isRefused) await expect(applied).rejects.toMatchObject({ code: 'CONTRACT_NOT_ACCEPTED' });
    else await expect(applied).resolves.toMatchObject({ contracts: [{ source: 'clicks' }] });
  });

  it('is refused under another name of the source too', async () => {
    columns = shape(10);
    const renamed = {
      ...WRITTEN,
      sources: SOURCES.map((source) => ({ ...source, name: 'taps' })),
      views: (WRITTEN.views ?? []).map((view) => ({ ...view, source: 'taps' })),
    };
    await expect(apply(renamed)).rejects.toMatchObject({ code: 'CONTRACT_NOT_ACCEPTED', place: 'source taps' });
  });
});

it('tells nodes of another owner, and folds nothing anew for it', async () => {
  const definitions = { ...WRITTEN, services: [{ name: 's', features: ['a:n'], owner: 'search' }] };
  const planned = await registry.client.planDefinitions({ definitions });
  expect(planned.changes).toMatchObject([{ subject: 'owners', details: [{ before: 'ranking', after: 'search' }] }]);
  const before = (await registry.client.getDefinitions({})).resolved;
  await registry.client.applyDefinitions({ definitions, planHash: planned.planHash });
  const { resolved } = await registry.client.getDefinitions({});
  expect(resolved?.generation).toBe(2n);
  expect(resolved?.views).toEqual(before?.views);
  expect(resolved?.owners).toMatchObject([
    { subject: 'service s', owner: 'search' },
    { subject: 'view a', owner: 'growth' },
  ]);
});

it('journals that a table came back to an earlier version, once, with the position, and judges that', async () => {
  const report = (length: number, lsn: bigint) =>
    registry.contracts.reportContract({
      contract: create(ContractSchema, { source: 'clicks', columns: shape(length) }),
      lsn,
    });
  const get = async () => {
    const found = await registry.contracts.getContract({ source: 'clicks' });
    return { ...found, seen: found.seen, judgement: found.judgement };
  };
  await report(20, 100n);
  columns = shape(10);
  const { planHash } = await registry.contracts.acceptContract({});
  await registry.contracts.acceptContract({ planHash });
  // Accepted before the stream is there: the table has the first version, and has left nothing.
  expect(await get()).toMatchObject({ shownVersion: 1, judgement: undefined });
  expect(await report(10, 200n)).toMatchObject({ version: 2, returned: false, judgement: { changes: [] } });
  expect(await report(20, 150n)).toMatchObject({ version: 1, returned: false });
  expect(await get()).toMatchObject({ shownVersion: 2, judgement: undefined });

  const WIDER = { version: 2, changes: [{ kind: 'length_widened', before: '10', after: '20' }] };
  expect(await report(20, 300n)).toMatchObject({ version: 1, returned: true, judgement: WIDER });
  // Told again by a stream that began anew, and behind that a backlog.
  expect(await report(20, 350n)).toMatchObject({ version: 1, returned: true });
  expect(await report(10, 250n)).toMatchObject({ version: 2, returned: false });
  await stop();
  await start();
  const back = await get();
  expect(back).toMatchObject({ shownVersion: 1, judgement: WIDER, seen: undefined });
  expect(back.versions).toMatchObject([
    { contract: { version: 2 }, lsn: 200n, returns: [] },
    { contract: { version: 1 }, lsn: 100n, returns: [{ lsn: 300n }] },
  ]);

  expect(await report(10, 400n)).toMatchObject({ version: 2, returned: true, judgement: { changes: [] } });
  // Over a shape that nobody accepted.
  expect(await report(7, 500n)).toMatchObject({ version: 0, returned: false });
  expect(await get()).toMatchObject({ shownVersion: 0, seen: { lsn: 500n } });
  expect(await report(10, 600n)).toMatchObject({ version: 2, returned: true });
  const { versions, ...rest } = await get();
  expect(rest).toMatchObject({ shownVersion: 2, seen: undefined, judgement: undefined });
  expect(versions[0]).toMatchObject({ lsn: 200n, returns: [{ lsn: 400n }, { lsn: 600n }] });
});

it('keeps the newest returns of a version only', async () => {
  const report = (length: number, lsn: number) =>
    registry.contracts.reportContract({
      contract: create(ContractSchema, { source: 'clicks', columns: shape(length) }),
      lsn: BigInt(lsn),
    });
  for (let i = 1; i <= 20; i++) {
    await report(20, 2 * i);
    await report(7, 2 * i + 1);
  }
  const { versions } = await registry.contracts.getContract({ source: 'clicks' });
  expect(versions[0]?.returns).toHaveLength(16);
  expect(versions[0]).toMatchObject({ lsn: 2n });
  expect(versions[0]?.returns.at(-1)).toMatchObject({ lsn: 40n });
});
