/**
 * Goal: whoever applies definitions sees what is waited for, how fast it goes and how long it will take, and can leave at
 * any time without harm. Method: rates from measured numbers; the command in this process against fake nodes whose
 * answers change, on a clock that is moved by hand.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SnapshotStep } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FakeMesh, type FakeMeshOptions, NOW_US, runFreshet, startFakeMesh } from '../testing/fake-mesh.ts';
import type { Progress, SourceProgress } from './measure.ts';
import { Rates } from './rates.ts';
import { progressLines } from './show.ts';

const SOON = { timeout: 5000, interval: 5 };

function snapshotOf(
  database: string,
  step: 'reading' | 'appending',
  rows: number,
  rowsExpected: number | undefined,
): SourceProgress {
  return { database, state: 'snapshot', rows: 0, snapshot: { step, rows, rowsExpected }, problem: '' };
}

describe('Rates', () => {
  const build = (view: string, shard: number, position: number, end: number) => ({
    view,
    key: `${view} ${shard}`,
    position,
    end,
  });

  it('are taken over all shards of a view, also over builds that ended meanwhile', () => {
    const rates = new Rates();
    rates.add(0, [build('a', 0, 0, 1000), build('a', 1, 500, 1000), build('b', 0, 10, 20)], []);
    expect(rates.ofView('a')).toEqual({ recordsDone: 500, records: 2000, recordsPerS: undefined, leftUs: undefined });
    rates.add(1_000_000, [build('a', 0, 400, 1000), build('a', 1, 600, 1000)], []);
    expect(rates.ofView('a')).toEqual({ recordsDone: 1000, records: 2000, recordsPerS: 500, leftUs: 2_000_000 });
    expect(rates.ofView('b')).toBeUndefined();
    rates.add(2_000_000, [build('a', 0, 500, 1000)], []);
    // 100 and the 400 that the ended build had left, in the second second.
    expect(rates.ofView('a')).toEqual({ recordsDone: 500, records: 1000, recordsPerS: 500, leftUs: 1_000_000 });
  });

  it('forget what is long ago, and know no end of what stands still', () => {
    const rates = new Rates();
    for (let s = 0; s <= 20; s++) rates.add(s * 1e6, [build('a', 0, s <= 5 ? s * 100 : 500, 1000)], []);
    expect(rates.ofView('a')).toMatchObject({ recordsPerS: 0, leftUs: undefined });
  });

  it('of a source begin again when it was started again', () => {
    const rates = new Rates();
    const source = (rows: number) => snapshotOf('d', 'reading', rows, undefined);
    rates.add(0, [], [source(1000)]);
    rates.add(1e6, [], [source(3000)]);
    expect(rates.ofSnapshot('d')?.rowsPerS).toBe(2000);
    rates.add(2e6, [], [source(10)]);
    expect(rates.ofSnapshot('d')?.rowsPerS).toBeUndefined();
  });

  it('of a snapshot are those of its step, and know no end of more rows than there should be', () => {
    const rates = new Rates();
    rates.add(0, [], [snapshotOf('d', 'reading', 0, 4000)]);
    rates.add(1e6, [], [snapshotOf('d', 'reading', 1000, 4000)]);
    expect(rates.ofSnapshot('d')).toMatchObject({ rowsPerS: 1000, leftUs: 3e6 });
    rates.add(2e6, [], [snapshotOf('d', 'reading', 5000, 4000)]);
    expect(rates.ofSnapshot('d')).toMatchObject({ rowsPerS: 2500, leftUs: undefined });
    rates.add(3e6, [], [snapshotOf('d', 'appending', 6000, 8000)]);
    expect(rates.ofSnapshot('d')).toMatchObject({ step: 'appending', rowsPerS: undefined, leftUs: undefined });
    rates.add(4e6, [], [snapshotOf('d', 'appending', 7000, 8000)]);
    expect(rates.ofSnapshot('d')).toMatchObject({ rowsPerS: 1000, leftUs: 1e6 });
    rates.add(5e6, [], [{ database: 'd', state: 'streaming', rows: 0, problem: '' }]);
    expect(rates.ofSnapshot('d')).toBeUndefined();
  });

  it('are told with what is waited for', () => {
    const rates = new Rates();
    const sources = (rows: number) => [
      snapshotOf('default', 'reading', rows, 2_000_000),
      snapshotOf('shop', 'appending', rows, 100_000),
      snapshotOf('logs', 'reading', rows, undefined),
    ];
    rates.add(0, [build('clicks', 0, 0, 1_000_000)], sources(0));
    rates.add(2e6, [build('clicks', 0, 250_000, 1_000_000)], sources(50_000));
    const progress: Progress = {
      sources: [...sources(50_000), { database: 'crm', state: 'halted', rows: 0, problem: 'the slot is lost' }],
      shards: 8,
      shardsDone: 7,
      builds: [build('clicks', 0, 250_000, 1_000_000)],
      views: [{ view: 'clicks', shardsDone: 7, shards: 8, replicaShardsDone: 3, replicaShards: 8 }],
      serves: 1,
      servesDone: 0,
      rows: 12n,
      unreached: ['compute 10.0.0.7:7402'],
    };
    expect(progressLines(progress, rates)).toEqual([
      'compute: 7 of 8 shards, 250,000 of 1,000,000 records folded · serve: 0 of 1 nodes, 12 rows',
      '  source default: snapshot, 50,000 of about 2,000,000 rows read, 25,000 rows/s, about 78.0 s until they are appended',
      '  source shop: snapshot, 50,000 of 100,000 rows appended, 25,000 rows/s, about 2.0 s left',
      '  source logs: snapshot, 50,000 rows read, 25,000 rows/s',
      '  source crm: halted: the slot is lost',
      '  view clicks: 7 of 8 shards, 250,000 of 1,000,000 records (25 %), 125,000 records/s, 6.0 s left, replicas have 3 of 8 shards',
      '  compute 10.0.0.7:7402 does not answer',
    ]);
  });
});

describe('freshet apply', () => {
  const meshes: FakeMesh[] = [];
  let directory = '';
  let file = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'freshet-progress-'));
    file = join(directory, 'features.yaml');
    writeFileSync(file, 'kind: Entity\nname: user\nkey: { user_id: int64 }\n');
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  afterEach(async () => {
    await Promise.all(meshes.splice(0).map((mesh) => mesh.close()));
  });

  /** A mesh whose one shard builds a view, further each time that it is asked. */
  async function buildingMesh(positions: readonly bigint[], over: FakeMeshOptions = {}): Promise<string> {
    let asked = 0;
    const mesh = await startFakeMesh({
      ...over,
      shards: () => {
        const position = positions[asked++];
        const builds = position === undefined ? [] : [{ viewId: new Uint8Array([7]), position }];
        return { shards: [{ shard: 0, position: 1000n, logEnd: 1000n, definitionsGeneration: 3n, builds }] };
      },
    });
    meshes.push(mesh);
    return mesh.registry;
  }

  /** Runs the command, moving the clock whenever it sleeps. */
  async function run(args: readonly string[], over: Parameters<typeof runFreshet>[1] = {}) {
    const clock = new VirtualClock(NOW_US);
    let done = false;
    const running = runFreshet(args, { clock, ...over }).finally(() => {
      done = true;
    });
    while (!done) {
      await expect.poll(() => done || clock.sleeping > 0, SOON).toBe(true);
      if (!done) await clock.advance(250_000);
    }
    return running;
  }

  it('writes over what it showed on a terminal, and takes it away in the end', async () => {
    const registry = await buildingMesh([250n, 500n]);
    const { code, err, out } = await run(['apply', file, '--yes', '--registry', registry], {
      interactive: true,
      columns: () => 40,
    });
    expect(code).toBe(0);
    expect(out).toContain('served: every feature');
    const [first, second, ...rest] = err.split('\u001b[2A\u001b[J');
    expect(first).toBe('compute: 0 of 1 shards, 250 of 1,000 re\n  source crm: halted: the slot is lost\n');
    expect(second).toContain('compute: 0 of 1 shards, 500 of 1,000 re\n');
    expect(rest).toEqual(['']);
  });

  it('tells a program what it waits for, an object a line, beside the result', async () => {
    let rows = 0n;
    const snapshot = () => {
      rows += 1000n;
      return { step: SnapshotStep.APPENDING, rows, rowsExpected: 20_000n };
    };
    const registry = await buildingMesh([250n, ...new Array<bigint>(9).fill(500n)], { snapshot });
    const { code, err, out } = await run(['apply', file, '--yes', '--json', '--registry', registry]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ generation: '3', served: true });
    const lines = err
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toMatchObject([
      {
        progress: {
          generation: '3',
          compute: { shards: 1, shardsDone: 0 },
          serve: { nodes: 1, nodesDone: 1, rows: '1234' },
          sources: [
            { database: 'default', state: 'streaming', snapshot: { step: 'appending', rows: 1000, leftUs: null } },
            { database: 'crm', state: 'halted' },
          ],
        },
      },
      // Asked four times a second, told every other second: eight thousand rows on, at four thousand a second.
      {
        progress: {
          sources: [
            { snapshot: { step: 'appending', rows: 9000, rowsExpected: 20_000, rowsPerS: 4000, leftUs: 2_750_000 } },
            { database: 'crm' },
          ],
        },
      },
    ]);
  });

  it('stopped by Ctrl-C says that what is in force stays in force', async () => {
    for (const json of [false, true]) {
      const registry = await buildingMesh(new Array<bigint>(1000).fill(250n));
      const stop = new AbortController();
      const clock = new VirtualClock(NOW_US);
      const args = ['apply', file, '--yes', '--registry', registry, ...(json ? ['--json'] : [])];
      const running = runFreshet(args, { clock, signal: stop.signal });
      await expect.poll(() => clock.sleeping, SOON).toBe(1);
      stop.abort(new DOMException('interrupted', 'AbortError'));
      const { code, out, err } = await running;
      expect(code).toBe(130);
      expect(err).toContain('stopped waiting: generation 3 is in force, and goes on by itself');
      if (json) expect(JSON.parse(out)).toMatchObject({ generation: '3', served: false });
    }
  });
});
