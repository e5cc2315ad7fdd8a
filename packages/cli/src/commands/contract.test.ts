/**
 * Goal: `freshet contract check` ends with 1 when somebody is hurt or a statement was not understood, and names whom;
 * `accept` accepts only what was shown, and only when told to. Method: the command against a node over real gRPC that
 * answers with stated messages. `apply` shows what a plan does to contracts, and passes on whether they are accepted.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AcceptContractRequest,
  type CheckContractRequest,
  ContractGate,
  ContractService,
  ContractVerdict,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import {
  type ApplyDefinitionsRequest,
  ChangeKind,
  RegistryService,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

const HURT = {
  source: 'orders',
  verdict: ContractVerdict.BREAKING,
  gate: ContractGate.HOLD,
  changes: [
    {
      kind: 'length_narrowed',
      column: 'sku',
      sentence: 'column sku holds less: 10, was 20.',
      verdict: ContractVerdict.BREAKING,
      consumers: [{ view: 'v', features: ['v:n'], services: ['s'], owners: ['growth'] }],
    },
  ],
};
const VERSION_1 = {
  contract: { source: 'orders', version: 1, columns: [{ name: 'id', sourceType: 'bigint' }] },
  table: { schema: 'public', table: 'orders' },
  lsn: 0x1_0000_000an,
};
const VERSION_2 = {
  contract: {
    source: 'orders',
    version: 2,
    columns: [
      { name: 'id', sourceType: 'bigint' },
      { name: 'mood', sourceType: 'mood', enumLabels: ['sad', 'ok'], nullable: true, defaultExpression: "'ok'" },
    ],
  },
  table: { schema: 'public', table: 'orders' },
  acceptedAtUs: 1_800_000_000_000_000n,
  acceptedBy: 'ada@laptop',
};
const FINE = { source: 'orders', verdict: ContractVerdict.COMPATIBLE, changes: [] };

let checks: CheckContractRequest[] = [];
let accepts: AcceptContractRequest[] = [];
let applies: ApplyDefinitionsRequest[] = [];
let address: string;
const directory = mkdtempSync(join(tmpdir(), 'freshet-contract-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let server: ReturnType<typeof createGrpcServer>;
beforeEach(async () => {
  checks = [];
  accepts = [];
  applies = [];
  server = createGrpcServer({ log: silentLogger }).add(ContractService, {
    checkContract: async (request) => {
      checks.push(request);
      const ddl = request.change.case === 'ddl' ? request.change.value : '';
      return {
        judgements: [ddl.includes('varchar(10)') ? HURT : ddl.includes('RENAME') ? { source: 'orders' } : FINE],
        notUnderstood: ddl.includes('TRUNCATE') ? ['TRUNCATE orders'] : [],
      };
    },
    acceptContract: async (request) => {
      accepts.push(request);
      return { generation: 2n, planHash: Buffer.from('ab'), judgements: [HURT], accepted: request.planHash.length > 0 };
    },
    listContracts: async () => ({ contracts: [VERSION_2] }),
    getContract: async ({ source }) =>
      source === 'orders'
        ? { versions: [VERSION_2, VERSION_1], shownVersion: 2 }
        : source === 'back'
          ? {
              versions: [VERSION_2, { ...VERSION_1, returns: [{ lsn: 0x1_0000_00ffn }] }],
              shownVersion: 1,
              judgement: HURT,
            }
          : { versions: [VERSION_1], seen: { lsn: 0x2_0000_00ffn }, judgement: HURT },
  });
  server.add(RegistryService, {
    planDefinitions: async () => ({
      planHash: Buffer.from('cd'),
      changes: [{ kind: ChangeKind.CHANGED, subject: 'source orders', effect: 'its contract takes version 2' }],
      contracts: [HURT],
    }),
    applyDefinitions: async (request) => {
      applies.push(request);
      if (!request.acceptContracts)
        throw new FreshetError('CONTRACT_NOT_ACCEPTED', 'applying would accept another contract', { place: 'orders' });
      return { generation: 3n };
    },
  });
  ({ address } = await server.listen('127.0.0.1:0'));
});
afterEach(() => server.drain(100));

const freshet = (...args: string[]) => runFreshet(['contract', ...args, '--registry', address]);

it('check names whom a change hurts, and ends with 1', async () => {
  const { code, out } = await freshet('check', '--ddl', 'ALTER TABLE orders ALTER sku TYPE varchar(10)');
  expect(code).toBe(1);
  expect(out).toBe(
    'breaking source orders: column sku holds less: 10, was 20.\n    view v, features v:n\n    services s\n    owners growth\n',
  );
  const asJson = await freshet('check', '--json', '--ddl', 'ALTER TABLE orders ALTER sku TYPE varchar(10)');
  expect(asJson.code).toBe(1);
  expect(JSON.parse(asJson.out)).toMatchObject({ judgements: [{ verdict: 'CONTRACT_VERDICT_BREAKING' }] });
});

it('check says so when a table is as it was', async () => {
  expect(
    await freshet('check', '--ddl', 'ALTER TABLE orders RENAME sku TO a; ALTER TABLE orders RENAME a TO sku'),
  ).toMatchObject({
    code: 0,
    out: 'No contract changes.\n',
  });
});

it('check ends with 0 when nobody is hurt, and with 1 when a statement was not understood', async () => {
  expect((await freshet('check', 'orders')).code).toBe(0);
  expect(checks[0]).toMatchObject({ change: { case: 'live', value: true }, sources: ['orders'] });
  const { code, out } = await freshet('check', '--ddl', 'TRUNCATE orders');
  expect(code).toBe(1);
  expect(out).toContain('not understood TRUNCATE orders');
});

it('accept shows what it would accept, and does it by that hash when told to', async () => {
  const shown = await freshet('accept');
  expect(shown.code).toBe(1);
  expect(shown.out).toContain('Repeat with --yes');
  expect(accepts.map(({ planHash }) => planHash.length)).toEqual([0]);
  const done = await freshet('accept', '--yes', '--message', 'shorter is enough');
  expect(done.code).toBe(0);
  // Who accepted it, as an apply says it: the history is asked who let it through.
  expect(accepts.at(-1)).toMatchObject({ by: expect.stringMatching(/^.+@.+$/), message: 'shorter is enough' });
  expect(done.out).toContain('Accepted; generation 2 is in force.');
  expect(accepts.map(({ planHash }) => Buffer.from(planHash).toString())).toEqual(['', '', 'ab']);
});

it('list shows the newest contract of each source, show its columns and versions', async () => {
  const list = await freshet('list');
  expect(list.code).toBe(0);
  expect(list.out).toMatch(/orders +public\.orders +2 +2 +accepted 2027-01-15T08:00:00\.000Z by ada@laptop/);
  expect(JSON.parse((await freshet('list', '--json')).out)).toMatchObject({
    contracts: [{ contract: { version: 2 } }],
  });
  const { code, out } = await freshet('show', 'orders');
  expect(code).toBe(0);
  expect(out).toMatch(/mood +mood \(sad, ok\) +yes +'ok'/);
  expect(out).toMatch(/id +bigint +no/);
  expect(out).toContain('version 2: accepted 2027-01-15T08:00:00.000Z by ada@laptop\n');
  expect(out).toContain('version 1: accepted before contracts were kept, in the stream since 1/A\n');
  expect(out).not.toContain('another shape');
});

it('show tells of a shape that the stream showed and nobody accepted, and whom it hurts', async () => {
  const { out } = await freshet('show', 'other');
  expect(out).toContain('The stream showed another shape at 2/FF:\nbreaking source orders: column sku holds less');
  expect(JSON.parse((await freshet('show', 'other', '--json')).out)).toMatchObject({
    judgement: { verdict: 'CONTRACT_VERDICT_BREAKING' },
  });
});

it('show tells that a table is back at an earlier version, and since when', async () => {
  const { out } = await freshet('show', 'back');
  expect(out).toContain('in the stream since 1/A, again since 1/FF\n');
  expect(out).toContain('The stream is back at version 1:\nbreaking source orders');
});

it('apply is refused with an exit code of its own, without asking, until contracts are accepted', async () => {
  const file = join(directory, 'f.yaml');
  writeFileSync(file, 'kind: Entity\nname: user\nkey: { user_id: int64 }\n');
  const apply = (...args: string[]) => runFreshet(['apply', file, '--registry', address, '--no-wait', ...args]);
  const refused = await apply();
  expect(refused.code).toBe(3);
  expect(refused.out).toContain('breaking source orders: column sku holds less: 10, was 20.');
  expect(refused.out).toContain('refused by the policy of source orders: needs --accept-contracts');
  expect(refused.err).toContain('[CONTRACT_NOT_ACCEPTED]');
  const done = await apply('--yes', '--accept-contracts');
  expect(done.code).toBe(0);
  expect(applies.map(({ acceptContracts }) => acceptContracts)).toEqual([false, true]);
  const asJson = await runFreshet(['plan', file, '--registry', address, '--json']);
  expect(JSON.parse(asJson.out)).toMatchObject({ contracts: [{ source: 'orders', gate: 'CONTRACT_GATE_HOLD' }] });
});
