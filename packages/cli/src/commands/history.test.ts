/**
 * Goal: history, rollback, search, lineage and sources show what the registry says, for people and for programs. Method: a
 * registry over real gRPC that answers with stated messages, and the command run in this process.
 */
import {
  type ApplyDefinitionsRequest,
  BuildWay,
  ChangeKind,
  RegistryService,
  type SearchRequest,
  SubjectKind,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Run, runFreshet } from '../testing/fake-mesh.ts';

const CHANGE = {
  kind: ChangeKind.CHANGED,
  subject: 'view clicks',
  effect: 'feature n is other',
  services: ['model'],
  features: ['clicks:n'],
  details: [{ kind: ChangeKind.CHANGED, part: 'window', name: 'n', before: 'rolling 5m', after: 'rolling 10m' }],
  cost: { way: BuildWay.READS_TABLE, rows: 12_345n, keyBytes: 640n, rowBytes: 41n, servedBytesMax: 900n },
};

let server: GrpcServer;
let registry: string;
let applied: ApplyDefinitionsRequest[];
let searched: SearchRequest[];
beforeEach(async () => {
  applied = [];
  searched = [];
  server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    listApplies: async ({ before }) => ({
      applies: [
        { number: before === 0n ? 9n : before - 1n, generation: 4n, by: 'ada@laptop', changes: [CHANGE], kept: true },
      ],
      nextBefore: before === 0n ? 9n : 0n,
    }),
    getDefinitionsAt: async ({ generation }) => ({ generation: generation || 3n, definitions: { entities: [] } }),
    planDefinitions: async () => ({
      planHash: new Uint8Array([7]),
      changes: [CHANGE],
      columnsAdded: [{ source: 'c', table: 'public.c', column: 'x', views: ['clicks'] }],
    }),
    applyDefinitions: async (request) => {
      applied.push(request);
      return { generation: 5n };
    },
    search: async (request) => {
      searched.push(request);
      return { hits: [{ kind: SubjectKind.FEATURE, name: 'clicks:n', owner: 'growth', tags: ['gold'] }], total: 3 };
    },
    getLineage: async () => ({
      subject: 'feature clicks:n',
      nodes: [
        { id: 'column public.c.x', kind: SubjectKind.COLUMN, name: 'public.c.x' },
        { id: 'feature clicks:n', kind: SubjectKind.FEATURE, name: 'clicks:n', owner: 'growth' },
        { id: 'service model', kind: SubjectKind.SERVICE, name: 'model' },
        { id: 'reader shop', kind: SubjectKind.READER, name: 'shop' },
      ],
      edges: [
        { from: 'column public.c.x', to: 'feature clicks:n', role: 'input' },
        { from: 'column public.c.x', to: 'feature clicks:n', role: 'where' },
        { from: 'feature clicks:n', to: 'service model', role: 'output' },
        { from: 'service model', to: 'reader shop', role: 'read', reads: 1234n, lastUs: 1_800_000_000_000_000n },
      ],
    }),
    listSourceClaims: async () => ({ claims: [{ database: '7/shop', nodeId: 'ingest-1', epoch: 2n, alive: true }] }),
    releaseSource: async () => ({}),
  });
  registry = (await server.listen('127.0.0.1:0')).address;
});
afterEach(() => server.drain(100));

const run = (...args: string[]): Promise<Run> => runFreshet([...args, '--registry', registry]);

describe('history', () => {
  it('is a table, a page at a time', async () => {
    const { out, err, code } = await run('history');
    expect(code).toBe(0);
    expect(out).toMatch(/9\s+4\s+1970-01-01T00:00:00Z\s+ada@laptop\s+1 changed\s+yes/);
    expect(err).toContain('--before 9');
    expect((await run('history', '--before', '9')).err).toBe('');
    expect((await run('history', '--before', '0')).code).toBe(2);
  });

  it('shows changes with details and costs', async () => {
    const { out } = await run('history', '--changes');
    expect(out).toContain('~ window n: rolling 5m → rolling 10m');
    expect(out).toContain(
      'reads the table anew, about 12,345 rows; state of about 640 B a key with full windows and about 41 B a live row',
    );
    const json = JSON.parse((await run('history', '--json')).out) as { applies: unknown[] };
    expect(json).toMatchObject({
      nextBefore: '9',
      applies: [{ number: '9', by: 'ada@laptop', changes: [{ cost: { way: 'reads_table', rows: '12345' } }] }],
    });
  });
});

describe('rollback', () => {
  it('shows the plan and applies it with who and why, only when somebody says yes', async () => {
    expect((await run('rollback', '--no-wait')).code).toBe(2);
    expect(applied).toEqual([]);
    const { out, code } = await run('rollback', '2', '--yes', '--no-wait');
    expect(code).toBe(0);
    expect(out).toContain('Back to the definitions of generation 2');
    expect(out).toContain('+ newly reads public.c: x');
    expect(out).toContain('generation 5 is in force');
    expect(applied).toMatchObject([{ message: 'rollback to generation 2', by: expect.stringContaining('@') }]);
    expect([...(applied[0]?.planHash ?? [])]).toEqual([7]);
  });
});

describe('search', () => {
  it('passes on what was asked, and tells how many more there are', async () => {
    const { out, err } = await run('search', 'n', '--tag', 'gold', '--owner', 'growth', '--kind', 'feature');
    expect(out).toMatch(/feature\s+clicks:n\s+growth\s+gold/);
    expect(err).toContain('2 more');
    expect(searched).toMatchObject([{ text: 'n', tags: ['gold'], owner: 'growth', kinds: [SubjectKind.FEATURE] }]);
    expect((await run('search', '--kind', 'thing')).code).toBe(2);
  });
});

describe('lineage', () => {
  it('is two trees, or the graph as JSON', async () => {
    expect((await run('lineage', 'feature', 'clicks:n')).out).toBe(
      'feature clicks:n [growth]\n\nmade of\n└─ column public.c.x (input, where)\n\ngoes into\n└─ service model (output)\n' +
        '   └─ reader shop (1,234 reads, the last 2027-01-15T08:00:00Z)\n',
    );
    const { out } = await run('lineage', 'feature', 'clicks:n', '--json');
    expect(JSON.parse(out)).toMatchObject({
      subject: 'feature clicks:n',
      edges: [{ role: 'input' }, {}, {}, { role: 'read', reads: '1234', last: '2027-01-15T08:00:00.000000Z' }],
    });
    expect((await run('lineage', 'table', 'x')).code).toBe(2);
  });
});

describe('sources', () => {
  it('shows who captures what, and frees by hand', async () => {
    expect((await run('sources')).out).toMatch(/7\/shop\s+ingest-1\s+\S+\s+2\s+yes/);
    expect((await run('sources', 'release', '7/shop', '--node', 'ingest-1')).out).toContain('7/shop is free');
    expect((await run('sources', 'release', '7/shop')).code).toBe(2);
  });
});
