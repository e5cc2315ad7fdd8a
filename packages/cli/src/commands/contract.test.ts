/**
 * Goal: `freshet contract check` ends with 1 when somebody is hurt or a statement was not understood, and names whom;
 * `accept` accepts only what was shown, and only when told to. Method: the command against a node over real gRPC that
 * answers with stated messages.
 */
import {
  type AcceptContractRequest,
  type CheckContractRequest,
  ContractService,
  ContractVerdict,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

const HURT = {
  source: 'orders',
  verdict: ContractVerdict.BREAKING,
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
const FINE = { source: 'orders', verdict: ContractVerdict.COMPATIBLE, changes: [] };

let checks: CheckContractRequest[] = [];
let accepts: AcceptContractRequest[] = [];
let address: string;
let server: ReturnType<typeof createGrpcServer>;
beforeEach(async () => {
  checks = [];
  accepts = [];
  server = createGrpcServer({ log: silentLogger }).add(ContractService, {
    checkContract: async (request) => {
      checks.push(request);
      const ddl = request.change.case === 'ddl' ? request.change.value : '';
      return {
        judgements: [ddl.includes('varchar(10)') ? HURT : FINE],
        notUnderstood: ddl.includes('TRUNCATE') ? ['TRUNCATE orders'] : [],
      };
    },
    acceptContract: async (request) => {
      accepts.push(request);
      return { generation: 2n, planHash: Buffer.from('ab'), judgements: [HURT], accepted: request.planHash.length > 0 };
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
  const done = await freshet('accept', '--yes');
  expect(done.code).toBe(0);
  expect(done.out).toContain('Accepted; generation 2 is in force.');
  expect(accepts.map(({ planHash }) => Buffer.from(planHash).toString())).toEqual(['', '', 'ab']);
});
