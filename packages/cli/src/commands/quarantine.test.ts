/**
 * Goal: rows are dropped for good only after somebody said so; what is asked of a release reaches ingest, and its outcome is told,
 * by the exit code too. Method: an ingest node and a registry over real gRPC that
 * note what they are asked, and the command run in this process.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  QuarantineService,
  type ReleaseQuarantineRequest,
  type ReleaseQuarantineResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

let servers: GrpcServer[];
let registry: string;
let dropped: string[];
let asked: ReleaseQuarantineRequest[];
let answers: MessageInitShape<typeof ReleaseQuarantineResponseSchema>[];
beforeEach(async () => {
  dropped = [];
  asked = [];
  answers = [];
  const ingest = createGrpcServer({ log: silentLogger }).add(QuarantineService, {
    discardQuarantine: async ({ source }) => {
      dropped.push(source);
      return { discarded: 2n };
    },
    releaseQuarantine: async function* (request) {
      asked.push(request);
      yield* answers;
    },
    listQuarantine: async () => ({
      alone: [{ source: 'orders', route: 1, rows: 3n }],
      rows: [
        { id: '1/1/2/800/0/0', source: 'orders', operation: 'insert', reason: 'event_time_ahead', detail: 'ahead' },
      ],
    }),
  });
  const { address } = await ingest.listen('127.0.0.1:0');
  const known = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    watchTopology: async function* () {
      yield { nodes: [{ nodeId: 'i', role: Role.INGEST, address }] };
    },
  });
  ({ address: registry } = await known.listen('127.0.0.1:0'));
  servers = [ingest, known];
});
afterEach(() => Promise.all(servers.map((server) => server.drain(0))));

const discard = (args: readonly string[], over: Parameters<typeof runFreshet>[1] = {}) =>
  runFreshet(['quarantine', 'discard', 'orders', ...args, '--registry', registry], over);

it('drops nothing when nobody is there to say yes', async () => {
  const run = await discard([], { confirm: undefined });
  expect(run.err).toContain('give --yes');
  expect(run.code).toBe(2);
  expect(dropped).toEqual([]);
});

it('drops nothing after a no, and tells so by its exit code', async () => {
  const run = await discard([], { confirm: async () => false });
  expect(run.err).toContain('nothing was dropped');
  expect(run.code).toBe(1);
  expect(dropped).toEqual([]);
});

it('drops after a yes, or with --yes', async () => {
  expect(await discard([], { confirm: async () => true })).toMatchObject({ code: 0, out: '2 row(s) discarded\n' });
  expect(await discard(['--yes', '--json'])).toMatchObject({ code: 0, out: '{"discarded":2,"readAnew":[]}\n' });
  expect(dropped).toEqual(['orders', 'orders']);
});

const release = (...args: readonly string[]) =>
  runFreshet(['quarantine', 'release', 'orders', ...args, '--registry', registry], {});

it('tells what was put aside alone', async () => {
  const run = await runFreshet(['quarantine', 'list', '--registry', registry], {});
  expect(run.out).toMatchInlineSnapshot(`
    "aside orders (route 1): 3 rows, each alone
    ID             SOURCE  OPERATION  REASON            DETAIL
    1/1/2/800/0/0  orders  insert     event_time_ahead  ahead

    "
  `);
});

it('releases what may pass, and tells what stays and why, which is no failure of a whole source', async () => {
  answers = [
    { route: 1, released: 4n, held: 0n, done: true },
    { route: 1, released: 4n, done: true, alone: { released: 2n, left: 1n, why: 'rule small: too large' } },
    { route: 2, done: true, alone: { released: 0n, left: 1n, why: 'it may be older', readAnew: true } },
  ];
  const run = await release('--ignore-rules', '--read-anew');
  expect(run.code).toBe(0);
  expect(run.out).toMatchInlineSnapshot(`
    "route 1: 4 released, 0 held; it flows
    route 1: put aside alone: 2 released, 1 stay: rule small: too large
    route 2: put aside alone: 0 released, 1 stay: it may be older; the table is read anew
    "
  `);
  expect(asked).toMatchObject([{ source: 'orders', ids: [], reasons: [], ignoreRules: true, readAnew: true }]);
  expect((await release('--json')).out).toMatchInlineSnapshot(`
    "{"route":1,"released":4,"held":0,"blocked":"","done":true}
    {"route":1,"released":4,"held":0,"blocked":"","done":true,"alone":{"released":2,"left":1,"why":"rule small: too large","readAnew":false}}
    {"route":2,"released":0,"held":0,"blocked":"","done":true,"alone":{"released":0,"left":1,"why":"it may be older","readAnew":true}}
    "
  `);
});

it('fails when rows that were named stay, or when there are none', async () => {
  answers = [
    { route: 1, done: true, alone: { released: 1n, left: 1n, why: 'the event time is 9.0 s ahead of the clock' } },
  ];
  const some = await release('--id', '1/1/2/800/0/0', '--reason', 'event_time_ahead', '--reason', 'rule');
  expect(some.code).toBe(1);
  expect(some.err).toContain('the event time is 9.0 s ahead of the clock');
  expect(asked).toMatchObject([{ ids: ['1/1/2/800/0/0'], reasons: ['event_time_ahead', 'rule'], ignoreRules: false }]);
  answers = [];
  const none = await release('--reason', 'other');
  expect(none.code).toBe(1);
  expect(none.err).toContain('no row of orders was put aside alone by that id or reason');
});

it('says how a release is asked for', async () => {
  expect((await runFreshet(['quarantine', 'release', '--help'], {})).out).toMatchInlineSnapshot(`
    "Usage: freshet quarantine release [options] <source>

    Fold what was put aside of a source, where it may pass now, and let its rows flow.

    Arguments:
      source                the source

    Options:
      --registry <address>  the registry; or FRESHET_REGISTRY (default: "127.0.0.1:7404")
      --json                as JSON
      --map <old=new>       a column's name in the contract and in the table; a label: column:old=new;
                            may be repeated (default: [])
      --id <id>             only this row, which holds nothing; may be repeated (default: [])
      --reason <reason>     only rows that were put aside alone for this reason; may be repeated
                            (default: [])
      --ignore-rules        ask rows that were put aside alone neither value rules nor how far ahead
                            their time is
      --read-anew           of a mutable source with such rows: read the table anew, as they are not
                            folded late
      -h, --help            display help for command
    "
  `);
});
