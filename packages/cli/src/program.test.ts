/**
 * Goal: the command says what it should to people and to programs, with the right exit code, for good input and bad.
 * Method: the command in this process against fake nodes over real gRPC that answer with stated messages.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FakeMesh, NOW_US, runFreshet, startFakeMesh } from './testing/fake-mesh.ts';

const YAML = `kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: clicks
mode: append
postgres: { table: public.clicks }
---
kind: FeatureView
name: user_clicks
entity: user
source: clicks
features:
  n_5min: { count: {}, rolling: 5m }
`;

const meshes: FakeMesh[] = [];
afterEach(async () => {
  await Promise.all(meshes.splice(0).map((mesh) => mesh.close()));
});

async function fakeMesh(...options: Parameters<typeof startFakeMesh>): Promise<FakeMesh> {
  const mesh = await startFakeMesh(...options);
  meshes.push(mesh);
  return mesh;
}

/** Long enough for a busy machine. */
const SOON = { timeout: 10_000 };

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-cli-'));
  file = join(directory, 'features.yaml');
  writeFileSync(file, YAML);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function freshet(...args: Parameters<typeof runFreshet>): ReturnType<typeof runFreshet> {
  const { code, out, err } = await runFreshet(...args);
  return { code, out: out.replaceAll(directory, 'DIR'), err: err.replaceAll(directory, 'DIR') };
}

describe('usage', () => {
  it('shows help with examples on stdout', async () => {
    const { code, out } = await freshet(['--help']);
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
    for (const command of ['up', 'plan', 'apply', 'get', 'status', 'doctor']) {
      const help = await freshet([command, '--help']);
      expect(help.code).toBe(0);
      expect(help.out).toContain('Examples:');
      expect(help.out).toMatchSnapshot();
    }
  });

  it('is wrong without an argument, with an unknown one, or with two that exclude each other: exit code 2', async () => {
    for (const args of [
      [],
      ['plann', 'x'],
      ['plan'],
      ['plan', file, '--jsn'],
      ['get', 'x'],
      ['get', '--key', 'a=1'],
      ['get', 'x', '--key', 'a'],
      ['get', 'x', '--features', 'a:b', '--key', 'a=1'],
      ['status', '--registry', 'nowhere'],
      ['apply', file, '--timeout', 'soon'],
    ]) {
      const { code, out, err } = await freshet(args);
      expect([args, code]).toEqual([args, 2]);
      expect(out).toBe('');
      expect(err).not.toBe('');
    }
    expect((await freshet(['plann', 'x'])).err).toContain('Did you mean plan?');
  });
});

describe('plan', () => {
  it('shows changes, what they mean, and notes', async () => {
    const { registry } = await fakeMesh();
    const { code, out } = await freshet(['plan', file, '--registry', registry]);
    expect(code).toBe(0);
    expect(out).toMatchInlineSnapshot(`
      "+ view user_clicks
          is built from a first snapshot of its source
          services: recommendations
      - view old
          is no longer folded
      note Source clicks has no event time.

      1 added, 1 dropped; generation 3 would have 1 view, 1 feature, 1 service.
      "
    `);
  });

  it('as JSON is one object on one line', async () => {
    const { registry } = await fakeMesh();
    const { out } = await freshet(['plan', file, '--json'], { env: { FRESHET_REGISTRY: registry } });
    expect(out.split('\n')).toHaveLength(2);
    expect(JSON.parse(out)).toMatchObject({
      planHash: '010203',
      generation: '3',
      changes: [{ kind: 'added' }, { kind: 'dropped' }],
    });
  });

  it('tells every mistake of the files with its place and remedy', async () => {
    writeFileSync(file, YAML.replace('int64', 'integer').replace('rolling: 5m', 'rollling: 5m'));
    const { code, err } = await freshet(['plan', file]);
    expect(code).toBe(1);
    expect(err.match(/^error /gm)).toHaveLength(2);
    expect(err).toContain('at  DIR/features.yaml:3:');
    expect(err).toContain('at  DIR/features.yaml:15:');
    const json = JSON.parse((await freshet(['plan', file, '--json'])).err);
    expect(json.error).toMatchObject({ code: 'INVALID_DEFINITION', also: [{ code: 'INVALID_DEFINITION' }] });
  });

  it('takes directories, and says when there is nothing to read or nobody to ask', async () => {
    const { registry } = await fakeMesh();
    expect((await freshet(['plan', directory, '--registry', registry])).code).toBe(0);
    expect((await freshet(['plan', join(directory, 'none.yaml')])).err).toContain('DIR/none.yaml cannot be read');
    const nobody = await freshet(['plan', file, '--registry', '127.0.0.1:1']);
    expect(nobody.code).toBe(1);
    expect(nobody.err).toContain('[UNAVAILABLE]');
  });
});

describe('apply', () => {
  it('applies the plan it showed, and waits until it is served', async () => {
    let asked = 0;
    const shard = (over: object) => ({ shard: 0, position: 1000n, logEnd: 1000n, definitionsGeneration: 3n, ...over });
    const { registry, applied } = await fakeMesh({
      shards: () => ({
        shards: [
          shard({}),
          shard(asked++ === 0 ? { shard: 1, builds: [{ viewId: new Uint8Array(16), position: 250n }] } : { shard: 1 }),
        ],
      }),
    });
    const clock = new VirtualClock(NOW_US);
    const running = freshet(['apply', file, '--yes', '--registry', registry], { clock });
    await expect.poll(() => clock.sleeping, SOON).toBe(1);
    await clock.advance(250_000);
    const { code, out, err } = await running;
    expect(code).toBe(0);
    expect(applied.map((hash) => [...hash])).toEqual([[1, 2, 3]]);
    expect(out).toContain('applied: generation 3 is in force\nserved: every feature');
    expect(err).toBe(
      'compute: 1 of 2 shards, 250 of 1,000 records folded · serve: 1 of 1 nodes, 1,234 rows\n' +
        '  source crm: halted: the slot is lost\n',
    );
  });

  it('asks first: no answer possible is wrong usage, no is no', async () => {
    const { registry, applied } = await fakeMesh();
    const alone = await freshet(['apply', file, '--registry', registry]);
    expect([alone.code, alone.err]).toEqual([2, expect.stringContaining('--yes')]);
    const refused = await freshet(['apply', file, '--registry', registry], { confirm: async () => false });
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('nothing was applied')]);
    expect(applied).toEqual([]);
    expect(
      (await freshet(['apply', file, '--registry', registry, '--no-wait'], { confirm: async () => true })).code,
    ).toBe(0);
    expect(applied).toHaveLength(1);
  });

  it('needs no yes when nothing changes', async () => {
    const { registry } = await fakeMesh({ plan: { planHash: new Uint8Array([9]), resolved: { generation: 3n } } });
    const { code, out } = await freshet(['apply', file, '--registry', registry]);
    expect([code, out]).toEqual([0, expect.stringContaining('Nothing changes.')]);
  });

  it('says what is missing when it is not served in time', async () => {
    const { registry } = await fakeMesh({ withoutNodes: true });
    const clock = new VirtualClock(NOW_US);
    const running = freshet(['apply', file, '--yes', '--timeout', '1s', '--registry', registry], { clock });
    let done = false;
    const finished = running.finally(() => {
      done = true;
    });
    while (!done) {
      await expect.poll(() => done || clock.sleeping > 0, SOON).toBe(true);
      await clock.advance(250_000);
    }
    const { code, err } = await finished;
    expect([code, err]).toEqual([1, expect.stringContaining('[DEADLINE_EXCEEDED]')]);
    expect(err).toContain('compute: no node is there · serve: no node is there');
  });
});

describe('up', () => {
  it('refuses a configuration with mistakes: exit code 78', async () => {
    const config = join(directory, 'freshet.yaml');
    writeFileSync(config, 'postgres: { default: "postgres://x" }\npartitons: 4\n');
    const { code, err } = await freshet(['up', '-f', config]);
    expect([code, err]).toEqual([
      78,
      'error the configuration has no "partitons" [INVALID_CONFIG]\n  at  DIR/freshet.yaml:2:1\n  fix did you mean partitions?\n',
    ]);
    expect((await freshet(['up', '-f', join(directory, 'none.yaml')])).code).toBe(78);
  });
});
